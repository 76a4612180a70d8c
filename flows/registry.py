"""All flows with a command: one entry here gives the command, its flags and its page in the docs.

The order is that of ``optishear --help``. A flow is a module of this folder with a function of the same name; the
module's docstring is the command's help. It is read without importing the module, which would import Prefect.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

from flows.parameters.calibrate import CalibrateParameters
from flows.parameters.compare import CompareParameters
from flows.parameters.cross_model import CrossModelParameters
from flows.parameters.cross_task import CrossTaskParameters
from flows.parameters.evaluate import EvaluateParameters
from flows.parameters.export import ExportParameters
from flows.parameters.nightly import NightlyParameters
from flows.parameters.pipeline import PipelineParameters
from flows.parameters.prune import PruneParameters
from flows.parameters.search import SearchFlowParameters
from flows.parameters.statistics import StatisticsParameters
from flows.parameters.sweep import SweepParameters
from flows.parameters.transfer import TransferParameters
from flows.parameters.transplant import TransplantParameters
from optishear.parameters.base import Parameters


@dataclass(frozen=True)
class FlowEntry:
    """A flow.

    Attributes:
        command: the command that runs it.
        module: name of the module in ``flows``, and of the flow's function in it.
        parameters: the flow's parameters.
        deployed: whether ``prefect.yaml`` has a deployment of it, named after the flow.
    """

    command: str
    module: str
    parameters: type[Parameters]
    deployed: bool = False

    @property
    def help(self) -> str:
        """The command's help: the docstring of the flow's module."""
        source = Path(__file__).with_name(f"{self.module}.py").read_text(encoding="utf-8")
        text = ast.get_docstring(ast.parse(source))
        assert text is not None
        return text


FLOWS = (
    FlowEntry("run", "pipeline", PipelineParameters, deployed=True),
    FlowEntry("calibrate", "calibrate", CalibrateParameters, deployed=True),
    FlowEntry("statistics", "statistics", StatisticsParameters),
    FlowEntry("search", "search", SearchFlowParameters),
    FlowEntry("compare", "compare", CompareParameters),
    FlowEntry("sweep", "sweep", SweepParameters),
    FlowEntry("prune", "prune", PruneParameters),
    FlowEntry("evaluate", "evaluate", EvaluateParameters),
    FlowEntry("export", "export", ExportParameters),
    FlowEntry("transfer", "transfer", TransferParameters),
    FlowEntry("transplant", "transplant", TransplantParameters, deployed=True),
    FlowEntry("cross-task", "cross_task", CrossTaskParameters, deployed=True),
    FlowEntry("cross-model", "cross_model", CrossModelParameters, deployed=True),
    FlowEntry("nightly", "nightly", NightlyParameters, deployed=True),
)
