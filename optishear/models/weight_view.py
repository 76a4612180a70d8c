"""Weights of linear maps that are no ``nn.Linear``: slices of fused parameters, and parameters stored transposed."""

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class WeightView:
    """The place of a weight [out, in] in a parameter.

    Attributes:
        start: first index along the parameter's first dimension; ``None`` where the weight is all of it.
        rows: number of indices; 0 takes the one index ``start`` and drops the dimension, as of [experts, out, in].
        transposed: whether the parameter holds [in, out].
    """

    start: int | None = None
    rows: int = 0
    transposed: bool = False

    def of(self, parameter: Tensor) -> Tensor:
        """The view [out, in] of a parameter, or of anything of its shape, such as its gradient; it shares memory."""
        part = parameter
        if self.start is not None:
            part = parameter[self.start : self.start + self.rows] if self.rows else parameter[self.start]
        return part.T if self.transposed else part


class LinearView:
    """A linear map y = W x whose weight is a view of a module's parameter.

    Has what the pruning of an ``nn.Linear`` reads of it: ``weight``, ``in_features`` and ``out_features``. What is
    written to ``weight`` is written to the parameter; it has no gradient of its own.
    """

    def __init__(self, owner: nn.Module, attribute: str, view: WeightView) -> None:
        """Look at a parameter.

        Args:
            owner: the module that holds it.
            attribute: its name there.
            view: where the weight lies in it.
        """
        self.owner, self.attribute, self.view = owner, attribute, view
        self.out_features, self.in_features = self.weight.shape

    @property
    def parameter(self) -> nn.Parameter:
        """The whole parameter."""
        parameter: nn.Parameter = getattr(self.owner, self.attribute)
        return parameter

    @property
    def weight(self) -> Tensor:
        """[out, in], detached; shares the parameter's memory."""
        return self.view.of(self.parameter.detach())
