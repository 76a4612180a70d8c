"""Measure activation statistics of the dense model: squared norms of each layer's inputs.

Writes calibration.parquet and statistics.parquet to --output.

\b
Example:
  optishear statistics --model HuggingFaceTB/SmolLM2-135M --calibration notes.jsonl --output measured
"""

from flows.parameters.statistics import StatisticsParameters
from flows.shared.checks import check
from flows.shared.output_folder import output_folder, place_files
from flows.shared.summary import where
from flows.shared.titled_flow import titled_flow
from optishear.file_names import CALIBRATION, STATISTICS
from tasks.stages.calibrate import calibrate_stage
from tasks.stages.statistics import statistics_stage


@titled_flow("statistics")
def statistics(parameters: StatisticsParameters) -> str:
    """Write ``statistics.parquet`` and its calibration; returns their places."""
    with output_folder("statistics", parameters) as output:
        check(parameters)
        blocks = calibrate_stage(parameters)
        artifact = statistics_stage(parameters, blocks)
        place_files(output, {CALIBRATION: blocks.path(CALIBRATION), STATISTICS: artifact.path(STATISTICS)})
    return where(output, {"statistics": STATISTICS})
