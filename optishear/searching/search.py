"""The search: stages of rounds of generations, from the named metrics to a recipe."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import torch
from tqdm import tqdm
from transformers.modeling_utils import PreTrainedModel

from optishear.calibration.set import CalibrationSet
from optishear.errors import InputError
from optishear.metrics.metric import NAMED, WANDA
from optishear.models.layers import PrunableLayer, prunable_layers
from optishear.parameters import SearchParameters
from optishear.pattern import Pattern
from optishear.pruning.apply import check_pattern
from optishear.recipe import Recipe
from optishear.searching.algorithms.registry import algorithm_for
from optishear.searching.candidate import AnyMetric, Candidate, make_candidate
from optishear.searching.choice import Choice, choose
from optishear.searching.descent import RatioDescent
from optishear.searching.evaluator import CandidateEvaluator
from optishear.searching.held_out import Confirmation, HeldOut
from optishear.searching.ledger import Ledger
from optishear.searching.masked_weights import MaskedWeights
from optishear.searching.reconstruction import ReconstructionError
from optishear.searching.rounds import Round, plan_rounds, plan_stages
from optishear.searching.space import Genome, Space, metric_scopes, ratio_groups
from optishear.searching.trials import Trial, best_first, trials_table
from optishear.statistics.statistics import Statistics

logger = logging.getLogger("optishear.searching")

# A stage in which this many generations in a row bring nothing that was not evaluated before has run dry.
PATIENCE = 20


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        recipe: the chosen recipe.
        reason: why this one, and how sure it is, in sentences.
        confirmed: its divergence on sequences that the search never saw; ``None`` where none were left.
        front: all recipes of the Pareto front of the last round, the chosen one among them.
        trials: every evaluated candidate (columns in ``trials.trials_table``).
        rank_cache_bytes: what the ranks took that were kept for ratio-only trials.
    """

    recipe: Recipe
    reason: str
    confirmed: Confirmation | None
    front: list[Recipe]
    trials: pa.Table
    rank_cache_bytes: int


Progress = Callable[[list[Trial]], None]


