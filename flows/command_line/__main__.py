"""``python -m flows.command_line``: the console script ``optishear`` where the package is not installed."""

from flows.command_line.main import main

main()
