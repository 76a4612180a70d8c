"""Cut calibration text into token blocks of one length.

Writes calibration.parquet to --output.

\b
Example:
  optishear calibrate --model HuggingFaceTB/SmolLM2-135M --calibration hub:allenai/c4/en --output blocks
"""

from flows.parameters.calibrate import CalibrateParameters
from flows.shared.checks import check
from flows.shared.output_folder import output_folder, place_files
from flows.shared.summary import where
from flows.shared.titled_flow import titled_flow
from optishear.file_names import CALIBRATION
from tasks.stages.calibrate import calibrate_stage


@titled_flow("calibrate")
def calibrate(parameters: CalibrateParameters) -> str:
    """Write ``calibration.parquet``; returns its place."""
    with output_folder("calibrate", parameters) as output:
        check(parameters)
        blocks = calibrate_stage(parameters)
        place_files(output, {CALIBRATION: blocks.path(CALIBRATION)})
    return where(output, {"calibration": CALIBRATION})
