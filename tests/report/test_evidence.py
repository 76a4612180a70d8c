from optishear.evidence.crossed import WANDA, crossed_evidence
from optishear.evidence.matrix import Matrix
from optishear.report.evidence import page

from .test_html import HOSTILE, Page

PLACES = ("SmolLM2-135M", HOSTILE)
VALUES = {
    (row, column): 10.0 * (1 + place) * (1 + height)
    for place, column in enumerate(PLACES)
    for height, row in enumerate([*PLACES, WANDA])
}


def test_the_page_says_what_came_out_and_loads_nothing() -> None:
    lost = (HOSTILE, PLACES[0])
    values = {cell: value for cell, value in VALUES.items() if cell != lost}
    evidence = crossed_evidence("2 models", Matrix((*PLACES, WANDA), PLACES, values, {lost: "lost"}), PLACES, "model")
    text = page(evidence, "optishear cross-model --other-models tiny --universal")
    read = Page(text)
    assert not {"script", "link", "iframe", "img", "object", "image"} & set(read.tags)
    assert "://" not in text
    ids = [value for name, value in read.attributes if name == "id"]
    assert read.tags.count("svg") == 2
    assert len(ids) == len(set(ids))
    assert evidence.verdict in read.text
    for remark in evidence.remarks:
        assert remark in read.text
    for words in ("40.0", "60.0", "failed", "optishear cross-model", "--other-models tiny", "--universal"):
        assert words in read.text