def run_search(
    model: PreTrainedModel,
    calibrations: dict[str, CalibrationSet],
    statistics: Statistics,
    parameters: SearchParameters,
    pattern: Pattern,
    seed: int = 0,
    ledger: Path | None = None,
    origin: dict[str, object] | None = None,
    on_generation: Progress | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search the best recipe for a model in memory; the model is dense again afterwards.

    Deterministic for a seed. A search that was killed and is started again with the same ledger asks for the
    same candidates in the same order, takes from the ledger what it had measured, and ends with the recipe of an
    undisturbed search: a time budget counts the seconds that the measurements took when they were made.

    Args:
        model: the dense model.
        calibrations: search tokens by name; the main set's name is the empty string.
        statistics: taken on the dense model.
        parameters: what is searched, and for how long.
        pattern: the target.
        seed: decides every random choice.
        ledger: journal of measurements, shared by all searches on this model and these calibrations.
        origin: where the recipe comes from, kept in it.
        on_generation: called with all trials so far after every generation.
        progress: show a progress bar.

    Raises:
        InputError: if the parameters contradict each other or do not fit the model.
    """
    layers = prunable_layers(model)
    check_pattern(pattern, layers)
    check_sequences(parameters, calibrations)
    errors = {
        name: ReconstructionError(
            model,
            each.tokens[: gradient_sequences(parameters, each) if not name else parameters.search_sequences],
            tuple(parameters.divergences),
        )
        for name, each in calibrations.items()
    }
    budget = memory_budget(parameters, layers)
    held_out = HeldOut(model, calibrations[""].tokens[len(errors[""].tokens) :])
    with MaskedWeights(layers, statistics, pattern, budget) as weights:
        evaluator = CandidateEvaluator(layers, weights, errors, Ledger(ledger), pattern.sparsity)
        run = _Run(evaluator, layers, parameters, pattern, seed, len(errors[""].tokens), on_generation, progress)
        run.all_stages()
        choice = choose(run.last_round(), pattern)
        facts = {
            **(origin or {}),
            "algorithm": parameters.algorithm,
            "trials": len(run.trials),
            "seed": seed,
            "search_sequences": parameters.search_sequences,
        }
        logger.info("rank cache: %.0f of at most %.0f MiB", weights.rank_cache_bytes / 2**20, budget / 2**20)
        wanda = make_candidate(layers, pattern, {"all": WANDA})
        confirmed = held_out.compare(weights, choice.trial.candidate, wanda)
        return _result(run.trials, choice, confirmed, pattern, facts, weights.rank_cache_bytes)


def check_sequences(parameters: SearchParameters, calibrations: dict[str, CalibrationSet]) -> None:
    """Refuse to judge on more sequences than there are.

    Raises:
        InputError: naming the set that is too small.
    """
    for name, each in calibrations.items():
        if len(each.tokens) < parameters.search_sequences:
            raise InputError(
                f"search_sequences is {parameters.search_sequences}, but the calibration set {name or each.source!r} "
                f"has {len(each.tokens)} sequences; lower it or raise sequences."
            )


def gradient_sequences(parameters: SearchParameters, calibration: CalibrationSet) -> int:
    """How many sequences the descent goes through, whole batches of ``search_sequences``, in turn.

    A quarter of the calibration is left to judge the result on.
    """
    if not parameters.descent_steps or parameters.ratio_scope == "none":
        return parameters.search_sequences
    batches = min(len(calibration.tokens) * 3 // 4 // parameters.search_sequences, parameters.descent_steps)
    return max(batches, 1) * parameters.search_sequences


def memory_budget(parameters: SearchParameters, layers: list[PrunableLayer]) -> float:
    """Bytes for rank caches: the parameter, else a quarter of what is free on the weights' device."""
    if parameters.memory_budget is not None:
        return parameters.memory_budget * 2**30
    device = layers[0].module.weight.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return free / 4


class _Run:
    """The state of one search: its trials so far."""

    def __init__(
        self,
        evaluator: CandidateEvaluator,
        layers: list[PrunableLayer],
        parameters: SearchParameters,
        pattern: Pattern,
        seed: int,
        gradient_sequences: int,
        on_generation: Progress | None,
        progress: bool,
    ) -> None:
        self.trials: list[Trial] = []
        self._evaluator = evaluator
        self._layers = layers
        self._parameters = parameters
        self._pattern = pattern
        self._seed = seed
        self._gradient_sequences = gradient_sequences
        self._on_generation = on_generation
        self._progress = progress
        self._seen: dict[str, Trial] = {}
        self._objectives: list[str] = []

    def all_stages(self) -> None:
        """Search the metric, then the ratios under the best metric; or both at once."""
        groups = ratio_groups(self._parameters, self._layers, self._pattern)
        stages = plan_stages(self._parameters, bool(groups))
        rounds = plan_rounds(self._parameters, stages)
        found: list[Genome] = []
        for stage in stages:
            metrics = self._best_metrics() if stage in ("descent", "ratios") else {}
            space = Space(
                layers=self._layers,
                pattern=self._pattern,
                metric_scopes=() if metrics else metric_scopes(self._parameters, self._layers),
                metric_space=self._parameters.metric_space,
                fixed_metrics=metrics,
                ratio_groups=[] if stage in ("sweep", "metric") else groups,
                step=self._parameters.ratio_step,
                levels=self._parameters.ratio_levels,
                exact=self._parameters.sparsity_budget == "exact",
            )
            known = [metrics] if metrics else [{"all": metric} for metric in NAMED.values()]
            start = [*found, *(genome for genome in map(space.encode, known) if genome is not None)]
            for plan in (each for each in rounds if each.stage == stage):
                start = self._descend(plan, space) if stage == "descent" else self._round(plan, space, start)
            # A sweep and a descent are there to find where the next stage starts.
            found = start if stage in ("sweep", "descent") else []

    def last_round(self) -> list[Trial]:
        """The trials that were judged on the most tokens."""
        most = max(trial.sequences for trial in self.trials)
        return [trial for trial in self.trials if trial.sequences == most]

    def _round(self, plan: Round, space: Space, start: list[Genome]) -> list[Genome]:
        """Run one round; returns the genomes that it promotes, the best first."""
        for name, metric in NAMED.items():
            self._evaluate(make_candidate(self._layers, self._pattern, {"all": metric}), plan, name)
        first = len(self.trials)
        genomes: dict[int, Genome] = {}
        algorithm = algorithm_for(self._parameters.algorithm, plan.stage)(
            space, start, len(self._objective_names()), self._parameters.population, self._seed + plan.index
        )
        idle = 0
        with self._bar(plan) as bar:
            while idle < PATIENCE:
                asked = algorithm.ask()
                if not asked:
                    break
                before = len(self.trials)
                told = []
                for genome in asked:
                    if self._spent(plan, first):
                        return self._promoted(genomes, first)
                    trial = self._evaluate(space.decode(genome), plan)
                    genomes[trial.number] = genome
                    told.append(list(trial.objectives.values()))
                    bar.update(len(self.trials) - first - bar.n)
                algorithm.tell(asked, np.array(told))
                idle = idle + 1 if len(self.trials) == before else 0
                if self._on_generation is not None:
                    self._on_generation(self.trials)
        return self._promoted(genomes, first)

    def _descend(self, plan: Round, space: Space) -> list[Genome]:
        """Move the ratios against their marginal costs; returns the best as genomes."""
        first = len(self.trials)
        descent = RatioDescent(space.start_ratios(), space.group_sizes(), *space.ratio_bounds())
        spent = 0.0
        batches = self._gradient_sequences // plan.sequences
        steps = plan.trials or 1
        with self._bar(plan) as bar:
            for step in range(steps + 1):
                candidate = space.candidate(space.fixed_metrics, descent.ratios.tolist(), exact=True)
                spent += self._evaluate(candidate, plan).seconds
                progress = max(step / steps, spent / plan.seconds if plan.seconds else 0.0)
                if progress >= 1:
                    break
                batch = step % batches * plan.sequences
                costs, seconds = self._evaluator.marginal_costs(candidate, batch, plan.sequences)
                spent += seconds
                descent.step(space.group_means(costs), progress)
                bar.update()
                if self._on_generation is not None:
                    self._on_generation(self.trials)
        best = best_first(self.trials[first:])[: self._parameters.population // 2]
        return [space.encode_ratios(trial.candidate) for trial in best]

    def _evaluate(self, candidate: Candidate, plan: Round, name: str = "") -> Trial:
        """Evaluate a candidate, unless this run has done so on the same tokens."""
        seen_key = f"{plan.sequences} {candidate.key}"
        if seen_key not in self._seen:
            measured = self._evaluator.measure(candidate, plan.sequences)
            seconds = measured.pop("seconds")
            self._objectives = self._objectives or [
                name
                for divergence in self._parameters.divergences
                for name in measured
                if name.split("/")[0] == divergence
            ]
            self._seen[seen_key] = Trial(
                number=len(self.trials),
                stage="reference" if name else plan.stage,
                round=plan.index,
                name=name,
                candidate=candidate,
                sequences=plan.sequences,
                objectives={objective: measured[objective] for objective in self._objective_names()},
                measured=measured,
                seconds=seconds,
            )
            self.trials.append(self._seen[seen_key])
        return self._seen[seen_key]

    def _objective_names(self) -> list[str]:
        free = self._parameters.sparsity_budget == "objective" and not self._pattern.is_structured
        return [*self._objectives, *(["sparsity_distance"] if free else [])]

    def _promoted(self, genomes: dict[int, Genome], first: int) -> list[Genome]:
        """The better quarter of what a round evaluated, at least four."""
        known = [self.trials[number] for number in genomes]
        count = max(4, (len(self.trials) - first) // 4)
        return [genomes[trial.number] for trial in best_first(known)[:count]]

    def _best_metrics(self) -> dict[str, AnyMetric]:
        return choose(self.last_round(), self._pattern).trial.candidate.metrics

    def _spent(self, plan: Round, first: int) -> bool:
        """Whether the round's budget is used up by the trials that it made."""
        made = self.trials[first:]
        if plan.trials is not None and len(made) >= plan.trials:
            return True
        return plan.seconds is not None and sum(trial.seconds for trial in made) >= plan.seconds

    @contextmanager
    def _bar(self, plan: Round) -> "Iterator[tqdm[Any]]":
        label = f"search {plan.stage} ({plan.sequences} sequences)"
        bar: tqdm[Any]
        with tqdm(total=plan.trials, desc=label, unit="trial", disable=not self._progress) as bar:
            yield bar


def _result(
    trials: list[Trial],
    choice: Choice,
    confirmed: Confirmation | None,
    pattern: Pattern,
    origin: dict[str, object],
    rank_cache_bytes: int,
) -> SearchResult:
    reason = choice.reason if confirmed is None else f"{choice.reason} {confirmed.sentence}"
    recipes = []
    for index, trial in enumerate(choice.front):
        name = trial.name or f"front-{index:02d}"
        recipe = trial.candidate.recipe(name, pattern)
        recipes.append(recipe.model_copy(update={"objectives": trial.measured, "origin": origin}))
    chosen = choice.trial.candidate.recipe("searched", pattern).model_copy(
        update={"objectives": choice.trial.measured, "origin": {**origin, "reason": reason}}
    )
    table = trials_table(trials, choice.front, choice.trial)
    return SearchResult(chosen, reason, confirmed, recipes, table, rank_cache_bytes)
