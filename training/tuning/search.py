"""The search: trials one after the other, each proposed from all before it, each written down as it ends.

Three objectives: NDCG@10 of the validation weeks on all items and on new ones, and the floating-point operations of a
training. Proposals are by the multi-objective tree-structured Parzen estimator (Ozaki et al. 2020, doi
10.1145/3377930.3389817), drawn anew for every trial from the seed and the number of trials before it, so that a search
that was cut off goes on as if it had not been.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.evaluation import estimate, relative_difference
from training.fit_teacher import fit_teacher
from training.pareto import pareto_front, surpasses
from training.teacher import Teacher
from training.train import Progress
from training.tuning.front import Trial, Tuning
from training.tuning.halving import RUNGS, goes_on, scalarised
from training.tuning.space import Candidate, candidate_of, recipe_of, suggest
from training.tuning.task import Task

if TYPE_CHECKING:
    import optuna

DIRECTIONS: tuple[Literal["minimize", "maximize"], ...] = ("maximize", "maximize", "minimize")
RANDOM_TRIALS = 8  # before the estimator has enough to go by
RESULT = "result"  # the trial's attribute


class People(msgspec.Struct, frozen=True):
    """NDCG@10 of each person who is measured, None where nothing was wanted: JSON has no NaN."""

    ndcg: tuple[float | None, ...]
    new_ndcg: tuple[float | None, ...]

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """float64 [people] each, NaN where nothing was wanted."""
        every, new = (
            np.array([np.nan if value is None else value for value in values]) for values in (self.ndcg, self.new_ndcg)
        )
        return every, new

    def means(self) -> tuple[float, float]:
        """Over the people who have a value; 0 over nobody."""
        every, new = (
            float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else 0.0 for values in self.arrays()
        )
        return every, new


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a trial, whether it finished or was stopped."""

    candidate: Candidate
    rungs: tuple[float, ...]  # gain over the first trial at each rung it reached, see `scalarised`
    first_rungs: tuple[People, ...] = ()  # of the first trial: what the others are compared with
    last: People  # when it ended
    training_flops: int
    parameters: int
    seconds: float


class _Stopped(Exception):
    """Raised inside a training that halving ends."""


def search(task: Task, study: "optuna.Study", trials: int, progress: Progress, out_of_time: Callable[[], bool]) -> None:
    """Try until so many trials have ended, or until there is no time to begin another.

    Args:
        task: what is learned and measured.
        study: of three objectives, see `DIRECTIONS`; trials that have ended are kept.
        trials: that the study is to have, those of earlier searches among them.
        progress: called with what is done, steps done and all steps of the trial.
        out_of_time: asked before each trial but the first.
    """
    import optuna
    from optuna.trial import TrialState

    current = candidate_of(task.settings.recipe)
    while len(done := results(study)) < trials and not (done and out_of_time()):
        seed = int(np.random.default_rng((task.seed, len(done))).integers(2**31))
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        if not done and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(msgspec.structs.asdict(current))
        trial = study.ask()
        proposed = suggest(trial, current)
        result, finished = _try(
            task,
            proposed if done else current,
            done,
            _within(f"trial {len(done) + 1} of {trials}", progress),
        )
        trial.set_user_attr(RESULT, msgspec.to_builtins(result))
        if finished:
            study.tell(trial, [*result.last.means(), float(result.training_flops)])
        else:
            study.tell(trial, state=TrialState.PRUNED)


def _within(where: str, progress: Progress) -> Progress:
    return lambda what, done, total: progress(f"{where}: {what}", done, total)


def results(study: "optuna.Study") -> list[Result]:
    """Of all trials that ended, in their order."""
    return [msgspec.convert(trial.user_attrs[RESULT], Result) for trial in _ended(study)]


