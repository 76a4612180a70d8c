"""The search space: its genes, and the decoding of a genome to a candidate."""

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
from optishear.pattern import DENSE, Pattern
from optishear.recipes.density import Density, Values
from optishear.recipes.layer_counts import density_of
from optishear.recipes.layer_ratios import MAXIMUM_RATIO
from optishear.search_space.candidate import AnyMetric, Candidate, make_candidate

Genome = NDArray[np.float64]

COEFFICIENTS: tuple[Coefficient, ...] = get_args(Coefficient)
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
DISTINCT = distinct_meta_metrics()
# Upper bounds of the activation exponent, the sums exponent and the column share in the power space.
POWER_UPPER = (2.0, 2.0, 1.0)
# Shares of dense weights on the front beside the one asked for, in units of it.
FURTHER_SHARES = (0.0, 0.5, 1.5, 2.0)


@dataclass(frozen=True)
class Space:
    """A search space of metrics, ratios, or both.

    A genome is a float64 vector. It starts with the genes of each metric scope: four choices of seven (meta space) or
    three real numbers (power space). One level for each ratio group follows: a sparsity ratio, or with ``density`` a
    pattern. With several ``shares``, the last gene is the number of one of them.

    Attributes:
        layers: the model's prunable layers.
        pattern: the target.
        metric_scopes: the keys of the metrics: ``("all",)``, the four kinds, or the layers' paths inside their
            blocks; empty if the metrics are fixed.
        metric_space: ``meta`` or ``power``.
        fixed_metrics: the metrics if they are not searched.
        ratio_groups: the ratio group of each layer, from 0; empty if ratios are not searched.
        step: distance between two sparsity levels.
        levels: number of levels around the target, odd.
        exact: whether the ratios of every candidate are shifted to meet the target.
        density: the patterns that groups may have in place of an N:M pattern; ``None`` where all have the target's.
        shares: the shares of dense weights of the candidates, the one asked for first.
        priorities: [groups, levels] float64, value of each pattern of a group, for what a genome leaves open.
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
    density: Density | None = None
    shares: tuple[float, ...] = ()
    priorities: Values | None = None

    @property
    def metric_genes(self) -> int:
        """Number of genes for metrics, at the start of the genome."""
        return len(self.metric_scopes) * (4 if self.metric_space == "meta" else 3)

    @property
    def size(self) -> int:
        """Number of genes."""
        return self.metric_genes + self.groups + (len(self.shares) > 1)

    @property
    def groups(self) -> int:
        """Number of ratio groups."""
        return max(self.ratio_groups) + 1 if self.ratio_groups else 0

    @property
    def upper(self) -> Genome:
        """Upper bound of each gene; the lower bound is 0."""
        scope = (6.0,) * 4 if self.metric_space == "meta" else POWER_UPPER
        metrics = scope * len(self.metric_scopes)
        share = [len(self.shares) - 1.0] if len(self.shares) > 1 else []
        return np.array([*metrics, *[self.levels - 1.0] * self.groups, *share])

    @property
    def is_real(self) -> NDArray[np.bool_]:
        """Which genes are real numbers; the others are integers."""
        return (np.arange(self.size) < self.metric_genes) & (self.metric_space == "power")

    @property
    def is_level(self) -> NDArray[np.bool_]:
        """Which genes are sparsity levels."""
        genes = np.arange(self.size)
        return (genes >= self.metric_genes) & (genes < self.metric_genes + self.groups)

    def decode(self, genome: Genome) -> Candidate:
        """The candidate of a genome."""
        metrics = self.fixed_metrics
        if self.metric_scopes:
            genes_by_scope = np.split(genome[: self.metric_genes], len(self.metric_scopes))
            # Metrics by path need a default for paths that only another model has.
            metrics = {} if self.metric_scopes in (("all",), KINDS) else {"all": WANDA}
            scopes = zip(self.metric_scopes, genes_by_scope, strict=True)
            metrics |= {scope: self._decode_metric(genes) for scope, genes in scopes}
        levels = genome[self.is_level]
        if self.density is not None:
            share = self.shares[int(genome[-1]) if len(self.shares) > 1 else 0]
            return self.at_share(metrics, np.array(self.density.fractions)[levels.astype(int)], share)
        offsets = (levels - (self.levels - 1) / 2) * self.step
        return self.candidate(metrics, [self.pattern.fraction + float(offset) for offset in offsets], self.exact)

    def candidate(self, metrics: dict[str, AnyMetric], group_ratios: list[float], exact: bool) -> Candidate:
        """The candidate of metrics and the desired ratio of each group; no ratios if they are not searched.

        With ``density`` these are fractions of its levels, and stay as they are.
        """
        ratios = None
        if self.ratio_groups:
            ratios = [min(max(group_ratios[group], 0.0), MAXIMUM_RATIO) for group in self.ratio_groups]
        return make_candidate(self.layers, self.pattern, metrics, ratios, exact)

    def at_share(self, metrics: dict[str, AnyMetric], wished: Values | None, share: float) -> Candidate:
        """The candidate with a share of dense weights that is nearest to a wished fraction of each group.

        Args:
            metrics: as in ``Recipe.metrics``.
            wished: [groups] float64, fraction to prune; ``None`` makes the last layers dense.
            share: of dense weights.
        """
        assert self.density is not None
        levels = self.density.nearest(share, wished, self.priorities if wished is not None else None)
        return self.candidate(metrics, [self.density.fractions[level] for level in levels], exact=False)

    def named(self, metrics: dict[str, AnyMetric]) -> Candidate:
        """Metrics at the target, with the last layers dense where some are."""
        if self.density is None:
            return make_candidate(self.layers, self.pattern, metrics)
        return self.at_share(metrics, None, self.shares[0])

    @property
    def target_sparsity(self) -> float:
        """The fraction pruned of all layers together that a recipe of this space must have."""
        if self.density is None:
            return self.pattern.fraction
        return self.named({"all": WANDA}).achieved_sparsity

    def group_costs(self, costs: list[float]) -> Tensor:
        """The costs of a descent by group: means of marginal costs [groups], or sums of those of patterns.

        Args:
            costs: one per layer, or with ``density`` one per level of each layer, as an evaluator returns them.

        Returns:
            [groups] float64, or [groups, levels].
        """
        if self.density is None:
            return self.group_means(costs)
        of_layers = torch.tensor(costs, dtype=torch.float64).view(len(self.layers), self.levels)
        sums = torch.zeros(self.groups, self.levels, dtype=torch.float64)
        return sums.index_add_(0, torch.tensor(self.ratio_groups), of_layers)

    def start_ratios(self) -> Tensor:
        """The target for every group, [groups] float64."""
        return torch.full((self.groups,), self.pattern.fraction, dtype=torch.float64)

    def ratio_bounds(self) -> tuple[float, float]:
        """The smallest and the largest ratio of the levels."""
        reach = (self.levels - 1) / 2 * self.step
        return max(0.0, self.pattern.fraction - reach), min(MAXIMUM_RATIO, self.pattern.fraction + reach)

    def group_sizes(self) -> Tensor:
        """Number of weights of each ratio group, [groups] float64."""
        sizes = torch.tensor([layer.module.weight.numel() for layer in self.layers], dtype=torch.float64)
        return torch.zeros_like(self.start_ratios()).index_add_(0, torch.tensor(self.ratio_groups), sizes)

    def group_means(self, layer_values: list[float]) -> Tensor:
        """Mean of one value per layer over each ratio group, weighted by layer sizes, [groups] float64."""
        weighted = torch.tensor(
            [v * layer.module.weight.numel() for v, layer in zip(layer_values, self.layers, strict=True)],
            dtype=torch.float64,
        )
        sums = torch.zeros_like(self.start_ratios()).index_add_(0, torch.tensor(self.ratio_groups), weighted)
        return sums / self.group_sizes()

    def curve_ratios(self, curve: list[float]) -> Tensor:
        """The ratio of each group under one ratio per decoder layer, [groups] float64."""
        return self.group_means([curve[layer.decoder_layer] for layer in self.layers])

    def candidate_ratios(self, candidate: Candidate) -> Tensor:
        """The ratio of each group of a candidate, [groups] float64."""
        counts = zip(candidate.pruned_per_row, self.layers, strict=True)
        return self.group_means([count / layer.module.in_features for count, layer in counts])

    def encode_ratios(self, candidate: Candidate) -> Genome:
        """The levels nearest to a candidate's ratios: the genome of a space without metrics."""
        fractions = self.candidate_ratios(candidate).numpy()
        if self.density is not None:
            return self._of_fractions(fractions)
        offsets = (fractions - self.pattern.fraction) / self.step
        return np.clip(np.round(offsets) + (self.levels - 1) / 2, 0, self.levels - 1)

    def _of_fractions(self, fractions: Values) -> Genome:
        """The level genes nearest to the fraction of each group, at the share that was asked for."""
        assert self.density is not None
        distances = np.abs(np.array(self.density.fractions) - fractions[:, None])
        return np.array([*distances.argmin(axis=1).astype(float), *[0.0] * (len(self.shares) > 1)])

    def encode(self, metrics: dict[str, AnyMetric], levels: Genome | None = None) -> Genome | None:
        """The genome of metrics at some levels, by default the target; ``None`` if the space has no such metrics."""
        genes: list[float] = []
        for scope in self.metric_scopes:
            encoded = self._encode_metric(metrics[scope] if scope in metrics else metrics["all"])
            if encoded is None:
                return None
            genes += encoded
        if levels is None and self.density is not None:
            levels = self.encode_ratios(self.named(metrics))
        if levels is None:
            levels = np.full(self.size - self.metric_genes, (self.levels - 1) / 2)
        return np.array([*genes, *levels])

    def random(self, generator: np.random.Generator) -> Genome:
        """A genome drawn uniformly from the space."""
        return self.from_unit(generator.random(self.size))

    def from_unit(self, point: NDArray[np.float64]) -> Genome:
        """The genome of a point in the unit cube."""
        return np.where(self.is_real, point * self.upper, np.floor(point * (self.upper + 1)).clip(max=self.upper))

    def _decode_metric(self, genes: Genome) -> AnyMetric:
        if self.metric_space == "power":
            return PowerMetric(
                activation_exponent=float(genes[0]), sums_exponent=float(genes[1]), column_share=float(genes[2])
            )
        choices = [int(gene) for gene in genes]
        metric = MetaMetric(
            weight_coefficient=COEFFICIENTS[choices[0]],
            weight_operation=OPERATIONS[choices[1]],
            activation_coefficient=COEFFICIENTS[choices[2]],
            activation_operation=OPERATIONS[choices[3]],
        )
        # Of all metrics with the same masks, recipes show the simplest.
        return DISTINCT[canonical_key(metric)]

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
        # Magnitude is in the meta space: dividing x^2 by its column sum removes x.
        is_magnitude = metric.activation_exponent == 0 and metric.sums_exponent == 0
        return (
            [0.0, 0.0, float(COEFFICIENTS.index("column_sum")), float(OPERATIONS.index("square"))]
            if is_magnitude
            else None
        )


