"""The MLflow model registry: a pruned checkpoint as a version of a registered model, and which one is the champion."""

import logging
import math
import re
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

from optishear.errors import InputError, first_line
from optishear.file_names import CHECKPOINT
from optishear.home import home_folder
from optishear.pattern import Pattern
from optishear.run_metrics.schema import Registration
from tasks.registration.champion import Challenger, Champion, Decision, decide
from tasks.registration.parameters import RegistryParameters
from tasks.registration.registered_files import check_files, digest_of_checkpoint, place_checkpoint
from tasks.store.artifacts import Artifact
from tasks.tracking.flow_runs import KEY_TAG
from tasks.tracking.mlflow_run import TrackedRun

CHAMPION = "champion"
# What MLflow answers, by release and store, where no version has the alias.
_NO_ALIAS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
_PERPLEXITY, _SETTINGS, _LIMITS, _PROMOTION = "perplexity", "evaluated_on", "limits", "promotion"
_LOGGED_MODEL, _PLACE, _DIGEST = "logged_model", "checkpoint", "checkpoint_digest"
# Tags that had another name in an earlier version: former name, current name.
_FORMER_TAGS = {"judged_on": _SETTINGS}
logger = logging.getLogger("optishear.stages")


class Registered(Registration):
    """A version of a registered model, and where its checkpoint is.

    Attributes:
        checkpoint: where its files are, as a URI.
        promoted: whether it became the champion now, and was not before.
    """

    checkpoint: str
    promoted: bool = False

    @property
    def registration(self) -> Registration:
        """The part that ``metrics.json`` holds; the place of the files is the tracking server's business."""
        return Registration.model_validate(self.model_dump(exclude={"checkpoint", "promoted"}))


def registered_name(name: str | None, model: str, sparsity: Pattern, dense_share: float = 0.0) -> str:
    """The registered model's name: one for each dense model, sparsity and share of dense weights.

    So each of these has a champion of its own.

    Args:
        given: the parameter ``registered_model``.
        model: the dense model's public name, for where none is given.
        sparsity: the recipe's.
        dense_share: the recipe's.
    """
    base = name or re.sub(r"[^\w. -]", "-", model.removeprefix("package:").replace("/", "--"))
    dense = f"-dense-{dense_share:.4g}" if dense_share else ""
    return f"{base}-{str(sparsity).replace(':', 'of')}{dense}"


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
        if version is None:
            version = _new_version(run, name, checkpoint)
        elif _is_placed_here(version, name, checkpoint):
            place_checkpoint(checkpoint, _place(version))
        reigning = _reigning(client, name)
        decision = _decide_on_files(client, version, checkpoint, challenger, limits)
        decision_tags = {
            _PERPLEXITY: repr(challenger.perplexity),
            "dense_perplexity": repr(challenger.dense_perplexity),
            _SETTINGS: challenger.settings,
            _LIMITS: _words(limits),
            _PROMOTION: decision.reason,
            _DIGEST: digest_of_checkpoint(checkpoint),
        }
        for tag, value in {**tags, **decision_tags}.items():
            client.set_model_version_tag(name, version.version, tag, value)
        client.update_model_version(name, version.version, description)
        if decision.promoted:
            client.set_registered_model_alias(name, CHAMPION, version.version)
    return Registered(
        name=name,
        version=str(version.version),
        champion=decision.promoted,
        reason=decision.reason,
        checkpoint=version.tags[_PLACE],
        promoted=decision.promoted and str(reigning) != str(version.version),
    )


def registered_checkpoint(client: MlflowClient, name: str, version: str = CHAMPION) -> Path:
    """The folder of a registered version, once its files are found to be those that were registered.

    Args:
        client: of the registry.
        name: the registered model's.
        version: its number or alias.

    Raises:
        InputError: if there is no such version with files on this machine, or its files were changed.
    """
    subject = f"version {version} of {name}" if version.isdigit() else f"{name}@{version}"
    try:
        registered = (client.get_model_version if version.isdigit() else client.get_model_version_by_alias)(
            name, version
        )
    except MlflowException as error:
        raise InputError(f"There is no {subject} in the registry ({first_line(error)}).") from None
    if _PLACE not in registered.tags or _DIGEST not in registered.tags:
        raise InputError(f"The {subject} has no digest; repeat the run that registered it, or download it with MLflow.")
    place = _place(registered)
    check_files(place, registered.tags[_DIGEST], subject)
    return place


def _ensure_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_version(client: MlflowClient, name: str, key: str) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}' AND tags.`{KEY_TAG}` = '{key}'", max_results=1)
    return versions[0] if versions else None


def _place(version: ModelVersion) -> Path:
    """Where the files of a version are, on the machine that made it or wherever its folders are shared."""
    folder = local_folder(version.tags[_PLACE])
    assert folder is not None  # it was made from a path
    return folder


