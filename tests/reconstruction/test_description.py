from typing import Any

import pytest

from optishear.parameters.reconstruction import ReconstructionParameters
from optishear.pruning.apply import PruningSummary
from optishear.reconstruction.description import in_words, mask_rule
from optishear.reconstruction.reconstruct import ReconstructionSummary


def made(block_errors: list[tuple[float, float]]) -> ReconstructionSummary:
    return ReconstructionSummary(PruningSummary(0.5, {}, 0.5), {}, {}, block_errors)


def words(summary: ReconstructionSummary, **parameters: Any) -> str:
    return in_words(ReconstructionParameters(**parameters), summary)


def test_wording_of_each_part_that_changed_something() -> None:
    everything = {"reconstruction": "admm", "tuning_steps": 8}
    assert words(made([(2.0, 1.0), (2.0, 1.5)]), **everything) == (
        "ADMM and conjugate gradients on each layer's inputs (arXiv 2406.07831), then 8 optimizer steps on the output "
        "of each block"
    )
    assert "the output of 1 of 2 blocks" in words(made([(2.0, 1.0), (2.0, 2.0)]), **everything)


def test_what_was_undone_is_not_told() -> None:
    undone = made([(2.0, 2.0)])
    assert words(undone, tuning_steps=8) == ""
    assert words(undone, reconstruction="sparsegpt", tuning_steps=8).endswith("(arXiv 2301.00774)")


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({}, ""),
        ({"reconstruction": "admm", "reconstruction_masks": "recipe"}, ""),
        ({"reconstruction": "sparsegpt", "reconstruction_masks": "recipe"}, ""),
        ({"reconstruction": "admm"}, "the masks moved with the weights"),
        ({"reconstruction": "sparsegpt"}, "chosen by SparseGPT"),
    ],
    ids=str,
)
def test_whose_masks_they_are(parameters: dict[str, Any], rule: str) -> None:
    found = mask_rule(ReconstructionParameters(**parameters))
    assert rule in found if rule else found == ""
