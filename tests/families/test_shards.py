"""Every family over two GPUs computes what it does on one device, or is refused."""

import pytest
import torch
from accelerate import dispatch_model

from fake_device import FakeGpus, no_threads
from optishear.models.shards import device_map
from wording import refused

from .families import FAMILIES, family_model

TOKENS = torch.arange(24).reshape(2, 12) * 5 % 128
# Operators in C++ make masks for them on the CPU, where the fake GPUs' tensors are for PyTorch's C++; also on one GPU.
BEYOND_THE_FAKE = {"dbrx", "deepseek_v2", "deepseek_v3", "longcat_flash"}
SHARING = {"zamba2"}


@torch.no_grad()
@pytest.mark.parametrize("model_type", sorted(FAMILIES.keys() - BEYOND_THE_FAKE - SHARING))
def test_two_gpus_compute_what_the_cpu_computes(model_type: str) -> None:
    model = family_model(model_type).requires_grad_(False)
    expected = model(input_ids=TOKENS, use_cache=False).logits
    with FakeGpus(2) as gpus, no_threads():
        placed = device_map(model_type, model, (torch.device("cuda:0"), torch.device("cuda:1")))
        dispatch_model(model, placed, skip_keys=getattr(model, "_skip_keys_device_placement", None))
        assert gpus.live["cuda:0"]
        assert gpus.live["cuda:1"]
        found = model(input_ids=TOKENS.to("cuda:0"), use_cache=False).logits.cpu()
    assert torch.equal(expected, found)


@pytest.mark.parametrize("model_type", sorted(SHARING))
def test_blocks_that_share_weights_are_refused(model_type: str) -> None:
    with refused(repr(model_type), "one weight", "device cuda"):
        device_map(model_type, family_model(model_type), (torch.device("cuda:0"), torch.device("cuda:1")))
