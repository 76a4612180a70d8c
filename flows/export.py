"""The flow that writes a checkpoint in another format."""

from prefect import flow

from flows.cache import size_words
from flows.checks import check
from flows.layout import lay_out, output_folder
from flows.summary import where
from optishear.formats.stored import open_checkpoint
from optishear.parameters import ExportStage
from tasks.export import export_stage
from tasks.prune import CHECKPOINT


@flow(name="export")
def export(parameters: ExportStage) -> str:
    """Write the checkpoint ``model/``; returns how large it is and where."""
    with output_folder(parameters.output) as output:
        check(parameters)
        exported = export_stage(parameters)
        lay_out(output, {CHECKPOINT: exported.path(CHECKPOINT)})
        size = size_words(open_checkpoint(output / CHECKPOINT).disk_bytes)
    places = where(output, {"model": CHECKPOINT})
    return f"Exported as {parameters.format}: {size} of weights.\n\n{places}"


if __name__ == "__main__":
    from flows.cli import main_of

    main_of("export")
