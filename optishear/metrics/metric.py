"""Pruning metrics as data: a point of the meta space or of the continuous power space, or one that needs gradients."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from optishear.metrics.operations import Coefficient, Operation

# Beyond it, powers of ordinary norms and sums pass float32's largest number.
EXPONENT_LIMIT = 8
Exponent = Annotated[float, Field(ge=-EXPONENT_LIMIT, le=EXPONENT_LIMIT, allow_inf_nan=False)]


class MetaMetric(BaseModel):
    """A meta pruning metric, S = c_W(|W|) u_W(|W|) c_X(x^2) u_X(x) (arXiv 2502.10735, equation 2).

    x is the L2 norm of each input channel over one calibration sequence (root of the mean of the squared norms
    over the sequences), so that more sequences do not move the non-linear operations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["meta"] = "meta"
    weight_coefficient: Coefficient = "none"
    weight_operation: Operation = "identity"
    activation_coefficient: Coefficient = "none"
    activation_operation: Operation = "identity"

    def __str__(self) -> str:
        parts = [
            _factor(self.weight_coefficient, "|W|"),
            _applied(self.weight_operation, "|W|"),
            _factor(self.activation_coefficient, "x²"),
            _applied(self.activation_operation, "x"),
        ]
        return " · ".join(part for part in parts if part)


class PowerMetric(BaseModel):
    """A point of the continuous space, S = |W| x^a (t / C + (1 - t) / R)^b.

    C and R are the column and the row sums of |W|, a the activation exponent, b the sums' exponent, t the
    column share. |W| itself carries no exponent: only the order inside a row decides, and the order of S is
    that of any power of S. Points of the space: magnitude (a = b = 0), Wanda (a = 1, b = 0), RIA (a = 1/2,
    b = 1, t = 1/2) and each power-like metric of the meta space.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["power"] = "power"
    activation_exponent: Exponent
    sums_exponent: Exponent = 0.0
    column_share: Annotated[float, Field(ge=0, le=1)] = 0.5

    def __str__(self) -> str:
        sums = f" · ({self.column_share:.3g}/C + {1 - self.column_share:.3g}/R)^{self.sums_exponent:.3g}"
        return f"|W| · x^{self.activation_exponent:.3g}" + (sums if self.sums_exponent else "")


class GradientMetric(BaseModel):
    """Pruner-Zero's published metric, S = |W * W| minmax(G) (Dong et al. 2024, arXiv 2406.02924).

    G is the L2 norm over the calibration sequences of the loss's gradient for each weight, min-max scaled over the
    layer. It needs a backward pass over the dense model, so it is applied but not searched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: Literal["gradient"] = "gradient"

    def __str__(self) -> str:
        return "|W|² · minmax(|∂L/∂W|)"


Metric = Annotated[MetaMetric | PowerMetric | GradientMetric, Field(discriminator="space")]

MAGNITUDE = PowerMetric(activation_exponent=0.0)
WANDA = MetaMetric()
RIA = PowerMetric(activation_exponent=0.5, sums_exponent=1.0, column_share=0.5)
PRUNER_ZERO = GradientMetric()
# Those that every search begins with, and all that can be named.
NAMED: dict[str, MetaMetric | PowerMetric] = {"magnitude": MAGNITUDE, "wanda": WANDA, "ria": RIA}
PUBLISHED: dict[str, MetaMetric | PowerMetric | GradientMetric] = {**NAMED, "pruner_zero": PRUNER_ZERO}


def _factor(coefficient: Coefficient, of: str) -> str:
    return "" if coefficient == "none" else f"{coefficient.replace('_', ' ')}({of})⁻¹"


def _applied(operation: Operation, to: str) -> str:
    return to if operation == "identity" else f"{operation}({to})"
