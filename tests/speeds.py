"""A speed with simple numbers."""

from typing import Any

from optishear.timing.speed import Speed


def speed(**changes: Any) -> Speed:
    """A second for most steps, on sequences of 100 tokens."""
    times: dict[str, Any] = {
        "processor": "a processor",
        "threads": 1,
        "dtype": "float32",
        "load": 1.0,
        "tokens": 100,
        "forward": 1.0,
        "short_tokens": 10,
        "short_forward": 0.1,
        "statistics": 1.0,
        "dense_divergence": 1.0,
        "divergence": 1.0,
        "marginal_costs": 3.0,
        "new_masks": 0.5,
        "kept_masks": 0.125,
        "spectra": 2.0,
        "window": 2.0,
        "decode_step": 0.25,
        "solve": 4.0,
        "sparsegpt_solve": 3.0,
        "moments": 0.125,
        "short_training": 4.0,
        "training": 4.0,
        "update": 5.0,
        "block": 0.25,
        "blocks": 2,
        "weights": 0,
        "seconds": 5.0,
    }
    return Speed(**{**times, **changes})
