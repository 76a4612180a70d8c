"""One search as it runs: stages of rounds of generations, and the trials that they make."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tqdm import tqdm

from optishear.metrics.metric import NAMED
from optishear.models.layers import PrunableLayer
from optishear.parameters.search import SearchParameters
from optishear.pattern import Pattern
from optishear.search_space.candidate import AnyMetric, Candidate, make_candidate
from optishear.search_space.space import Genome, Space, ratio_groups, search_space
from optishear.searching.algorithms.registry import algorithm_for
from optishear.searching.choice import choose
from optishear.searching.descent import RatioDescent
from optishear.searching.evaluator import Evaluator
from optishear.searching.rounds import Round, plan_rounds, plan_stages
from optishear.searching.trials import Trial, best_first

Progress = Callable[[list[Trial]], None]

# However short its time is, a round judges so many of the genomes that it begins with. On a slow machine the named
# metrics alone may take all of a short round, and what the rounds before have found would be forgotten.
FEWEST_JUDGED = 3
# A stage in which this many generations in a row bring nothing that was not evaluated before has run dry.
PATIENCE = 20


class SearchRun:
    """The state of one search: its trials so far.

    Attributes:
        trials: every evaluated candidate, in order.
    """

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
            space = search_space(stage, self._parameters, self._layers, self._pattern, metrics)
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
        begin = len(self.trials)
        for name, metric in NAMED.items():
            self._evaluate(make_candidate(self._layers, self._pattern, {"all": metric}), plan, name)
        first = len(self.trials)
        genomes: dict[int, Genome] = {}
        algorithm = algorithm_for(self._parameters.algorithm, plan.stage)(
            space, start, len(self._objective_names()), self._parameters.population, self._seed + plan.index
        )
        idle = 0
        with self._bar(plan, algorithm.expected) as bar:
            while idle < PATIENCE:
                asked = algorithm.ask()
                if not asked:
                    break
                before = len(self.trials)
                told = []
                for genome in asked:
                    if self._spent(plan, begin, first, min(len(start), FEWEST_JUDGED)):
                        self._tell_generation()
                        return self._promoted(genomes, first)
                    trial = self._evaluate(space.decode(genome), plan)
                    genomes[trial.number] = genome
                    told.append(list(trial.objectives.values()))
                    bar.update(len(self.trials) - first - bar.n)
                algorithm.tell(asked, np.array(told))
                idle = idle + 1 if len(self.trials) == before else 0
                self._tell_generation()
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
                batch = step % batches * plan.sequences
                costs: list[float] = []
                if batch == 0 and _progress(plan, step, spent) < 1:
                    # On the sequences that it is judged on, the pass for the costs measures the candidate too.
                    costs, seconds = self._evaluator.marginal_costs(candidate, batch, plan.sequences)
                    spent += seconds
                spent += self._evaluate(candidate, plan).seconds
                self._tell_generation()
                progress = _progress(plan, step, spent)
                if progress >= 1:
                    break
                if not costs:
                    costs, seconds = self._evaluator.marginal_costs(candidate, batch, plan.sequences)
                    spent += seconds
                descent.step(space.group_means(costs), progress)
                bar.update()
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

    def _tell_generation(self) -> None:
        if self._on_generation is not None:
            self._on_generation(self.trials)

    def _spent(self, plan: Round, begin: int, first: int, fewest: int) -> bool:
        """Whether a round's budget is used up.

        Args:
            plan: the budget.
            begin: first trial whose seconds count, that of a named metric.
            first: first trial that counts.
            fewest: trials that are made however long they take.
        """
        made = len(self.trials) - first
        if plan.trials is not None and made >= plan.trials:
            return True
        spent = sum(trial.seconds for trial in self.trials[begin:])
        return plan.seconds is not None and made >= fewest and spent >= plan.seconds

    @contextmanager
    def _bar(self, plan: Round, expected: int | None = None) -> "Iterator[tqdm[Any]]":
        limits = [limit for limit in (plan.trials, expected) if limit is not None]
        label = f"search {plan.stage} ({plan.sequences} sequences)"
        bar: tqdm[Any]
        with tqdm(total=min(limits, default=None), desc=label, unit="trial", disable=not self._progress) as bar:
            yield bar


def _progress(plan: Round, step: int, spent: float) -> float:
    """How much of a descent is over, from 0 to 1 or more, after some steps and seconds."""
    return max(step / (plan.trials or 1), spent / plan.seconds if plan.seconds else 0.0)
