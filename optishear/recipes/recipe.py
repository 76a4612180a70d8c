"""The recipe: a pruning strategy as a small YAML file, readable, shareable, applicable to another model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from optishear.errors import InputError, first_line
from optishear.files import write_text
from optishear.json_file import finite
from optishear.metrics.metric import PUBLISHED, GradientMetric, Metric
from optishear.models.layers import KINDS, PrunableLayer, block_path, expert_path
from optishear.models.selection import Selection
from optishear.pattern import Pattern, parse_layer_pattern, parse_pattern
from optishear.yaml_file import parse_yaml

AnyMetric = TypeVar("AnyMetric", bound=Metric)
_ORIGIN = TypeAdapter(dict[str, JsonValue])
Ratio = Annotated[float, Field(ge=0, lt=1)]
# Of recipes with patterns of layers; the others are of version 1 and state none.
SCHEMA_VERSION = 2
_OMITTED_WHERE_EMPTY = ("dense_share", "layer_patterns", "include", "exclude", "permute_channels")


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
        dense_share: share of the weights that stay in dense layers beside an N:M pattern, as counted in
            ``optishear.recipes.density``; where ``layer_patterns`` is empty, these are the last decoder layers.
        layer_patterns: ``dense`` or an N:M pattern of groups of the same size, under the keys of ``sparsity_ratios``
            and with one text per decoder layer; for layers that differ from an N:M pattern.
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
    dense_share: Ratio = 0.0
    layer_patterns: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
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

    @field_validator("sparsity_ratios", "layer_patterns")
    @classmethod
    def _one_depth(cls, value: dict[str, list[Any]], info: ValidationInfo) -> dict[str, list[Any]]:
        lengths = {path: len(curve) for path, curve in value.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{info.field_name} need as many values for each path, not {lengths}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _of_known_version(cls, values: Any) -> Any:
        """Recipes without ``schema_version`` are of version 1."""
        if not isinstance(values, Mapping) or "schema_version" not in values:
            return values
        values = dict(values)
        version = values.pop("schema_version")
        if version not in (1, SCHEMA_VERSION):
            raise ValueError(
                f"the recipe has the schema version {version!r}, and this OptiShear reads 1 and {SCHEMA_VERSION}; use "
                "the OptiShear that wrote it, or a later one"
            )
        return values

    @model_validator(mode="after")
    def _patterns_fit(self) -> Self:
        if (self.layer_patterns or self.dense_share) and not self.sparsity.is_structured:
            raise ValueError(
                f"layer_patterns and dense_share need an N:M pattern such as 2:4, not the sparsity {self.sparsity}"
            )
        for texts in self.layer_patterns.values():
            for text in texts:
                parse_layer_pattern(text, self.sparsity)
        return self

    @model_serializer(mode="wrap")
    def _as_earlier_versions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes that an earlier version could have written are written as it did, and keep their digests."""
        written: dict[str, Any] = handler(self)
        of_version_2 = {"schema_version": SCHEMA_VERSION} if self.layer_patterns or self.dense_share else {}
        written = {key: value for key, value in written.items() if value or key not in _OMITTED_WHERE_EMPTY}
        return of_version_2 | written

    @property
    def layer_fractions(self) -> dict[str, list[float]]:
        """The fraction to prune of each layer as in ``sparsity_ratios``, also from ``layer_patterns``."""
        if not self.layer_patterns:
            return self.sparsity_ratios
        return {
            path: [parse_layer_pattern(text, self.sparsity).fraction for text in texts]
            for path, texts in self.layer_patterns.items()
        }

    @property
    def patterns_between(self) -> list[Pattern]:
        """The patterns of layers that are neither dense nor of the recipe's pattern, from the sparsest."""
        texts = {text for curve in self.layer_patterns.values() for text in curve}
        patterns = {parse_layer_pattern(text, self.sparsity) for text in texts}
        between = [pattern for pattern in patterns if 0 < pattern.fraction < self.sparsity.fraction]
        return sorted(between, key=lambda pattern: pattern.fraction, reverse=True)

    def layers_between(self, zeros: Mapping[str, float]) -> dict[str, list[str]]:
        """The layers of each of ``patterns_between``, by its text.

        Args:
            zeros: the fraction of zeros in each layer of the pruned model.
        """
        group = self.sparsity.group or 1
        return {
            str(pattern): [name for name, share in zeros.items() if round(share * group) == group - (pattern.kept or 0)]
            for pattern in self.patterns_between
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
            recipe = cls.model_validate(parse_yaml(Path(path).read_text(encoding="utf-8")))
            _check_origin(recipe.origin)
            return recipe
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise InputError(f"The recipe {str(path)!r} is not valid: {where}: {first['msg']}.") from None
        except (OSError, ValueError) as error:  # a validation error is a ValueError, too
            raise InputError(f"The recipe {str(path)!r} cannot be read ({first_line(error)}).") from None


def _check_origin(origin: dict[str, Any]) -> None:
    """Refuse bytes, dates and NaN, which YAML has: they would be written as something else, or not at all."""
    try:
        plain = finite(_ORIGIN.validate_python(origin, strict=True))
    except ValidationError:
        plain = None
    if plain != origin:
        raise ValueError("origin has a value that is no text, number, list or mapping; write it as text")


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
    """The recipe of a published metric at the sparsity of another recipe, for the same layers.

    Beside layers of unlike N:M patterns, it keeps as many weights dense, in the last decoder layers.
    """
    published = named_recipe(name, recipe.sparsity).model_copy(update={"dense_share": recipe.dense_share})
    return with_selection(published, recipe.include, recipe.exclude)


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
