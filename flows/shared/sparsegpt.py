"""SparseGPT as a published method that a run is compared with."""

from flows.parameters.prune_and_evaluate import PruneAndEvaluateParameters
from optishear.parameters.read import read_parameters
from optishear.parameters.reconstruction import ReconstructionParameters
from tasks.engine.parameter_groups import part
from tasks.stages.parameters import ReconstructStageParameters


def sparsegpt_of(parameters: PruneAndEvaluateParameters) -> ReconstructStageParameters:
    """SparseGPT by its own procedure: its masks and its update, on the calibration sequences of the run.

    The other parameters of the run's reconstruction do not matter to it. They have their defaults, so that runs which
    differ in them share its artifact.
    """
    sequences = parameters.reconstruction_sequences
    published = read_parameters(
        ReconstructionParameters, {"reconstruction": "sparsegpt", "reconstruction_sequences": sequences}
    )
    return part(parameters, ReconstructStageParameters, **dict(published))