def _own_place(name: str, checkpoint: Artifact) -> Path:
    """Where a version's files are kept when a server or a bucket has the artifacts."""
    return home_folder().absolute() / "registered" / name / checkpoint.key


def _is_placed_here(version: ModelVersion, name: str, checkpoint: Artifact) -> bool:
    """Whether the files of a version are on this machine, or were and can be copied to it again."""
    place = _place(version)
    return place.parent.is_dir() or place == _own_place(name, checkpoint)


def _new_version(run: TrackedRun, name: str, checkpoint: Artifact) -> ModelVersion:
    """A logged model over the checkpoint's files, and a version over that."""
    client, experiment = run.client, run.tracking.experiment_id
    models = client.search_logged_models([experiment], filter_string=f"tags.`{KEY_TAG}` = '{checkpoint.key}'")
    logged = (
        models[0]
        if models
        else client.create_logged_model(
            experiment, name=CHECKPOINT, source_run_id=run.run_id, tags={KEY_TAG: checkpoint.key}
        )
    )
    own = local_folder(logged.artifact_location)
    place = own or _own_place(name, checkpoint)
    place_checkpoint(checkpoint, place)
    if own is None:
        client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_IS_EXTERNAL: "true", _PLACE: place.as_uri()})
    if logged.status != LoggedModelStatus.READY:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    tags = {KEY_TAG: checkpoint.key, _LOGGED_MODEL: logged.model_id, _PLACE: place.as_uri()}
    # A server refuses a folder of another machine; a database asks for the logged model at the global address.
    source = f"models:/{logged.model_id}" if own is None else place.as_uri()
    return client.create_model_version(name, source, run.run_id, tags, model_id=logged.model_id)


def local_folder(location: str) -> Path | None:
    """The folder that an artifact location is on this machine; ``None`` where a server or a bucket keeps it."""
    parts = urlsplit(location)
    if parts.scheme == "":
        return Path(location)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def _decide_on_files(
    client: MlflowClient,
    version: ModelVersion,
    checkpoint: Artifact,
    challenger: Challenger,
    limits: RegistryParameters,
) -> Decision:
    """The decision, if the files are those that were evaluated; else no promotion. A champion stays, with a warning."""
    place = _place(version)
    if place.exists():  # else they are on another machine
        try:
            check_files(place, digest_of_checkpoint(checkpoint), f"version {version.version} of {version.name}")
        except InputError as error:
            logger.warning("%s", error)
            reigning = _reigning(client, version.name)
            if str(reigning) == str(version.version):
                return Decision(
                    True, f"Still the champion, although its files are not those that were evaluated: {error}"
                )
            return Decision(False, f"Not promoted: {error}")
    return _decide(client, version, challenger, limits)


def _decide(
    client: MlflowClient, version: ModelVersion, challenger: Challenger, limits: RegistryParameters
) -> Decision:
    """The decision of last time, where the champion itself is evaluated as it was then; else a new one."""
    reigning = _reigning(client, version.name)
    if reigning is None:
        return decide(challenger, limits, champion=None)
    if str(reigning) != str(version.version):
        return decide(challenger, limits, _champion(client.get_model_version(version.name, reigning)))
    same = {_PERPLEXITY: repr(challenger.perplexity), _SETTINGS: challenger.settings, _LIMITS: _words(limits)}
    tags = _tags(version)
    if _PROMOTION in tags and same.items() <= tags.items():
        return Decision(True, tags[_PROMOTION])
    return decide(challenger, limits, champion=None, reigns=True)


def _reigning(client: MlflowClient, name: str) -> str | None:
    """The version that is the champion. The registered model would bring all of its versions with it."""
    try:
        return str(client.get_model_version_by_alias(name, CHAMPION).version)
    except MlflowException as error:
        if error.error_code in _NO_ALIAS:
            return None
        raise


def _champion(version: ModelVersion) -> Champion:
    """What its tags say; a version that somebody else made says nothing, and does not compare."""
    tags = _tags(version)
    try:
        perplexity = float(tags.get(_PERPLEXITY, "nan"))
    except ValueError:
        perplexity = math.nan
    return Champion(str(version.version), perplexity, tags.get(_SETTINGS, ""))


def _tags(version: ModelVersion) -> dict[str, str]:
    """The tags of a version under their current names."""
    former = {current: version.tags[name] for name, current in _FORMER_TAGS.items() if name in version.tags}
    return {**former, **version.tags}


def _words(limits: RegistryParameters) -> str:
    limits_set = {
        name: value
        for name in ("champion_max_perplexity_increase", "champion_max_task_drop")
        if (value := getattr(limits, name)) is not None
    }
    return ", ".join(f"{name} {value:g}" for name, value in limits_set.items()) or "none"
