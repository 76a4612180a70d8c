"""The disks that a run writes to, looked at before it begins: the home folder's and the output folder's."""

from flows.parameters.output import OutputParameters
from optishear.disk import check_disk, check_takes_files
from optishear.files import copies_take_no_space
from optishear.home import home_folder
from optishear.parameters.model import ModelParameters
from optishear.parameters.recovery import RecoveryParameters
from tasks.engine.disk import checkpoint_bytes


def check_disks(parameters: OutputParameters) -> None:
    """Refuse a home folder or an output folder that does not take a file of some size now.

    Before Prefect's own server is started: on a full disk it would not start, for minutes and without a reason.

    Raises:
        InputError: names the folder, and what is free.
    """
    for folder in (home_folder(), parameters.output):
        if folder.exists():
            check_takes_files(folder)


def check_room_for_checkpoint(parameters: OutputParameters, model: ModelParameters, _: RecoveryParameters) -> None:
    """Refuse an output folder in which the pruned checkpoint does not fit, which is copied there at the end.

    Raises:
        InputError: names the folder, what is needed and what is free.
    """
    if not copies_take_no_space(home_folder(), parameters.output):
        check_disk(parameters.output, checkpoint_bytes(model), "The pruned checkpoint")
