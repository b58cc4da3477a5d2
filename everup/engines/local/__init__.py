"""The local engine: every node is a plain process of this machine, and outlives the control plane."""
