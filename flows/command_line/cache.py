"""The command ``optishear cache``: list and remove cached items. It is not a flow, since it computes nothing."""

from datetime import datetime

import click

from optishear.errors import InputError
from optishear.units import format_bytes, parse_bytes, parse_duration


@click.group()
def cache() -> None:
    """List or remove what is cached in OPTISHEAR_HOME: artifacts, journals, converted models.

    Removed items are computed again when a run needs them. Output folders and registered models have copies of their
    own and keep them.
    """


@cache.command("list")
def list_entries() -> None:
    """List what is cached, the oldest first, with sizes."""
    from tasks.store.cleaning import stored_entries

    entries = stored_entries()
    for entry in entries:
        written = datetime.fromtimestamp(entry.modified).strftime("%Y-%m-%d %H:%M")
        click.echo(f"{written}  {format_bytes(entry.size):>9}  {entry.kind:<10}  {entry.path}")
    click.echo(f"{len(entries)} kept, {format_bytes(sum(entry.size for entry in entries))}")


@cache.command()
@click.option("--older-than", metavar="AGE", help="Remove items older than this: 12h, 30d, 8w.")
@click.option("--keep", metavar="SIZE", help="Remove the oldest items until this much is left: 500M, 20G.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
def prune(older_than: str | None, keep: str | None, dry_run: bool) -> None:
    """Remove old items, or the oldest items above a total size.

    \b
    Example:
      optishear cache prune --older-than 30d --keep 50G
    """
    from tasks.store.cleaning import entries_to_remove, remove, stored_entries

    if older_than is None and keep is None:
        raise InputError("Nothing says what to remove; give --older-than AGE, --keep SIZE, or both.")
    try:
        seconds = None if older_than is None else parse_duration(older_than).seconds
        size = None if keep is None else parse_bytes(keep)
    except ValueError as error:
        raise InputError(f"{error}.") from None
    removed = entries_to_remove(stored_entries(), seconds, size)
    if not dry_run:
        remove(removed)
    for entry in removed:
        click.echo(str(entry.path))
    freed = format_bytes(sum(entry.size for entry in removed))
    click.echo(f"{len(removed)} {'would be removed' if dry_run else 'removed'}, {freed}")
