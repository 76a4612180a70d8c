"""Run a search: its phases, their rounds, and the generations of a round."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from optishear.metrics.metric import NAMED, WANDA
from optishear.models.layers import PrunableLayer
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.recipes.density import Values
from optishear.search_space.candidate import AnyMetric, Candidate
from optishear.search_space.space import Genome, Space, dense_shares, has_ratios, ratio_groups, search_space
from optishear.searching.algorithms.registry import algorithm_for
from optishear.searching.choice import choose, meeting_target, target_of
from optishear.searching.density_descent import DensityDescent
from optishear.searching.descent import RatioDescent
from optishear.searching.evaluator import Evaluator
from optishear.searching.journal import measurement_key
from optishear.searching.priors import NO_PRIORS, Priors, measure_priors
from optishear.searching.rounds import Round, plan_phases, plan_rounds
from optishear.searching.trials import Trial, best_first

Progress = Callable[[list[Trial]], None]

# A round evaluates at least this many of its start genomes, however short its time is. On a slow machine the named
# metrics alone can take the time of a round, and the results of the previous rounds would be lost.
MINIMUM_TRIALS = 3
# A round ends after this many successive generations without a new candidate.
PATIENCE = 20


class SearchRun:
    """The state of one search.

    Attributes:
        trials: all evaluated candidates, in order.
        prior_trials: the trials of the priors by name, the best first; empty before a phase has ratios.
        space: the space of the last phase.
    """

    space: Space

    def __init__(
        self,
        evaluator: Evaluator,
        layers: list[PrunableLayer],
        parameters: SearchParameters,
        pattern: Pattern,
        seed: int,
        gradient_sequences: int,
        on_generation: Progress | None,
        progress: bool,
        priors: Priors = NO_PRIORS,
    ) -> None:
        self.trials: list[Trial] = []
        self.prior_trials: dict[str, Trial] = {}
        self._evaluator = evaluator
        self._layers = layers
        self._parameters = parameters
        self._pattern = pattern
        self._seed = seed
        self._gradient_sequences = gradient_sequences
        self._on_generation = on_generation
        self._progress = progress
        self._priors = priors
        self._trials_by_key: dict[str, Trial] = {}
        # Seconds of the first 0, 1, 2, ... trials, so that a budget is compared without adding up all of them.
        self._seconds = [0.0]
        self._objectives: list[str] = []
        self._priorities: Values | None = None

    def run_phases(self) -> None:
        """Search the metric, then the ratios with the best metric; or both together."""
        groups = ratio_groups(self._parameters, self._layers, self._pattern)
        phases = plan_phases(self._parameters, bool(groups))
        rounds = plan_rounds(self._parameters, phases)
        promoted: list[Genome] = []
        for phase in phases:
            metrics = self._best_metrics() if phase in ("descent", "ratios") else {}
            space = search_space(phase, self._parameters, self._layers, self._pattern, metrics, self._priorities)
            self.space = space
            plans = [plan for plan in rounds if plan.phase == phase]
            start_metrics = [metrics] if metrics else [{"all": metric} for metric in NAMED.values()]
            genomes = [*promoted, *map(space.encode, start_metrics)]
            ratios = space.start_ratios()
            if space.ratio_groups and not self.prior_trials and self._priors.curves:
                plans[0] = self._measure_priors(plans[0], space)
                candidates = [trial.candidate for trial in self.prior_trials.values()]
                ratios = space.candidate_ratios(candidates[0])
                levels = map(space.encode_ratios, candidates)
                genomes = [*(space.encode(metrics or {"all": WANDA}, of_prior) for of_prior in levels), *genomes]
            start = list({tuple(genome): genome for genome in genomes if genome is not None}.values())
            for plan in plans:
                start = self._descend(plan, space, ratios) if phase == "descent" else self._round(plan, space, start)
            # A coordinate search and a descent give the start of the next phase.
            promoted = start if phase in ("coordinates", "descent") else []
        if self.space.density is not None and self.space.exact:
            self._further_shares(rounds[-1], self.space)

    def _measure_priors(self, plan: Round, space: Space) -> Round:
        """Measure the priors on all search sequences; returns the first round with ratios, its time reduced by that.

        Like the named metrics, priors do not count as trials.
        """
        first = len(self.trials)
        measured = replace(plan, phase="prior", sequences=self._parameters.search_sequences, trials=None, seconds=None)
        self._measure_named(measured, space)
        self.prior_trials = measure_priors(
            self._priors, space, lambda candidates: list(self._evaluate_all(candidates, measured))
        )
        self._report_generation()
        if plan.seconds is None:
            return plan
        spent = self._priors.seconds + self._seconds[-1] - self._seconds[first]
        return replace(plan, seconds=max(plan.seconds - spent, 1e-9))

    def last_round(self) -> list[Trial]:
        """The trials that were evaluated on the most tokens."""
        most = max(trial.sequences for trial in self.trials)
        return [trial for trial in self.trials if trial.sequences == most]

    def _round(self, plan: Round, space: Space, start: list[Genome]) -> list[Genome]:
        """Run one round; returns the genomes to promote, the best first."""
        begin = len(self.trials)
        self._measure_named(plan, space)
        first = len(self.trials)
        genomes: dict[int, Genome] = {}
        algorithm = algorithm_for(self._parameters.algorithm, plan.phase)(
            space, start, len(self._searched_objectives()), self._parameters.population, self._seed + plan.index
        )
        idle = 0
        with self._bar(plan, algorithm.expected) as bar:
            while idle < PATIENCE:
                proposals = algorithm.ask()
                if not proposals:
                    break
                before = len(self.trials)
                objectives = []
                limit = None if plan.trials is None else plan.trials - (before - first)
                candidates = list(map(space.decode, proposals))
                with closing(self._evaluate_all(candidates, plan, limit=limit)) as trials:
                    for genome in proposals:
                        if self._spent(plan, begin, first, min(len(start), MINIMUM_TRIALS)):
                            self._report_generation()
                            return self._promoted(genomes, first)
                        trial = next(trials)
                        genomes[trial.number] = genome
                        objectives.append([trial.objectives[name] for name in self._searched_objectives()])
                        bar.update(len(self.trials) - first - bar.n)
                algorithm.tell(proposals, np.array(objectives))
                idle = idle + 1 if len(self.trials) == before else 0
                self._report_generation()
        return self._promoted(genomes, first)

    def _descend(self, plan: Round, space: Space, start: Tensor) -> list[Genome]:
        """Move the ratios against their marginal costs; returns the genomes of the best trials."""
        first = len(self.trials)
        descent = (
            RatioDescent(start, space.group_sizes(), *space.ratio_bounds())
            if space.density is None
            else DensityDescent(space.density, space.shares[0])
        )
        spent = 0.0
        batches = self._gradient_sequences // plan.sequences
        steps = plan.trials or 1
        with self._bar(plan) as bar:
            for step in range(steps + 1):
                candidate = space.candidate(space.fixed_metrics, descent.ratios.tolist(), exact=True)
                batch = step % batches * plan.sequences
                costs: list[float] = []
                if batch == 0 and _progress(plan, step, spent) < 1:
                    # On the search sequences, the pass for the costs also evaluates the candidate.
                    costs, seconds = self._evaluator.marginal_costs(candidate, batch, plan.sequences)
                    spent += seconds
                spent += self._evaluate(candidate, plan).seconds
                self._report_generation()
                progress = _progress(plan, step, spent)
                if progress >= 1:
                    break
                if not costs:
                    costs, seconds = self._evaluator.marginal_costs(candidate, batch, plan.sequences)
                    spent += seconds
                descent.step(space.group_costs(costs), progress)
                bar.update()
        if isinstance(descent, DensityDescent):
            self._priorities = descent.priorities
        on_target = meeting_target(self.trials[first:], target_of(space))
        best = best_first(on_target)[: self._parameters.population // 2]
        return [space.encode_ratios(trial.candidate) for trial in best]

    def _measure_named(self, plan: Round, space: Space) -> None:
        """Measure the named metrics on the tokens of a round, before anything that may be one of them."""
        candidates = [space.named({"all": metric}) for metric in NAMED.values()]
        list(self._evaluate_all(candidates, plan, tuple(NAMED)))

    def _further_shares(self, plan: Round, space: Space) -> None:
        """Evaluate the best candidate's layers at further shares of dense weights, for the front."""
        best = choose(self.last_round(), target_of(space)).trial.candidate
        ratios = space.candidate_ratios(best).numpy()
        shares = dense_shares(self._parameters)[1:]
        list(self._evaluate_all([space.at_share(best.metrics, ratios, share) for share in shares], plan))
        self._report_generation()

    def _evaluate(self, candidate: Candidate, plan: Round) -> Trial:
        """The trial of a candidate, which is evaluated once on the same tokens."""
        (trial,) = self._evaluate_all([candidate], plan)
        return trial

    def _evaluate_all(
        self, candidates: Sequence[Candidate], plan: Round, names: Sequence[str] = (), limit: int | None = None
    ) -> Generator[Trial, None, None]:
        """The trials of candidates that do not depend on each other, in order.

        Each candidate is evaluated once on the same tokens.

        A trial is counted when it is asked for. Workers may have measured it before; what is not asked for is dropped.

        Args:
            candidates: one generation.
            plan: the round.
            names: of named metrics.
            limit: number of new candidates to measure; the caller asks for no more.
        """
        # The key of a candidate of a large model has thousands of characters.
        keys = [measurement_key(plan.sequences, candidate.key) for candidate in candidates]
        fresh = {
            key: candidate for key, candidate in zip(keys, candidates, strict=True) if key not in self._trials_by_key
        }
        with closing(self._evaluator.measure_many(list(fresh.values())[:limit], plan.sequences)) as measured:
            for index, key in enumerate(keys):
                if key not in self._trials_by_key:
                    self._add(key, fresh[key], plan, names[index] if names else "", next(measured))
                yield self._trials_by_key[key]

    def _add(self, key: str, candidate: Candidate, plan: Round, name: str, values: dict[str, float]) -> None:
        """Add the trial of a candidate from its measured values."""
        seconds = values.pop("seconds")
        self._objectives = self._objectives or [
            objective
            for divergence in self._parameters.divergences
            for objective in values
            if objective.split("/")[0] == divergence
        ]
        self._trials_by_key[key] = Trial(
            number=len(self.trials),
            phase="reference" if name else plan.phase,
            round=plan.index,
            name=name,
            candidate=candidate,
            sequences=plan.sequences,
            objectives={objective: values[objective] for objective in self._objective_names()},
            measured=values,
            seconds=seconds,
        )
        self.trials.append(self._trials_by_key[key])
        self._seconds.append(self._seconds[-1] + seconds)

    def _objective_names(self) -> list[str]:
        if self._pattern.is_structured:
            return [*self._objectives, *(["dense_share"] if has_ratios(self._parameters, self._pattern) else [])]
        free = self._parameters.sparsity_budget == "objective"
        return [*self._objectives, *(["sparsity_distance"] if free else [])]

    def _searched_objectives(self) -> list[str]:
        """The objectives that an algorithm sees; the share of dense weights is not one where it is fixed."""
        fixed = ["dense_share"] if self._parameters.sparsity_budget == "exact" else []
        return [name for name in self._objective_names() if name not in fixed]

    def _promoted(self, genomes: dict[int, Genome], first: int) -> list[Genome]:
        """The better quarter of what a round evaluated, at least four."""
        trials = [self.trials[number] for number in genomes]
        count = max(4, (len(self.trials) - first) // 4)
        return [genomes[trial.number] for trial in best_first(trials)[:count]]

    def _best_metrics(self) -> dict[str, AnyMetric]:
        """The metrics of the best trial without layer ratios."""
        metric_space = search_space("metric", self._parameters, self._layers, self._pattern, {})
        return choose(self.last_round(), target_of(metric_space)).trial.candidate.metrics

    def _report_generation(self) -> None:
        if self._on_generation is not None:
            self._on_generation(self.trials)

    def _spent(self, plan: Round, begin: int, first: int, minimum: int) -> bool:
        """Whether a round's budget is used up.

        Args:
            plan: the round, with its budget.
            begin: number of the first trial whose seconds count, including the named metrics.
            first: number of the first trial that counts.
            minimum: number of trials to evaluate even if the time is over.
        """
        count = len(self.trials) - first
        if plan.trials is not None and count >= plan.trials:
            return True
        spent = self._seconds[-1] - self._seconds[begin]
        return plan.seconds is not None and count >= minimum and spent >= plan.seconds

    @contextmanager
    def _bar(self, plan: Round, expected: int | None = None) -> "Iterator[tqdm[Any]]":
        limits = [limit for limit in (plan.trials, expected) if limit is not None]
        label = f"search {plan.phase} ({plan.sequences} sequences)"
        bar: tqdm[Any]
        with tqdm(total=min(limits, default=None), desc=label, unit="trial", disable=not self._progress) as bar:
            yield bar


def _progress(plan: Round, step: int, spent: float) -> float:
    """The finished share of a descent after some steps and seconds; can exceed 1."""
    return max(step / (plan.trials or 1), spent / plan.seconds if plan.seconds else 0.0)
