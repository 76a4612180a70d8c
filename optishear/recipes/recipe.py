"""The recipe: a pruning strategy as a small YAML file, readable, shareable, applicable to another model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from optishear.errors import InputError, first_line
from optishear.files import write_text
from optishear.metrics.metric import PUBLISHED, GradientMetric, Metric
from optishear.models.layers import KINDS, PrunableLayer, block_path, expert_path
from optishear.models.selection import Selection
from optishear.pattern import Pattern, parse_pattern

AnyMetric = TypeVar("AnyMetric", bound=Metric)
Ratio = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """How to prune a model.

    >>> recipe = optishear.search(model, tokenizer, sequences=8, sequence_length=64, trials=12, progress=False)
    >>> recipe.save("recipe.yaml")
    >>> optishear.Recipe.load("recipe.yaml") == recipe
    True

    Attributes:
        name: shown in tables and model cards.
        sparsity: the target, ``0.5`` or ``2:4``.
        metrics: the pruning metric of the layers, by the layer's path inside its block (``self_attn.q_proj``), by
            its kind (``attention_in``), or under ``all``; the first of these that the recipe has is a layer's.
            The experts of one parameter share a path; one of them has its own with its number behind it, such as
            ``mlp.experts.down_proj.3``.
        sparsity_ratios: fraction to prune, one number per decoder layer from first to last, under ``all`` or
            under a layer's path inside its block (``self_attn.q_proj``), which goes before ``all``. Empty: every
            layer at the target.
        include: patterns of the layers that are pruned, as in ``optishear.models.selection``; empty for all.
        exclude: patterns of the layers that are not.
        permute_channels: reorder channels, where their order is free, before an N:M pattern is applied.
        objectives: measured values of the search by name.
        origin: model, calibration, algorithm, trials, seed and version of the search.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sparsity: Pattern
    metrics: dict[str, Metric]
    sparsity_ratios: dict[str, Annotated[list[Ratio], Field(min_length=1)]] = {}
    include: list[str] = []
    exclude: list[str] = []
    permute_channels: bool = False
    objectives: dict[str, float] = {}
    origin: dict[str, Any] = {}

    @field_validator("metrics")
    @classmethod
    def _complete(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "all" not in value and not set(KINDS) <= set(value):
            raise ValueError(f"metrics need the key 'all' or the four kinds {', '.join(KINDS)}, not {sorted(value)}")
        return value

    @field_validator("sparsity_ratios")
    @classmethod
    def _one_depth(cls, value: dict[str, list[float]]) -> dict[str, list[float]]:
        lengths = {path: len(curve) for path, curve in value.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"sparsity_ratios need as many numbers for each path, not {lengths}")
        return value

    @model_serializer(mode="wrap")
    def _without_empty_patterns(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes for all layers are written as in earlier versions, and keep their digests."""
        written: dict[str, Any] = handler(self)
        return {
            key: value
            for key, value in written.items()
            if value or key not in ("include", "exclude", "permute_channels")
        }

    @property
    def selection(self) -> Selection:
        """Which layers are pruned."""
        return Selection.of(self.include, self.exclude)

    @property
    def needs_gradients(self) -> bool:
        """Whether a metric is scored by gradients of the dense model's loss."""
        return any(isinstance(metric, GradientMetric) for metric in self.metrics.values())

    def metric_of(self, layer: PrunableLayer) -> Metric:
        """The metric that scores a layer."""
        return metric_of(self.metrics, layer)

    def to_yaml(self) -> str:
        """The recipe as YAML, keys in a fixed order."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def save(self, path: str | Path) -> None:
        """Write the recipe to a YAML file."""
        write_text(Path(path), self.to_yaml())

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Read a recipe from a YAML file.

        Raises:
            InputError: if the file is missing, not YAML, or not a recipe.
        """
        try:
            return cls.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = first_line(error)
            raise InputError(f"The recipe {str(path)!r} cannot be read ({reason}).") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise InputError(f"The recipe {str(path)!r} is not valid: {where}: {first['msg']}.") from None


def metric_of(metrics: Mapping[str, AnyMetric], layer: PrunableLayer) -> AnyMetric:
    """A layer's metric: by its path, else by its kind, else the one for all."""
    for key in (expert_path(layer), block_path(layer), layer.kind, "all"):
        if key in metrics:
            return metrics[key]
    raise InputError(f"The recipe has no metric for {layer.name}; give it one under 'all'.")


def with_selection(recipe: Recipe, include: Sequence[str], exclude: Sequence[str]) -> Recipe:
    """The recipe for layers that are given apart from it.

    Raises:
        InputError: if the recipe has other patterns of its own.
    """
    selection = Selection.of(include, exclude)
    if not selection or selection == recipe.selection:
        return recipe
    if recipe.selection:
        raise InputError(
            f"The recipe {recipe.name!r} is for layers with include {recipe.include} and exclude {recipe.exclude}, not "
            f"include {list(include)} and exclude {list(exclude)}; leave these out."
        )
    return recipe.model_copy(update={"include": list(include), "exclude": list(exclude)})


def published_beside(name: str, recipe: Recipe) -> Recipe:
    """The recipe of a published metric at the sparsity of another recipe, for the same layers."""
    return with_selection(named_recipe(name, recipe.sparsity), recipe.include, recipe.exclude)


def named_recipe(name: str, sparsity: Pattern | str | float) -> Recipe:
    """The recipe of a published metric (magnitude, wanda, ria, pruner_zero) at a sparsity, the same in every layer.

    Raises:
        InputError: if there is no such metric.
    """
    if name not in PUBLISHED:
        raise InputError(f"There is no recipe named {name!r}; the named ones are {', '.join(PUBLISHED)}.")
    origin = {"published": name}
    return Recipe(name=name, sparsity=parse_pattern(sparsity), metrics={"all": PUBLISHED[name]}, origin=origin)


def find_recipe(recipe: str, sparsity: Pattern | str | float) -> Recipe:
    """A recipe by the name of a published metric, at ``sparsity``, or from a YAML file, at its own sparsity.

    Raises:
        InputError: if it is neither a name nor a file.
    """
    if recipe in PUBLISHED:
        return named_recipe(recipe, sparsity)
    if not Path(recipe).is_file():
        raise InputError(
            f"The recipe {recipe!r} is neither a file nor one of the named recipes {', '.join(PUBLISHED)}."
        )
    return Recipe.load(recipe)
