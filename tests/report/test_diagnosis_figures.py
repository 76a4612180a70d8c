"""Figures of the diagnosis: what is drawn is what the tables hold, in both themes."""

import numpy as np
import pyarrow as pa
import pytest

from optishear.diagnosis.alignment import shrank_by
from optishear.diagnosis.diagnosis import Diagnosis
from optishear.report import captions
from optishear.report.alignment import alignment_by_layer
from optishear.report.distributions import distributions
from optishear.report.layer_errors import layer_errors
from optishear.report.style import DARK, LIGHT, Theme

from .samples import LAYERS, make_diagnosis


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    return make_diagnosis(("wanda", "masked", "pruned"))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_errors_are_a_line_per_method_above_by_block_and_below_by_kind(diagnosis: Diagnosis, theme: Theme) -> None:
    above, *below = layer_errors(diagnosis, theme).axes
    lines = {line.get_label(): line for line in above.lines}
    assert list(lines) == ["Wanda", "searched mask alone", "pruned"]
    assert list(lines["Wanda"].get_ydata()) == pytest.approx([(1 + depth) / 50 for depth in range(LAYERS)])
    assert lines["pruned"].get_color() == theme.searched
    assert len({str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in above.lines}) == 3
    assert len(below) == 4
    for axes in below:
        pruned = next(line for line in axes.lines if line.get_label() == "pruned")
        assert list(pruned.get_ydata()) == pytest.approx([(0.2 + depth / 100) / 3 for depth in range(LAYERS)])


def test_without_block_errors_the_upper_panel_goes() -> None:
    assert len(layer_errors(make_diagnosis(routed=True)).axes) == 4


def test_alignment_shows_distance_and_share(diagnosis: Diagnosis) -> None:
    panels = alignment_by_layer(diagnosis.alignment).axes
    assert len(panels) == 8
    table = [row for row in diagnosis.alignment.to_pylist() if row["method"] == "pruned"]
    for column, axes in (("distance", panels[0]), ("activation_share", panels[4])):
        expected = np.mean([row[column] for row in table if row["kind"] == "attention_in" and not row["decoder_layer"]])
        line = next(line for line in axes.lines if line.get_label() == "pruned")
        assert line.get_ydata()[0] == pytest.approx(expected)


def test_distributions_have_one_row_before_and_one_after(diagnosis: Diagnosis) -> None:
    figure = distributions(diagnosis.distributions)
    assert [axes.get_ylabel() for axes in figure.axes] == ["before\n(as Wanda)", "", "", "", "after", "", "", ""]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == ["weights", "activations"]
        assert max(axes.lines[0].get_ydata()) == 1
    low, high = figure.axes[0].get_xlim()
    assert low < -3.8
    assert high > 0.9


def test_an_outlier_does_not_stretch_the_axis() -> None:
    table = make_diagnosis().distributions
    outlier = {**table.to_pylist()[0], "log10_low": -25.0, "log10_high": -24.9, "count": 1}
    stretched = pa.concat_tables([table, pa.Table.from_pylist([outlier], schema=table.schema)])
    assert distributions(stretched).axes[0].get_xlim() == distributions(table).axes[0].get_xlim()


@pytest.mark.parametrize("draw", [layer_errors, alignment_by_layer, distributions])
def test_an_empty_table_is_said_in_words(draw: object) -> None:
    whole = make_diagnosis()
    empty = Diagnosis(*(table.slice(0, 0) for table in (
        whole.alignment, whole.distributions, whole.layer_errors, whole.block_errors)))  # fmt: skip
    argument = {layer_errors: empty, alignment_by_layer: empty.alignment, distributions: empty.distributions}[draw]
    assert not draw(argument).axes  # type: ignore[operator]


def test_wording_of_the_captions_with_by_how_much_it_shrank() -> None:
    diagnosis = make_diagnosis()
    summary = diagnosis.summary()
    wanda, pruned = summary.alignment_distance["wanda"], summary.alignment_distance["pruned"]
    assert summary.alignment_shrank_by == pytest.approx(1 - pruned / wanda)
    assert f"{100 * (1 - pruned / wanda):.0f}\N{NO-BREAK SPACE}% less than Wanda (" in captions.alignment(diagnosis)
    share = summary.alignment_shrank_by_kind["mlp_out"]
    assert share is not None
    assert f"MLP, writing, {100 * share:.0f}\N{NO-BREAK SPACE}% less than Wanda." in captions.alignment(diagnosis)
    assert "0.300 after the last block against 0.600 with Wanda" in captions.layer_errors(diagnosis)
    masked = captions.layer_errors(make_diagnosis(("wanda", "masked", "pruned")))
    assert "0.200 after the last block against 0.600 with Wanda and 0.300 with the searched mask alone." in masked
    assert "after the last block" not in captions.layer_errors(make_diagnosis(routed=True))


def test_shrinking_is_negative_where_it_grew_and_unknown_from_nothing() -> None:
    assert shrank_by(2.0, 0.2) == pytest.approx(0.9)
    assert shrank_by(1.0, 1.5) == pytest.approx(-0.5)
    assert shrank_by(0.0, 1.0) is None
    assert shrank_by(None, 1.0) is None


def test_tables_come_back_as_they_were_saved(tmp_path: object, diagnosis: Diagnosis) -> None:
    diagnosis.save(tmp_path)  # type: ignore[arg-type]
    assert Diagnosis.load(tmp_path) == diagnosis  # type: ignore[arg-type]
