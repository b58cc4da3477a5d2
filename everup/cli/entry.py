"""Where the command begins: nothing is imported yet that Ctrl-C could break into with a traceback."""

import sys


def run() -> None:
    """Load the command line and run it."""
    try:
        from everup.cli.main import run as begin

        begin()
    except KeyboardInterrupt:
        from everup.cli.exits import INTERRUPTED

        print("\ninterrupted; nothing was changed", file=sys.stderr)
        sys.exit(INTERRUPTED)
