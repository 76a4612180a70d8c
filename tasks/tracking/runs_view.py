"""The list of an experiment's runs in MLflow, with the columns that compare them.

MLflow's web interface keeps a view that someone shares in a tag of the experiment, and an address names the view by its
key. MLflow has no constant or function for either: its web interface reads and writes them, and so does this module.
"""

import json

_KEY = "optishear"
_NAME = "OptiShear"
VIEW_TAG = f"mlflow.sharedViewState.{_KEY}"
# MLflow chooses between its two views by the address. Without the parameter a browser's first view is the one for
# generative AI, whose menu has no runs, whatever the kind of the experiment.
WORKFLOW = "workflowType=machine_learning"
_RATIOS = tuple(f"metrics.`{model}/ratio_to_dense`" for model in ("pruned", "wanda", "sparsegpt"))
_TAGS = tuple(f"tags.`{tag}`" for tag in ("model", "sparsity", "promoted"))
_COLUMNS = (*_TAGS, *_RATIOS)
# In pixels. In a column of MLflow's own width the name of a ratio is cut off.
_WIDTHS = dict(zip(_COLUMNS, (160, 90, 100, 180, 180, 190), strict=True))
# All other values of a view are those of one that nobody has changed. Some versions take what is missing as nothing.
_STATE = {
    "searchFilter": "",
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
    "selectedColumns": list(_COLUMNS),
    "columnOrder": list(_COLUMNS),
    "columnWidths": _WIDTHS,
    "runsExpanded": {},
    "runsPinned": [],
    "runsHidden": [],
    "runsVisibilityMap": {},
    "runsHiddenMode": "FIRST_10_RUNS",
    "viewMaximized": False,
    "runListHidden": False,
    "isAccordionReordered": False,
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "groupBy": None,
    "groupsExpanded": {},
    "autoRefreshEnabled": True,
}


def view_state(milliseconds: int) -> str:
    """The value of ``VIEW_TAG``.

    A version with named views takes the state from within the name, an earlier one takes it as it is.

    Args:
        milliseconds: since 1970; when the view was made.
    """
    named = {"name": _NAME, "createdAt": milliseconds, "updatedAt": milliseconds, "state": json.dumps(_STATE)}
    return json.dumps({**named, **_STATE})


def runs_route(experiment_id: str) -> str:
    """The list of the runs with these columns: what follows a server's address."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={_KEY}&{WORKFLOW}"
