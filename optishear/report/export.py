"""Figures as PNG bytes, as SVG files, and as SVG elements that follow the page's light or dark theme."""

import io
import re

import matplotlib
from matplotlib.figure import Figure

from optishear.report.style import DARK, LIGHT, Theme

# No date and no creator, so that equal figures give equal bytes.
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def png(figure: Figure, dpi: int = 160) -> bytes:
    """A figure as a PNG image, for places that show images only."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """A figure as an SVG file. Text stays text: it can be read aloud, searched and copied."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "optishear"}):
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    return buffer.getvalue()


def themed_svg(figure: Figure) -> str:
    """A figure drawn in the light theme, as an SVG file that turns dark where the reader's system is."""
    sheets = [
        f"svg {{ {_variables(LIGHT)} }}",
        f"@media (prefers-color-scheme: dark) {{ svg {{ {_variables(DARK)} }} }}",
    ]
    text = _with_variables(svg(figure))
    start = text.index(">", text.index("<svg")) + 1
    return f"{text[:start]}\n <style>{' '.join(sheets)}</style>{text[start:]}"


def inline_svg(figure: Figure, name: str) -> str:
    """A figure drawn in the light theme, as an ``<svg>`` element for the body of an HTML page.

    Every ink becomes a CSS variable (``var(--ink, #1f2328)``), so that the page's style sheet gives the dark
    variant of the same drawing. The ids get ``name`` as a prefix, as several figures share a page; namespaces
    and the style element go, since HTML needs none and the latter would hold for the whole page.
    """
    text = svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return _with_variables(text)


def _with_variables(text: str) -> str:
    for ink, colour in LIGHT.inks().items():
        text = re.sub(rf"(: ?){colour}\b", rf"\1var(--{ink}, {colour})", text)
    return text


def _variables(theme: Theme) -> str:
    return " ".join(f"--{ink}: {colour};" for ink, colour in theme.inks().items())
