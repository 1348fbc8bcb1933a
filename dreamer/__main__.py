"""The entry of the command line: `dreamer`, or `python -m dreamer`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    if sys.argv[1:] == ["--version"]:
        # Answered before anything else is imported.
        from dreamer import __version__

        sys.stdout.write(f"dreamer {__version__}\n")
        return
    from dreamer.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
