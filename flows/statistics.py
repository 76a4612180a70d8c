"""The flow that observes the dense model."""

from prefect import flow

from flows.checks import check
from flows.layout import lay_out, output_folder
from flows.summary import where
from optishear.parameters import StatisticsStage
from tasks.calibrate import CALIBRATION, calibrate_stage
from tasks.statistics import STATISTICS, statistics_stage


@flow(name="statistics")
def statistics(parameters: StatisticsStage) -> str:
    """Write ``statistics.parquet`` and what it was observed on; returns where."""
    with output_folder(parameters.output) as output:
        check(parameters)
        blocks = calibrate_stage(parameters)
        observed = statistics_stage(parameters, blocks)
        lay_out(output, {CALIBRATION: blocks.path(CALIBRATION), STATISTICS: observed.path(STATISTICS)})
    return where(output, {"statistics": STATISTICS})


if __name__ == "__main__":
    from flows.cli import main_of

    main_of("statistics")
