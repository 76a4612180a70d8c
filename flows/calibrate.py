"""The flow that cuts calibration text into token blocks."""

from prefect import flow

from flows.shared.checks import check
from flows.shared.output_folder import lay_out, output_folder
from flows.shared.summary import where
from optishear.parameters import CalibrateStage
from tasks.stages.calibrate import CALIBRATION, calibrate_stage


@flow(name="calibrate")
def calibrate(parameters: CalibrateStage) -> str:
    """Write ``calibration.parquet``; returns where."""
    with output_folder(parameters.output) as output:
        check(parameters)
        blocks = calibrate_stage(parameters)
        lay_out(output, {CALIBRATION: blocks.path(CALIBRATION)})
    return where(output, {"calibration": CALIBRATION})