def search_space(
    phase: str,
    parameters: SearchParameters,
    layers: list[PrunableLayer],
    pattern: Pattern,
    fixed_metrics: dict[str, AnyMetric],
    priorities: Values | None = None,
) -> Space:
    """The space of a phase.

    Args:
        phase: ``coordinates`` and ``metric`` have no ratios, ``descent`` and ``ratios`` no metrics; ``joint`` has both.
        parameters: parameters of the search.
        layers: the model's prunable layers.
        pattern: the target.
        fixed_metrics: the metrics of the phases ``descent`` and ``ratios``, otherwise empty.
        priorities: as in ``Space``.
    """
    groups = [] if phase in ("coordinates", "metric") else ratio_groups(parameters, layers, pattern)
    density = density_of(layers, groups, pattern_fractions(parameters, pattern)) if groups and pattern.group else None
    is_exact = parameters.sparsity_budget == "exact"
    shares = dense_shares(parameters) if density else ()
    return Space(
        layers=layers,
        pattern=pattern,
        metric_scopes=() if fixed_metrics else metric_scopes(parameters, layers),
        metric_space=parameters.metric_space,
        fixed_metrics=fixed_metrics,
        ratio_groups=groups,
        step=parameters.ratio_step,
        levels=len(density.fractions) if density else parameters.ratio_levels,
        exact=is_exact,
        density=density,
        shares=shares[:1] if is_exact else shares,
        priorities=priorities,
    )


