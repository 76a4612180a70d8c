"""The command ``optishear champion``: the files of a registered version. It is not a flow; it computes nothing."""

import click

from optishear.home import expand_home


@click.command()
@click.argument("name")
@click.option("--version", default="champion", metavar="NUMBER|ALIAS", help="Another version than the champion.")
@click.option(
    "--tracking-uri",
    type=expand_home,
    metavar="TEXT",
    help="MLflow server or database; default: MLFLOW_TRACKING_URI, else SQLite in OPTISHEAR_HOME.",
)
def champion(name: str, version: str, tracking_uri: str | None) -> None:
    """Check the files of a registered model's champion, and print their folder.

    NAME is the registered model's, such as HuggingFaceTB--SmolLM2-135M-0.5. All files are read. If one is missing, was
    added or has other bytes than when it was registered, the command fails.

    \b
    Example:
      optishear generate --model "$(optishear champion HuggingFaceTB--SmolLM2-135M-0.5)"
    """
    from mlflow.tracking import MlflowClient

    from tasks.registration.model_versions import registered_checkpoint
    from tasks.tracking.experiment import tracking_uri as uri_of

    click.echo(str(registered_checkpoint(MlflowClient(tracking_uri=uri_of(tracking_uri)), name, version)))
