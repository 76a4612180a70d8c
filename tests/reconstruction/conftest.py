"""Small layers with correlated inputs."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from optishear.parameters.reconstruction import ReconstructionParameters

# As the stage damps.
DAMPING = ReconstructionParameters().reconstruction_damping


@dataclass(frozen=True)
class Layer:
    """A random layer: weight [out, in] and inputs [tokens, in], float64."""

    weight: Tensor
    inputs: Tensor

    @property
    def moment(self) -> Tensor:
        return self.inputs.T @ self.inputs / len(self.inputs)

    def error(self, weight: Tensor) -> float:
        return float(((self.weight - weight) @ self.inputs.T).square().sum() / len(self.inputs))


def random_layer(rows: int = 12, width: int = 24, tokens: int = 200, seed: int = 0) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-1, 1, width, dtype=torch.float64)
    inputs = torch.randn(tokens, width, generator=generator, dtype=torch.float64) @ mixing * scales
    return Layer(torch.randn(rows, width, generator=generator, dtype=torch.float64), inputs)


@pytest.fixture
def layer() -> Layer:
    return random_layer()