def dense_shares(parameters: SearchParameters) -> tuple[float, ...]:
    """The shares of dense weights on the front of a search, the one asked for first."""
    asked = parameters.dense_share
    return (asked, *(factor * asked for factor in FURTHER_SHARES if factor * asked < 1))


def pattern_fractions(parameters: SearchParameters, pattern: Pattern) -> list[float]:
    """What each N:M pattern prunes that a layer may have, from the target's to 0 for dense."""
    between = {denser.fraction for denser in parameters.denser_patterns}
    return [pattern.fraction, *sorted(between, reverse=True), DENSE.fraction]


def metric_scopes(parameters: SearchParameters, layers: list[PrunableLayer]) -> tuple[str, ...]:
    """The keys of the metrics in a recipe, by ``metric_scope``."""
    if parameters.metric_scope == "model":
        return ("all",)
    if parameters.metric_scope == "kind":
        return KINDS
    return tuple(dict.fromkeys(block_path(layer) for layer in layers))


def has_ratios(parameters: SearchParameters, pattern: Pattern) -> bool:
    """Whether layers may have unlike sparsities, or unlike N:M patterns."""
    return parameters.ratio_scope != "none" and (not pattern.is_structured or parameters.dense_share > 0)


def ratio_groups(parameters: SearchParameters, layers: list[PrunableLayer], pattern: Pattern) -> list[int]:
    """The ratio group of each layer; empty if the ratios are fixed."""
    if not has_ratios(parameters, pattern):
        return []
    if parameters.ratio_scope == "decoder_layer":
        return [layer.decoder_layer for layer in layers]
    if parameters.ratio_scope == "expert":
        return list(range(len(layers)))
    # The experts of one parameter are one group.
    groups: dict[tuple[int, str], int] = {}
    return [groups.setdefault((layer.decoder_layer, block_path(layer)), len(groups)) for layer in layers]
