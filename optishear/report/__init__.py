"""The report of a run: figures, a verdict, and one self-contained HTML page."""

from optishear.extras import require

# Every module of the package draws or fills templates, so that a missing package is said once, before any of it.
require(["matplotlib", "jinja2"], "The report")
