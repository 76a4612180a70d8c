"""A tiny Llama with a mixture of experts as a list of modules, as code from a checkpoint may have it."""

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel

from tiny import tiny_model

EXPERTS = 3


class ListOfExperts(nn.Module):
    """Sends each token to the first or the second expert; the third never gets one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(32, 2, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 64, bias=False), nn.SiLU(), nn.Linear(64, 32, bias=False))
            for _ in range(EXPERTS)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        chosen = self.gate(hidden).argmax(dim=-1)
        output = torch.zeros_like(hidden)
        for index, expert in enumerate(self.experts):
            rows = chosen == index
            if bool(rows.any()):
                output[rows] = expert(hidden[rows])
        return output


def model_with_lists() -> PreTrainedModel:
    """A model of two blocks, whose MLPs are lists of experts."""
    model = tiny_model()
    for layer in model.model.layers:
        layer.mlp = ListOfExperts()
    return model.eval()
