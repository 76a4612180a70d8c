"""Names are shown as text, whatever stands in them."""

import pytest

from optishear.markdown import plain


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("acc_norm", "acc_norm"),
        ("_x_ __b__", "\\_x\\_ \\_\\_b\\_\\_"),
        ("a|b *c* `d` [e]", "a\\|b \\*c\\* \\`d\\` \\[e\\]"),
        ("<b>&\nnext", "&lt;b&gt;&amp; next"),
    ],
)
def test_nothing_takes_effect(name: str, shown: str) -> None:
    assert plain(name) == shown
