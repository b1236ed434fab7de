"""Many trainings that differ in model, optimiser, peak rate and seed: which there are, and what came of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import GuardRailError, UsageError
from bench.stats import mean_interval
from bench.store import check_name, read_record

if TYPE_CHECKING:
    from bench.values.views import Estimate
    from bench.workplace import Workplace


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
    place: Workplace,
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
                workplace=replace(place, started=datetime.now(UTC)) if index else place,
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


# --- words --------------------------------------------------------------------------------------------------


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
