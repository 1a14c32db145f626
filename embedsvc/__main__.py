"""`embedsvc` and `python -m embedsvc`."""

import sys

from embedsvc.cli import cli
from embedsvc.errors import EmbedsvcError


def main() -> None:
    """Run a command; one of our errors becomes one line and exit status 1."""
    try:
        cli(prog_name="embedsvc")
    except EmbedsvcError as error:
        sys.stderr.write(f"embedsvc: {error.detail}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
