"""What FP8 makes of the weights and activations of a model, computed in bfloat16 on any device.

No kernel for FP8 is used and no zero is left out: this is for comparing outputs, not for speed.
"""

from collections.abc import Collection
from importlib.metadata import version

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from optishear.extras import require
from optishear.serving.engine import TransformersEngine


class Fp8Linear(nn.Module):
    """A linear layer with weights and activations on torchao's grid of FP8, each row with a scale of its own.

    The products of two FP8 numbers are exact in float32, where they are added. The sum is rounded to bfloat16 before it
    is scaled, and once more after, where a GPU rounds once.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Quantize a layer.

        Args:
            linear: with a weight [out, in] in bfloat16.
        """
        super().__init__()
        grid, scale = _per_row(linear.weight.detach())
        self.grid: Tensor
        self.scale: Tensor
        self.register_buffer("grid", grid)
        self.register_buffer("scale", scale.squeeze(1))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [..., out] in bfloat16 of inputs [..., in] in bfloat16."""
        grid, scale = _per_row(x)
        y = F.linear(grid, self.grid).float() * scale * self.scale
        return (y if self.bias is None else y + self.bias).to(x.dtype)


class Fp8Engine(TransformersEngine):
    """A model in transformers whose layers have the values of FP8."""

    @property
    def name(self) -> str:
        """With the versions."""
        return f"transformers {transformers.__version__}, values of FP8 (torchao {version('torchao')}) in bfloat16"


def use_fp8_values(model: PreTrainedModel, names: Collection[str]) -> None:
    """Give layers of a model the values that FP8 has of them, in place.

    Args:
        model: in bfloat16.
        names: of linear layers.

    Raises:
        InputError: if torchao is not installed.
    """
    require(["torchao"], "Comparing an export in FP8")
    for name in names:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        model.set_submodule(name, Fp8Linear(linear))


def _per_row(values: Tensor) -> tuple[Tensor, Tensor]:
    """The FP8 numbers of each row in bfloat16, which holds them exactly, and the scales [..., 1] in float32."""
    from torchao.quantization import Float8Tensor, PerRow
    from torchao.quantization.quantize_.common import KernelPreference

    quantized = Float8Tensor.from_hp(
        values.to(torch.bfloat16), granularity=PerRow(), kernel_preference=KernelPreference.TORCH
    )
    # A row of zeros has the scale zero, by which torchao divides.
    return quantized.qdata.to(torch.bfloat16).nan_to_num(nan=0.0), quantized.scale
