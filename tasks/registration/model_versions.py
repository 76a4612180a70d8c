"""The MLflow model registry: a pruned checkpoint as a version of a registered model, and which one is the champion."""

import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL
from pydantic import BaseModel, ConfigDict

from optishear.file_names import CHECKPOINT
from optishear.files import link_or_copy, write_aside
from optishear.home import home_folder
from optishear.pattern import Pattern
from optishear.report.measures import as_number
from tasks.registration.champion import Challenger, Champion, Decision, decide
from tasks.registration.parameters import RegistryParameters
from tasks.store.artifacts import Artifact
from tasks.tracking.flow_runs import KEY_TAG
from tasks.tracking.mlflow_run import TrackedRun

CHAMPION = "champion"
_PERPLEXITY, _SETTINGS, _LIMITS, _PROMOTION = "perplexity", "judged_on", "limits", "promotion"
_LOGGED_MODEL, _PLACE = "logged_model", "checkpoint"


class Registered(BaseModel):
    """A version of a registered model.

    Attributes:
        name: the registered model's.
        version: its number.
        champion: whether it has the alias ``champion``.
        reason: why, or why not, in a sentence.
        checkpoint: where its files are, as a URI.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    champion: bool
    reason: str
    checkpoint: str


def registered_name(given: str | None, model: str, sparsity: Pattern) -> str:
    """The registered model's name: one for each dense model and sparsity, so that each has a champion of its own.

    Args:
        given: the parameter ``registered_model``.
        model: the dense model's public name, for where none is given.
        sparsity: the recipe's.
    """
    base = given or re.sub(r"[^\w. -]", "-", model.removeprefix("package:").replace("/", "--"))
    return f"{base}-{str(sparsity).replace(':', 'of')}"


def register_version(
    run: TrackedRun,
    name: str,
    checkpoint: Artifact,
    challenger: Challenger,
    limits: RegistryParameters,
    tags: Mapping[str, str],
    description: str,
) -> Registered:
    """Register a checkpoint, once however often this is called, and decide whether it is the champion.

    Args:
        run: that made it.
        name: the registered model's.
        checkpoint: the artifact of the stage ``prune``.
        challenger: what its promotion depends on.
        limits: what a champion must keep to.
        tags: more about the version.
        description: Markdown for the version's page.
    """
    client = run.client
    folder = home_folder() / "registered"
    folder.mkdir(parents=True, exist_ok=True)
    # Two runs that end at once must not both look at the champion before one of them moves it.
    with FileLock(folder / f".{name}.lock"):
        _ensure_model(client, name)
        version = _find_version(client, name, checkpoint.key)
        place = version.tags[_PLACE] if version is not None else ""
        if version is None:
            version, place = _new_version(run, name, checkpoint)
        decision = _decide(client, version, challenger, limits)
        kept = {
            _PERPLEXITY: repr(challenger.perplexity),
            "dense_perplexity": repr(challenger.dense_perplexity),
            _SETTINGS: challenger.settings,
            _LIMITS: _words(limits),
            _PROMOTION: decision.reason,
        }
        for tag, value in {**tags, **kept}.items():
            client.set_model_version_tag(name, version.version, tag, value)
        client.update_model_version(name, version.version, description)
        if decision.promoted:
            client.set_registered_model_alias(name, CHAMPION, version.version)
    return Registered(
        name=name,
        version=str(version.version),
        champion=decision.promoted,
        reason=decision.reason,
        checkpoint=place,
    )


def _ensure_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_version(client: MlflowClient, name: str, key: str) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' AND tags.`{KEY_TAG}` = '{key}'", max_results=1)
    return found[0] if found else None


def _new_version(run: TrackedRun, name: str, checkpoint: Artifact) -> tuple[ModelVersion, str]:
    """A logged model over the checkpoint's files, and a version over that."""
    client, experiment = run.client, run.tracking.experiment_id
    begun = client.search_logged_models([experiment], filter_string=f"tags.`{KEY_TAG}` = '{checkpoint.key}'")
    logged = (
        begun[0]
        if begun
        else client.create_logged_model(
            experiment, name=CHECKPOINT, source_run_id=run.run_id, tags={KEY_TAG: checkpoint.key}
        )
    )
    own = local_folder(logged.artifact_location)
    place = own or home_folder().absolute() / "registered" / name / checkpoint.key
    if not place.exists():
        with write_aside(place) as aside:
            shutil.copytree(checkpoint.path(CHECKPOINT), aside, copy_function=link_or_copy)
    if own is None:
        client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_IS_EXTERNAL: "true", _PLACE: place.as_uri()})
    if logged.status != LoggedModelStatus.READY:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    tags = {KEY_TAG: checkpoint.key, _LOGGED_MODEL: logged.model_id, _PLACE: place.as_uri()}
    # A server refuses a folder of another machine; a database asks for the logged model at the global address.
    source = f"models:/{logged.model_id}" if own is None else place.as_uri()
    version = client.create_model_version(name, source, run.run_id, tags, model_id=logged.model_id)
    return version, place.as_uri()


def local_folder(location: str) -> Path | None:
    """The folder that an artifact location is on this machine; ``None`` where a server or a bucket keeps it."""
    parts = urlsplit(location)
    if parts.scheme == "":
        return Path(location)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def _decide(
    client: MlflowClient, version: ModelVersion, challenger: Challenger, limits: RegistryParameters
) -> Decision:
    """The decision of last time, where the champion itself is evaluated as it was then; else a new one."""
    reigning = client.get_registered_model(version.name).aliases.get(CHAMPION)
    if reigning is None:
        return decide(challenger, limits, champion=None)
    if str(reigning) != str(version.version):
        return decide(challenger, limits, _champion(client.get_model_version(version.name, reigning)))
    same = {_PERPLEXITY: repr(challenger.perplexity), _SETTINGS: challenger.settings, _LIMITS: _words(limits)}
    if _PROMOTION in version.tags and same.items() <= version.tags.items():
        return Decision(True, version.tags[_PROMOTION])
    return decide(challenger, limits, champion=None, reigns=True)


def _champion(version: ModelVersion) -> Champion:
    """What its tags say; a version that somebody else made says nothing, and does not compare."""
    perplexity = as_number(version.tags.get(_PERPLEXITY))
    settings = version.tags.get(_SETTINGS, "")
    return Champion(str(version.version), math.nan if perplexity is None else perplexity, settings)


def _words(limits: RegistryParameters) -> str:
    given = {
        name: value
        for name in ("champion_max_perplexity_increase", "champion_max_task_drop")
        if (value := getattr(limits, name)) is not None
    }
    return ", ".join(f"{name} {value:g}" for name, value in given.items()) or "none"
