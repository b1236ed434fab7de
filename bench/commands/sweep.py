"""`bench.sweep`: every combination of models, optimisers, rates and seeds, each a run of `bench.train`."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.commands.train import train
from bench.errors import GuardRailError, UsageError
from bench.recipes.files import recipe_of
from bench.registry.registry import settled
from bench.stats.intervals import mean_interval
from bench.store.runs import check_name, read_record
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.schema.page import Estimate


def sweep(
    model: str | Sequence[str] = "cifar_resnet18",
    *,
    seeds: int = 1,
    seed: int = 0,
    optimizer: str | Sequence[str] | None = None,
    lr: float | Sequence[float] | None = None,
    run: str | None = None,
    workspace: Workspace | None = None,
    **options: Any,  # noqa: ANN401 (those of `train`)
) -> Sweep:
    """Train every model with every optimiser at every peak rate, from several seeds, as runs of `train`.

    Args:
        model, optimizer, lr: one value or several; equal ones count once.
        seeds: how many runs of each combination, with consecutive seeds from `seed`.
        run: name of the run, of several run-1, run-2, ...
        options: all others of `train`, the same for every run.

    Returns:
        Mean, deviation and interval of each combination; what a guard rail stopped is in it, too.

    Raises:
        UsageError: a name or value that cannot be meant, or `resume`; before anything is trained.
    """
    if seeds < 1:
        raise UsageError(f"--seeds {seeds} trains nothing, must be 1 or more", try_="--seeds 5")
    if options.get("resume") is not None:
        raise UsageError(
            "several runs beside --resume: one run goes on with the settings it has",
            try_=f"bench train --resume {options['resume']}, and the others in a call of their own",
        )
    place = workspace or Workspace()
    every = combinations([settled(each) for each in _several(model)], _several(optimizer), _several(lr))
    values = {one: _values(one, options, place) for one in every}
    planned = trials(every, seed=seed, seeds=seeds, run=run)
    refuse_taken(planned, place.runs)
    if "seeds" in place.origins:  # a seed that was counted was given as the count was
        place = replace(place, origins={"seed": place.origins["seeds"], **place.origins})
    shared = _not_default(options, place)
    if options.get("dry_run"):
        for one in every:
            first = next(trial for trial in planned if trial.combination == one)
            run_trials(train, [first], options, place, lambda missing: commands(missing, shared))
            place.progress.say(f"that is one run of {seeds}")
        return Sweep()
    done = run_trials(train, planned, options, place, lambda missing: commands(missing, shared))
    return Sweep(grouped(done, values.__getitem__))


def _several(value: Any) -> list[Any]:  # noqa: ANN401 (whatever a combination is made of)
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _values(one: Combination, options: Mapping[str, Any], place: Workspace) -> tuple[str, float]:
    """Optimiser and peak rate of a combination; whatever is wrong with it or its model comes to light here."""
    place.models[one.model]
    own = inspect.signature(train).parameters
    changes: Any = {name: value for name, value in options.items() if name not in own}
    changes |= {"optimizer": one.optimizer, "lr": one.lr}
    recipe = recipe_of(options.get("recipe", "course")).changed(changes)
    return recipe.optimizer, recipe.lr


def _not_default(options: Mapping[str, Any], place: Workspace) -> dict[str, Any]:
    """What has to be typed so that another call means the same."""
    defaults = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    given = {
        name: value
        for name, value in options.items()
        if value != defaults.get(name) or (place.origins.get(name) == "flag" and value is not None)
    }
    return given | ({} if place.runs == Path("runs") else {"runs_dir": str(place.runs)})


@dataclass(frozen=True)
class Combination:
    """What the runs of one line of the table share; None is the recipe's own value."""

    model: str
    optimizer: str | None = None
    lr: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What `bench.train` is called with."""
        return vars(self).copy()


@dataclass(frozen=True)
class Trial:
    """One training of a sweep; `run` names its folder, None leaves that to the training."""

    combination: Combination
    seed: int
    run: str | None


@dataclass(frozen=True)
class Failure:
    """A training that a guard rail stopped."""

    seed: int
    error: GuardRailError


@dataclass(frozen=True)
class Group:
    """What came of one combination.

    Attributes:
        model, optimizer, lr: what it was trained with, those of the recipe included.
        runs: the folders of the runs that are done.
        accuracies: theirs on the test images, from 0 to 1.
        failures: the trainings that gave no accuracy; the mean says nothing of them.
    """

    model: str
    optimizer: str
    lr: float
    runs: tuple[Path, ...] = ()
    accuracies: tuple[float, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def mean(self) -> float | None:
        """Mean accuracy; None without any run."""
        return sum(self.accuracies) / len(self.accuracies) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the accuracies (n - 1); None below two runs."""
        from statistics import stdev

        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def interval(self) -> Estimate | None:
        """The mean with its 95 % interval over seeds, cut to what an accuracy can be; None below two runs."""
        found = mean_interval(self.accuracies)
        return found and replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


