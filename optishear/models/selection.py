"""Which of a model's prunable layers are pruned: patterns over the names of modules."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict
from torch import nn


class Selection(BaseModel):
    """Patterns as of a shell: ``*`` stands for anything, dots too, ``?`` for one character, ``[ab]`` for one of them.

    A pattern is compared with a layer's name in the model (``model.layers.0.mlp.down_proj``) and with its path in the
    block (``mlp.down_proj``), of an expert also without its number. All of the name has to match.

    Attributes:
        include: only layers that match one of these are pruned; all where empty.
        exclude: layers that match one of these are not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(cls, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> "Selection":
        """A selection from any sequences of patterns."""
        return cls(include=tuple(include), exclude=tuple(exclude))

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def takes(self, names: Sequence[str]) -> bool:
        """Whether a layer is pruned, by all its names."""
        return (not self.include or _any(self.include, names)) and not _any(self.exclude, names)

    def unmatched(self, layers: Sequence[Sequence[str]]) -> dict[str, str]:
        """The patterns that match none of some layers, each of which has several names, with their parameter."""
        patterns = dict.fromkeys(self.include, "include") | dict.fromkeys(self.exclude, "exclude")
        return {
            pattern: parameter
            for pattern, parameter in patterns.items()
            if not any(_any((pattern,), names) for names in layers)
        }


ALL_LAYERS = Selection()
_selections: "WeakKeyDictionary[nn.Module, Selection]" = WeakKeyDictionary()


def selection_of(model: nn.Module) -> Selection:
    """The selection that was last set for a model; that of all layers where none was."""
    return _selections.get(model, ALL_LAYERS)


def set_selection(model: nn.Module, selection: Selection) -> None:
    """Set which layers of a model are pruned, until another selection is set."""
    _selections[model] = selection


def _any(patterns: Sequence[str], names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
