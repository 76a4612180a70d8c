import matplotlib
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from optishear.report.export import svg
from optishear.report.style import DARK, LIGHT, Theme, needs_log, plain, statement

OKABE_ITO = {"#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"}


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_reads_and_marks_show_on_the_paper(theme: Theme) -> None:
    # WCAG 2: 4.5 for text, 3 for graphics.
    assert all(contrast(colour, theme.paper) >= 4.5 for colour in (theme.ink, theme.muted, theme.searched))
    assert contrast(theme.reference, theme.paper) >= 3
    assert {theme.searched, theme.reference} <= OKABE_ITO


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_inks_can_be_told_apart_by_their_value(theme: Theme) -> None:
    assert len(set(theme.inks().values())) == len(theme.inks())
    assert all(colour == colour.lower() for colour in theme.inks().values())


def test_log_axes_only_for_wide_positive_ranges() -> None:
    assert needs_log([0.1, 1.0, float("inf")])
    assert not needs_log([0.5, 1.0])
    assert not needs_log([0.0, 100.0])
    assert not needs_log([])


def test_a_dollar_sign_starts_no_formula() -> None:
    assert plain("a$b$") == r"a\$b\$"


def test_global_state_of_matplotlib_is_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    svg(statement("text", LIGHT))
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
