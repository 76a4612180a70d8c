"""The search space: which genes there are, and the candidate that a genome stands for."""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optishear.metrics.canonical import canonical_key, distinct_meta_metrics
from optishear.metrics.metric import WANDA, MetaMetric, PowerMetric
from optishear.metrics.operations import Coefficient, Operation
from optishear.models.layers import KINDS, PrunableLayer, block_path
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.recipes.layer_ratios import MAXIMUM_RATIO
from optishear.search_space.candidate import AnyMetric, Candidate, make_candidate

Genome = NDArray[np.float64]

COEFFICIENTS: tuple[Coefficient, ...] = get_args(Coefficient)
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
DISTINCT = distinct_meta_metrics()
# Largest activation exponent, sums' exponent and column share of the power space.
POWER_UPPER = (2.0, 2.0, 1.0)


@dataclass(frozen=True)
class Space:
    """The genes that are searched: metrics, ratios, or both; what is not searched is fixed.

    A genome is a float64 vector: first, for each metric scope, four choices of seven (meta space) or three real
    numbers (power space); then one level for each ratio group.

    Attributes:
        layers: the model's prunable layers.
        pattern: the target.
        metric_scopes: what has a metric of its own: ``("all",)``, the four kinds, the layers' paths inside their
            blocks, or nothing where the metrics are fixed.
        metric_space: ``meta`` or ``power``.
        fixed_metrics: the metrics where they are not searched.
        ratio_groups: the ratio group of each layer, from 0; empty where ratios are not searched.
        step: distance between two sparsity levels.
        levels: number of levels around the target, odd.
        exact: whether every candidate is shifted to meet the target.
    """

    layers: list[PrunableLayer]
    pattern: Pattern
    metric_scopes: tuple[str, ...]
    metric_space: str
    fixed_metrics: dict[str, AnyMetric]
    ratio_groups: list[int]
    step: float
    levels: int
    exact: bool

    @property
    def metric_genes(self) -> int:
        """Number of genes, at the start of the genome, that choose metrics."""
        return len(self.metric_scopes) * (4 if self.metric_space == "meta" else 3)

    @property
    def size(self) -> int:
        """Number of genes."""
        return self.metric_genes + (max(self.ratio_groups) + 1 if self.ratio_groups else 0)

    @property
    def upper(self) -> Genome:
        """Largest value of each gene; the smallest is 0."""
        scope = (6.0,) * 4 if self.metric_space == "meta" else POWER_UPPER
        metrics = scope * len(self.metric_scopes)
        return np.array([*metrics, *[self.levels - 1.0] * (self.size - self.metric_genes)])

    @property
    def is_real(self) -> NDArray[np.bool_]:
        """Which genes are real numbers; the others are whole."""
        return (np.arange(self.size) < self.metric_genes) & (self.metric_space == "power")

    @property
    def is_level(self) -> NDArray[np.bool_]:
        """Which genes are sparsity levels."""
        return np.arange(self.size) >= self.metric_genes

    def decode(self, genome: Genome) -> Candidate:
        """The candidate of a genome."""
        metrics = self.fixed_metrics
        if self.metric_scopes:
            parts = np.split(genome[: self.metric_genes], len(self.metric_scopes))
            # Under paths, layers that another model has and this one has not fall back to Wanda.
            metrics = {} if self.metric_scopes in (("all",), KINDS) else {"all": WANDA}
            metrics |= {s: self._decode_metric(part) for s, part in zip(self.metric_scopes, parts, strict=True)}
        offsets = (genome[self.metric_genes :] - (self.levels - 1) / 2) * self.step
        return self.candidate(metrics, [self.pattern.fraction + float(offset) for offset in offsets], self.exact)

    def candidate(self, metrics: dict[str, AnyMetric], group_ratios: list[float], exact: bool) -> Candidate:
        """The candidate of metrics and of the wished ratio of each group; none where ratios are not searched."""
        ratios = None
        if self.ratio_groups:
            ratios = [min(max(group_ratios[group], 0.0), MAXIMUM_RATIO) for group in self.ratio_groups]
        return make_candidate(self.layers, self.pattern, metrics, ratios, exact)

    def start_ratios(self) -> Tensor:
        """Every group at the target, [groups] float64."""
        return torch.full((self.size - self.metric_genes,), self.pattern.fraction, dtype=torch.float64)

    def ratio_bounds(self) -> tuple[float, float]:
        """The smallest and the largest ratio that the levels reach."""
        reach = (self.levels - 1) / 2 * self.step
        return max(0.0, self.pattern.fraction - reach), min(MAXIMUM_RATIO, self.pattern.fraction + reach)

    def group_sizes(self) -> Tensor:
        """Number of weights of each ratio group, [groups] float64."""
        sizes = torch.tensor([layer.module.weight.numel() for layer in self.layers], dtype=torch.float64)
        return torch.zeros_like(self.start_ratios()).index_add_(0, torch.tensor(self.ratio_groups), sizes)

    def group_means(self, layer_values: list[float]) -> Tensor:
        """Mean of one value per layer over each ratio group, weighted by the layers' sizes, [groups] float64."""
        weighted = torch.tensor(
            [v * layer.module.weight.numel() for v, layer in zip(layer_values, self.layers, strict=True)],
            dtype=torch.float64,
        )
        sums = torch.zeros_like(self.start_ratios()).index_add_(0, torch.tensor(self.ratio_groups), weighted)
        return sums / self.group_sizes()

    def encode_ratios(self, candidate: Candidate) -> Genome:
        """The genome with the levels nearest to a candidate's ratios, for a space of ratios alone."""
        fractions = [
            count / layer.module.in_features for count, layer in zip(candidate.pruned_per_row, self.layers, strict=True)
        ]
        offsets = (self.group_means(fractions).numpy() - self.pattern.fraction) / self.step
        return np.clip(np.round(offsets) + (self.levels - 1) / 2, 0, self.levels - 1)

    def encode(self, metrics: dict[str, AnyMetric]) -> Genome | None:
        """The genome of metrics at the target sparsity, or ``None`` where the space does not hold them."""
        genes: list[float] = []
        for scope in self.metric_scopes:
            encoded = self._encode_metric(metrics[scope] if scope in metrics else metrics["all"])
            if encoded is None:
                return None
            genes += encoded
        middle = (self.levels - 1) / 2
        return np.array([*genes, *[middle] * (self.size - self.metric_genes)])

    def random(self, generator: np.random.Generator) -> Genome:
        """A genome drawn evenly over the space."""
        return self.from_unit(generator.random(self.size))

    def from_unit(self, point: NDArray[np.float64]) -> Genome:
        """The genome at a point of the unit cube."""
        return np.where(self.is_real, point * self.upper, np.floor(point * (self.upper + 1)).clip(max=self.upper))

    def _decode_metric(self, genes: Genome) -> AnyMetric:
        if self.metric_space == "power":
            return PowerMetric(
                activation_exponent=float(genes[0]), sums_exponent=float(genes[1]), column_share=float(genes[2])
            )
        choices = [int(gene) for gene in genes]
        chosen = MetaMetric(
            weight_coefficient=COEFFICIENTS[choices[0]],
            weight_operation=OPERATIONS[choices[1]],
            activation_coefficient=COEFFICIENTS[choices[2]],
            activation_operation=OPERATIONS[choices[3]],
        )
        # The simplest of all metrics that give the same masks is the one to read in a recipe.
        return DISTINCT[canonical_key(chosen)]

    def _encode_metric(self, metric: AnyMetric) -> list[float] | None:
        if self.metric_space == "power":
            if isinstance(metric, PowerMetric):
                genes = [metric.activation_exponent, metric.sums_exponent, metric.column_share]
                within = all(0 <= gene <= upper for gene, upper in zip(genes, POWER_UPPER, strict=True))
                return genes if within else None
            return [1.0, 0.0, 0.5] if metric == MetaMetric() else None
        if isinstance(metric, MetaMetric):
            return [
                float(COEFFICIENTS.index(metric.weight_coefficient)),
                float(OPERATIONS.index(metric.weight_operation)),
                float(COEFFICIENTS.index(metric.activation_coefficient)),
                float(OPERATIONS.index(metric.activation_operation)),
            ]
        # Magnitude is a point of the meta space too: the column sum of the row x^2 takes x^2 away again.
        is_magnitude = metric.activation_exponent == 0 and metric.sums_exponent == 0
        return (
            [0.0, 0.0, float(COEFFICIENTS.index("column_sum")), float(OPERATIONS.index("square"))]
            if is_magnitude
            else None
        )


