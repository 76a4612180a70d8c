"""The weight files of a pruned model, written block by block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from optishear.formats.safetensors_writer import Entry, SafetensorsWriter, safetensors_writer
from optishear.json_file import write_json
from optishear.models.coverage import block_matrices
from optishear.models.layers import PrunableLayer
from optishear.models.stored_dtype import in_dtype_of
from optishear.pruning.apply import PruningSummary
from optishear.streaming.disk_model import DiskModel

# As transformers' ``save_pretrained`` names and cuts files.
_PATTERN, _LARGEST, _INDEX = "model{suffix}.safetensors", "50GB", "model.safetensors.index.json"


class PrunedFiles:
    """The weights of a checkpoint on their way to its files, and their zeros."""

    def __init__(self, disk: DiskModel, layers: list[PrunableLayer], writers: dict[str, SafetensorsWriter]) -> None:
        """Begin with no block.

        Args:
            disk: the model.
            layers: that are pruned.
            writers: of each stored tensor.
        """
        self._disk, self._layers, self._writers = disk, layers, writers
        self._matrices = block_matrices(disk.model)
        self._zeros: dict[str, int] = {}
        self._all_zeros = 0

    @contextmanager
    def block(self, index: int) -> Iterator[None]:
        """A block in memory, which is written as the body leaves it.

        Raises:
            InputError: if a number is too large for the dtype in which the dense model is stored.
        """
        disk, members = self._disk, [layer for layer in self._layers if layer.decoder_layer == index]
        with disk.resident(index):
            yield
            self._zeros |= {layer.name: int((layer.module.weight == 0).sum()) for layer in members}
            pruned = {layer.parameter_name for layer in members}
            for name in disk.inside(index):
                values, stored = disk.model.get_parameter(name).detach(), disk.stored.of(name)
                if name in self._matrices:
                    self._all_zeros += int((values == 0).sum())
                self.write(name, in_dtype_of(name, stored, values, name in pruned))

    def write(self, name: str, values: Tensor) -> None:
        """Write a parameter of the model under the names that it is stored with."""
        for stored, tensor in revert_weight_conversion(self._disk.model, {name: values}).items():
            self._writers[stored].write(stored, tensor)

    def summary(self) -> PruningSummary:
        """The zeros of all blocks."""
        sizes = {layer.name: layer.module.weight.numel() for layer in self._layers}
        return PruningSummary(
            achieved_sparsity=sum(self._zeros.values()) / sum(sizes.values()),
            layers={name: self._zeros[name] / size for name, size in sizes.items()},
            sparsity_of_all_matrices=self._all_zeros / sum(matrix.numel() for matrix in self._matrices.values()),
        )


@contextmanager
def pruned_files(disk: DiskModel, layers: list[PrunableLayer], folder: Path) -> Iterator[PrunedFiles]:
    """Write what is outside of the blocks, take the blocks in the body, and write the index of several files.

    Args:
        disk: the model.
        layers: that are pruned.
        folder: an empty folder for the files.
    """
    empty = {
        name: torch.empty(parameter.shape, dtype=disk.stored.dtype_of(name), device="meta")
        for name, parameter in disk.model.named_parameters()
    }
    named = revert_weight_conversion(disk.model, empty)
    split = split_torch_state_dict_into_shards(named, filename_pattern=_PATTERN, max_shard_size=_LARGEST)
    with ExitStack() as stack:
        writers: dict[str, SafetensorsWriter] = {}
        for file, names in split.filename_to_tensors.items():
            entries = {name: Entry(named[name].dtype, tuple(named[name].shape)) for name in names}
            writer = stack.enter_context(safetensors_writer(folder / file, entries, {"format": "pt"}))
            writers |= dict.fromkeys(names, writer)
        files = PrunedFiles(disk, layers, writers)
        for name in disk.outside():
            files.write(name, disk.stored.of(name))
        yield files
    if split.is_sharded:
        write_json(folder / _INDEX, {"metadata": split.metadata, "weight_map": split.tensor_to_filename})
