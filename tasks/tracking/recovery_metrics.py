"""How far a running recovery is: in the log, on its page in Prefect, and as metrics of its MLflow run."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from optishear.recovery.budget import Budget
from optishear.recovery.curve import CurvePoint, extrapolate
from optishear.recovery.recover import OnCheck
from tasks.tracking.point_log import PointLog
from tasks.tracking.stage_runs import current_stage_run

logger = logging.getLogger("optishear.stages")


@contextmanager
def recovery_metrics(budget: Budget) -> Iterator[OnCheck]:
    """Lend a function to call with all checks so far and the share of the schedule that is over.

    The metrics are ``held_out_kl``, and ``expected_kl``, ``expected_kl_low`` and ``expected_kl_high`` for the end, at
    the number of tokens as their step; and ``held_out_kl_by_seconds``.
    """
    stage = current_stage_run()
    points = PointLog(stage, "how far the recovery is") if stage is not None else None

    def on_check(curve: Sequence[CurvePoint], done: float) -> None:
        latest = curve[-1]
        words = f"recover: {done:.0%}, {latest.tokens:,} tokens, held-out divergence {latest.kl:.4f}"
        values = [("held_out_kl", latest.tokens, latest.kl), ("held_out_kl_by_seconds", int(latest.seconds), latest.kl)]
        expected = extrapolate(curve, budget.tokens_at_end(latest.tokens, latest.seconds)) if done < 1 else None
        if expected is not None:
            words += f"; about {expected.kl:.4f} at the end ({expected.low:.4f} to {expected.high:.4f})"
            values += [
                ("expected_kl", latest.tokens, expected.kl),
                ("expected_kl_low", latest.tokens, expected.low),
                ("expected_kl_high", latest.tokens, expected.high),
            ]
        logger.info("%s", words)
        if points is not None:
            points.add(values)

    yield on_check
    if points is not None:
        points.send()