def search_space(
    stage: str,
    parameters: SearchParameters,
    layers: list[PrunableLayer],
    pattern: Pattern,
    fixed_metrics: dict[str, AnyMetric],
) -> Space:
    """The space of a stage.

    Args:
        stage: ``sweep`` and ``metric`` have no ratios; ``joint`` has both.
        parameters: what is searched, and how finely.
        layers: the model's prunable layers.
        pattern: the target.
        fixed_metrics: the metrics of the stages ``descent`` and ``ratios``; empty where they are searched.
    """
    return Space(
        layers=layers,
        pattern=pattern,
        metric_scopes=() if fixed_metrics else metric_scopes(parameters, layers),
        metric_space=parameters.metric_space,
        fixed_metrics=fixed_metrics,
        ratio_groups=[] if stage in ("sweep", "metric") else ratio_groups(parameters, layers, pattern),
        step=parameters.ratio_step,
        levels=parameters.ratio_levels,
        exact=parameters.sparsity_budget == "exact",
    )


def metric_scopes(parameters: SearchParameters, layers: list[PrunableLayer]) -> tuple[str, ...]:
    """What has a metric of its own."""
    if parameters.metric_scope == "model":
        return ("all",)
    if parameters.metric_scope == "kind":
        return KINDS
    return tuple(dict.fromkeys(block_path(layer) for layer in layers))


def ratio_groups(parameters: SearchParameters, layers: list[PrunableLayer], pattern: Pattern) -> list[int]:
    """The ratio group of each layer; none where the pattern fixes the ratios."""
    if parameters.ratio_scope == "none" or pattern.is_structured:
        return []
    if parameters.ratio_scope == "decoder_layer":
        return [layer.decoder_layer for layer in layers]
    if parameters.ratio_scope == "expert":
        return list(range(len(layers)))
    # The experts of one parameter are one group.
    groups: dict[tuple[int, str], int] = {}
    return [groups.setdefault((layer.decoder_layer, block_path(layer)), len(groups)) for layer in layers]
