"""The command line: commands that ask the control plane over its socket and say the answer calmly."""