@dataclass(frozen=True)
class Sweep:
    """What came of a sweep, one group a combination, in the order they were asked for; after a dry run no groups."""

    groups: tuple[Group, ...] = ()

    @property
    def runs(self) -> tuple[Path, ...]:
        """The folders of all runs that are done."""
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def failure(self) -> GuardRailError | None:
        """Why the first training that failed did."""
        return next((each.error for group in self.groups for each in group.failures), None)


def combinations(
    models: Sequence[str], optimizers: Sequence[str] = (), rates: Sequence[float] = ()
) -> tuple[Combination, ...]:
    """Every model with every optimiser at every peak rate, each once; nothing given stands for the recipe's value."""
    every = product(models, optimizers or (None,), rates or (None,))
    return tuple(dict.fromkeys(Combination(*each) for each in every))


def trials(each: Sequence[Combination], *, seed: int, seeds: int, run: str | None) -> tuple[Trial, ...]:
    """The trainings of a sweep, combination by combination; several of one name are numbered from 1."""
    pairs = list(product(each, range(seed, seed + seeds)))
    alone = len(pairs) == 1
    return tuple(
        Trial(combination, number, run if run is None or alone else f"{run}-{index}")
        for index, (combination, number) in enumerate(pairs, 1)
    )


def refuse_taken(planned: Iterable[Trial], runs: Path) -> None:
    """UsageError when a run of one of the names is there, before any of them is trained."""
    for trial in planned:
        if trial.run is not None and (runs / check_name(trial.run)).exists():
            raise UsageError(f"run '{trial.run}' is there already", try_=f"another --run NAME, or bench rm {trial.run}")


def run_trials(
    train: Callable[..., Path],
    planned: Sequence[Trial],
    options: Mapping[str, Any],
    place: Workspace,
    command: Callable[[Sequence[Trial]], list[str]],
) -> dict[Trial, Path | GuardRailError]:
    """Train one after the other; what a guard rail stops is noted, and the others go on.

    Args:
        train: `bench.train`.
        options: those of it that all trials share.
        command: what to type for trials that are missing; anything else that ends the sweep goes on with these
            commands as its notes, behind the one that resumes the run.
    """
    done: dict[Trial, Path | GuardRailError] = {}
    for index, trial in enumerate(planned):
        place.progress.say(f"run {index + 1} of {len(planned)}: {in_words(trial)}")
        try:
            done[trial] = train(
                **trial.combination.options, **options, seed=trial.seed, run=trial.run,
                workspace=replace(place, started=datetime.now(UTC)) if index else place,
            )  # fmt: skip
        except GuardRailError as error:
            done[trial] = error
            place.progress.warn(f"{in_words(trial)}: {error.message}")
        except BaseException as error:
            resumable = bool(getattr(error, "__notes__", ()))
            for words in command(planned[index + resumable :]):
                error.add_note(words)
            raise
    return done


def grouped(
    done: Mapping[Trial, Path | GuardRailError], values: Callable[[Combination], tuple[str, float]]
) -> tuple[Group, ...]:
    """The outcome of each combination; `values` gives the optimiser and the peak rate it was trained with."""
    groups = []
    for combination in dict.fromkeys(trial.combination for trial in done):
        own = {trial: end for trial, end in done.items() if trial.combination == combination}
        runs = tuple(end for end in own.values() if isinstance(end, Path))
        failures = tuple(Failure(trial.seed, end) for trial, end in own.items() if isinstance(end, GuardRailError))
        accuracies = tuple(_accuracy(run) for run in runs)
        optimizer, lr = values(combination)
        groups.append(Group(combination.model, optimizer, lr, runs, accuracies, failures))
    return tuple(groups)


def _accuracy(run: Path) -> float:
    return float(str(read_record(run).metrics["accuracy"]))


def in_words(trial: Trial) -> str:
    """A training by what tells it from the others."""
    one = trial.combination
    rate = None if one.lr is None else f"lr {one.lr:g}"
    return ", ".join(filter(None, (one.model, one.optimizer, rate, f"seed {trial.seed}")))


def commands(missing: Sequence[Trial], options: Mapping[str, Any]) -> list[str]:
    """What to type for these trainings, one line a combination. `options` are those that all share."""
    lines = []
    for combination in dict.fromkeys(trial.combination for trial in missing):
        seeds = [trial.seed for trial in missing if trial.combination == combination]
        many = {"seeds": len(seeds)} if len(seeds) > 1 else {}
        lines.append(typed({**combination.options, "seed": seeds[0], **many, **options}))
    return lines


def typed(options: Mapping[str, Any]) -> str:
    """A call of `bench train` as a line for a shell; None is left out."""
    words = ["bench", "train"]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)
