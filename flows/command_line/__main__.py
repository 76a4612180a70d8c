"""The console script ``optishear``, and ``python -m flows.command_line`` where the package is not installed.

The command line imports for seconds. What stops it in one line comes before that.
"""

from flows.command_line.stopping import stops_at_once


def main() -> None:
    """Run the command."""
    with stops_at_once():
        from flows.command_line.main import main as command

        command()


if __name__ == "__main__":
    main()
