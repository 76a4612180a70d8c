"""The comparison on held-out sequences."""

import statistics

import pytest
import torch

from optishear.metrics.metric import MAGNITUDE, WANDA
from optishear.models.layers import prunable_layers
from optishear.pattern import parse_pattern
from optishear.search_space.candidate import make_candidate
from optishear.searching.held_out import Confirmation, HeldOut
from optishear.searching.masked_weights import MaskedWeights
from optishear.statistics.collect import collect_statistics
from tiny import random_calibration, tiny_model

TOKENS = random_calibration(5, 24, seed=7).tokens


def test_equal_to_a_direct_paired_comparison() -> None:
    model = tiny_model()
    layers = prunable_layers(model)
    observed = collect_statistics(model, random_calibration(), progress=False)
    held_out = HeldOut(model, TOKENS)
    with torch.no_grad():
        log_p = model(TOKENS).logits.log_softmax(-1)
    pattern = parse_pattern("0.6")
    candidates = [make_candidate(layers, pattern, {"all": metric}) for metric in (WANDA, MAGNITUDE)]
    with MaskedWeights(layers, observed, pattern, 0) as weights:
        confirmed = held_out.compare(weights, *candidates)
        direct = []
        for candidate in candidates:
            weights.apply(candidate.layer_metrics, candidate.pruned_per_row)
            with torch.no_grad():
                log_q = model(TOKENS).logits.log_softmax(-1)
            direct.append((log_p.exp() * (log_p - log_q)).sum(-1).mean(-1).tolist())
    assert confirmed is not None
    assert confirmed.sequences == 5
    assert confirmed.kl == pytest.approx(statistics.fmean(direct[0]), rel=1e-4)
    assert confirmed.reference_kl == pytest.approx(statistics.fmean(direct[1]), rel=1e-4)
    differences = [b - a for a, b in zip(*direct, strict=True)]
    assert confirmed.standard_error == pytest.approx(statistics.stdev(differences) / 5**0.5, rel=1e-3)


def test_one_sequence_tells_nothing() -> None:
    model = tiny_model()
    layers = prunable_layers(model)
    observed = collect_statistics(model, random_calibration(), progress=False)
    candidate = make_candidate(layers, parse_pattern("0.5"), {"all": WANDA})
    with MaskedWeights(layers, observed, parse_pattern("0.5"), 0) as weights:
        assert HeldOut(model, TOKENS[:1]).compare(weights, candidate, candidate) is None


@pytest.mark.parametrize(
    ("kl", "reference", "error", "words"),
    [
        (0.5, 0.7, 0.02, "better by 10 standard errors"),
        (0.7, 0.5, 0.02, "worse by 10 standard errors"),
        (0.50, 0.53, 0.02, "within the noise"),
        (float("inf"), 0.5, float("inf"), "within the noise"),
    ],
)
def test_what_it_says(kl: float, reference: float, error: float, words: str) -> None:
    assert words in Confirmation(8, kl, reference, error).sentence
