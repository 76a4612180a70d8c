"""The command ``optishear cache``: list and clear what is kept between runs. It is no flow, since it makes nothing."""

import re
from datetime import datetime

import click

from optishear.errors import InputError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@click.group()
def cache() -> None:
    """List or clear what is kept between runs in OPTISHEAR_HOME: artifacts, ledgers, converted models.

    Whatever is removed is made again when a run needs it. Output folders share big files with the cache by hard
    links and keep them.
    """


@cache.command("list")
def list_kept() -> None:
    """Show what is kept, the oldest first, with its size."""
    from tasks.cleaning import kept

    everything = kept()
    for each in everything:
        written = datetime.fromtimestamp(each.modified).strftime("%Y-%m-%d %H:%M")
        click.echo(f"{written}  {size_words(each.size):>9}  {each.kind:<10}  {each.path}")
    click.echo(f"{len(everything)} kept, {size_words(sum(each.size for each in everything))}")


@cache.command()
@click.option("--older-than", metavar="AGE", help="Remove what was written longer ago: 12h, 30d, 8w.")
@click.option("--keep", metavar="SIZE", help="Remove the oldest until this much is left: 500M, 20G.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(older_than: str | None, keep: str | None, dry_run: bool) -> None:
    """Remove what is old, or the oldest of what is too much.

    \b
    Example:
      optishear cache prune --older-than 30d --keep 50G
    """
    from tasks.cleaning import kept, remove, superfluous

    if older_than is None and keep is None:
        raise InputError("Nothing says what to remove; give --older-than AGE, --keep SIZE, or both.")
    seconds = None if older_than is None else quantity(older_than, _SECONDS, "an age such as 12h or 30d")
    size = None if keep is None else int(quantity(keep.upper().removesuffix("B"), _BYTES, "a size such as 500M or 20G"))
    chosen = superfluous(kept(), seconds, size)
    if not dry_run:
        remove(chosen)
    for each in chosen:
        click.echo(str(each.path))
    freed = size_words(sum(each.size for each in chosen))
    click.echo(f"{len(chosen)} {'would be removed' if dry_run else 'removed'}, {freed}")


def quantity(text: str, units: dict[str, int], what: str) -> float:
    """Read a number with a unit.

    Raises:
        InputError: if it is none.
    """
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", text.strip())
    if matched is None or matched[2] not in units:
        raise InputError(f"{text!r} is not {what}.")
    return float(matched[1]) * units[matched[2]]


def size_words(size: float) -> str:
    """Bytes for a person, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
