"""Write a checkpoint in another format.

Writes model/ to --output. The bitmask format leaves the zeros out: a bfloat16 layer at 50 % takes 0.56 of its
dense bytes. Every command takes such a folder as --model; export it as dense for AutoModelForCausalLM.
The format gguf is a file model/model.gguf for llama.cpp, with the weights in bfloat16 or quantized (--gguf-type).
The format fp8-2of4 is a 2:4 pruned model in bfloat16 with torchao's configuration, by which vLLM makes FP8 of it.

\b
Example:
  optishear export --model pruned/model --format bitmask --output packed
  optishear export --model pruned/model --format gguf --gguf-type q8_0 --output served
  optishear export --model pruned/model --format fp8-2of4 --output hopper
"""

from flows.parameters.export import ExportParameters
from flows.shared.checks import check
from flows.shared.output_folder import output_folder, place_files
from flows.shared.summary import where
from flows.shared.titled_flow import titled_flow
from optishear.file_names import CHECKPOINT
from optishear.serving.export import weight_bytes
from optishear.serving.fp8_export import fp8_summary
from optishear.units import format_bytes
from tasks.stages.export import export_stage


@titled_flow("export")
def export(parameters: ExportParameters) -> str:
    """Write the checkpoint ``model/``; returns its size and place."""
    with output_folder("export", parameters) as output:
        check(parameters)
        exported = export_stage(parameters)
        place_files(output, {CHECKPOINT: exported.path(CHECKPOINT)})
        size = format_bytes(weight_bytes(output / CHECKPOINT))
        layers = f" {fp8_summary(output / CHECKPOINT)}" if parameters.format == "fp8-2of4" else ""
    places = where(output, {"model": CHECKPOINT})
    return f"Exported as {parameters.format}: {size} of weights.{layers}\n\n{places}"