def _ended(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _try(task: Task, candidate: Candidate, earlier: list[Result], progress: Progress) -> tuple[Result, bool]:
    """Train one candidate; whether it went on to the end."""
    started = time.monotonic()
    recipe = recipe_of(candidate, task.settings.recipe)
    teacher = task.new_teacher(recipe)
    flops = task.training_flops(teacher, recipe)
    scores: list[float] = []
    found: list[People] = []
    stops = {max(round(share * recipe.steps), 1): rung for rung, share in enumerate(RUNGS)}

    def watch(what: str, step: int, steps: int) -> None:
        progress(what, step, steps)
        if step == steps or stops.get(step) != len(scores):
            return
        rung = len(scores)
        if earlier and rung >= len(earlier[0].first_rungs):  # too few steps to have stopped there
            return
        found.append(_people(task, teacher))
        if not earlier:
            scores.append(0.0)
            return
        scores.append(scalarised(found[-1].arrays(), earlier[0].first_rungs[rung].arrays()))
        if not goes_on(scores[-1], [each.rungs[rung] for each in earlier if len(each.rungs) > rung]):
            raise _Stopped

    finished = True
    try:
        fit_teacher(teacher, recipe, task.examples, task.labels, task.seed, watch, device=task.settings.device)
        last = _people(task, teacher)
    except _Stopped:
        finished, last = False, found[-1]
    result = Result(
        candidate=candidate,
        rungs=tuple(scores),
        first_rungs=() if earlier else tuple(found),
        last=last,
        training_flops=flops,
        parameters=sum(each.numel() for each in teacher.parameters()),
        seconds=round(time.monotonic() - started, 1),
    )
    return result, finished


def _people(task: Task, teacher: Teacher) -> People:
    found, people = task.measure(teacher), np.unique(task.cases.person)
    every, new = (
        tuple(None if np.isnan(value) else float(value) for value in values[people])
        for values in (found.ndcg, found.new_ndcg)
    )
    return People(every, new)


def summarise(task: Task, study: "optuna.Study", segment: str | None) -> Tuning:
    """Every trial with its place, and the choice.

    Chosen is, of the trials that finished, the one with the best gain over the first (see `scalarised`), of equals the
    cheapest: the first itself, which has the settings that the search began with, where nothing is better.
    """
    from optuna.trial import TrialState

    done = results(study)
    finished = [trial.state == TrialState.COMPLETE for trial in _ended(study)]
    rows = [row for row, ended in enumerate(finished) if ended]
    values = np.array([(*each.last.means(), -each.training_flops) for each in done])
    front = np.zeros(len(done), bool)
    front[pareto_front(rows, lambda one, other: surpasses(-values[one], -values[other]))] = True
    people = [each.last.arrays() for each in done]
    gain = [scalarised(each, people[0]) for each in people]
    chosen = max(rows, key=lambda row: (gain[row], values[row, 2], -row))
    trials = tuple(
        Trial(
            number=row + 1,
            candidate=each.candidate,
            finished=finished[row],
            ndcg_at_10=estimate(people[row][0], task.seed),
            new_items_ndcg_at_10=estimate(people[row][1], task.seed),
            training_flops=each.training_flops,
            parameters=each.parameters,
            seconds=each.seconds,
            on_front=bool(front[row]),
            why=_why(row, chosen, finished, front, values, each),
        )
        for row, each in enumerate(done)
    )
    return Tuning(
        segment=segment,
        people=task.people,
        trials=trials,
        chosen=chosen + 1,
        against_start={
            name: relative_difference(people[chosen][place], people[0][place], task.seed)
            for place, name in enumerate(("all_items", "new_items"))
        },
        lines=tuple(done[chosen].candidate.lines()),
    )


def _why(
    row: int,
    chosen: int,
    finished: list[bool],
    front: NDArray[np.bool_],
    values: NDArray[np.float64],
    result: Result,
) -> str:
    if not finished[row]:
        return f"stopped at {RUNGS[len(result.rungs) - 1]:.0%} of its steps, among the worse half there"
    if row == chosen:
        return "chosen: the best gain over the first trial"
    if front[row]:
        return "on the front: no trial is better in everything"
    better = next(other for other in range(len(values)) if finished[other] and surpasses(-values[other], -values[row]))
    return f"trial {better + 1} is as good in everything and better in something"
