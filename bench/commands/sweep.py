"""`bench train` with several models, optimisers, rates or seeds: which trainings that is, and what came of them."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import stdev

from bench.commands.train import refuse_taken, train_on, train_one
from bench.commands.trainings_on_workers import Outcome, in_words
from bench.engines.driving import workers_for
from bench.errors import GuardRailError, UsageError
from bench.fields import names
from bench.recipes.files import recipe_of
from bench.registry.registry import resolved
from bench.request import TrainRequest
from bench.schema.page import Estimate
from bench.stats.intervals import mean_interval
from bench.store.folder import RunFolder
from bench.store.runs import read_record
from bench.training.team import program, refuse_launched
from bench.workspace import Workspace


@dataclass(frozen=True)
class Combination:
    """What came of the trainings that differ in their seed alone.

    Attributes:
        model, optimizer, lr: what they were trained with, the recipe's values included.
        runs: the folders of the runs that are done.
        accuracies: theirs on the test images, from 0 to 1.
        failures: seed and reason of the trainings that a guard rail stopped; the mean says nothing of them.
        validation: their accuracies on the validation images at the end, by which combinations are ranked; empty where
            a run had none.
    """

    model: str
    optimizer: str
    lr: float
    runs: tuple[Path, ...] = ()
    accuracies: tuple[float, ...] = ()
    failures: tuple[tuple[int, GuardRailError], ...] = ()
    validation: tuple[float, ...] = ()

    @property
    def mean(self) -> float | None:
        """Mean accuracy; None without any run."""
        return sum(self.accuracies) / len(self.accuracies) if self.accuracies else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the accuracies (n - 1); None below two runs."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def interval(self) -> Estimate | None:
        """The mean with its 95 % interval over seeds; None below two runs."""
        return over_seeds(self.accuracies)

    @property
    def rank(self) -> float:
        """Mean accuracy on the validation images; below 0 without."""
        return sum(self.validation) / len(self.validation) if self.validation else -1.0


def over_seeds(accuracies: Sequence[float]) -> Estimate | None:
    """A mean with its 95 % interval over seeds, cut to what an accuracy can be; None below two runs."""
    found = mean_interval(accuracies)
    return found and replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


@dataclass(frozen=True)
class Sweep:
    """What came of a sweep, in the order in which combinations were asked for; after a dry run none."""

    combinations: tuple[Combination, ...] = ()

    @property
    def runs(self) -> tuple[Path, ...]:
        """The folders of all runs that are done."""
        return tuple(run for each in self.combinations for run in each.runs)

    @property
    def winner(self) -> Combination | None:
        """The best on the validation images, of several whose trainings all ended; None where not known of each.

        The test images say how good it is and do not choose it: the best of K on the test images looks better there
        than it is.
        """
        # A mean over the seeds that survived would favour a rate at which most trainings diverge.
        rivals = [each for each in self.combinations if each.runs and not each.failures]
        if len(self.combinations) < 2 or not rivals or not all(each.validation for each in rivals):
            return None
        return max(rivals, key=lambda each: each.rank)

    @property
    def failure(self) -> GuardRailError | None:
        """Why the first training that failed did."""
        return next((error for each in self.combinations for _, error in each.failures), None)


def sweep(request: TrainRequest, workspace: Workspace) -> Sweep:
    """Train every model with every optimiser at every peak rate, from several seeds, each as `bench.train` does it.

    Returns:
        Mean, deviation and interval of each combination; what a guard rail stopped is in it, too.

    Raises:
        UsageError: a name or value that cannot be meant, or `resume`; before anything is trained.
    """
    if request.resume is not None:
        raise UsageError(
            "several runs cannot be combined with --resume: a run continues with its own settings",
            try_=f"bench train --resume {request.resume}  # the others in separate calls",
        )
    trainings = request.trainings()
    refuse_launched(f"these are {len(trainings)} trainings", f"{shlex.join(program())} train  # one in each call")
    groups = alike(trainings)
    for one in groups:
        check(one[0], workspace)
    if request.dry_run:
        if not request.shared:  # with an engine a name may be that of the very run which is asked for again
            refuse_taken(trainings, workspace.runs)
        for one in groups:
            _train_all(one[:1], workspace, 0)
            workspace.progress.say(f"that is one run of {len(one)}")
        return Sweep()
    swept = len(groups) if len(groups) > 1 else 0
    with workers_for(request, workspace) as on:
        if on.engine is None:
            refuse_taken(trainings, workspace.runs)
            done = _train_all(trainings, workspace, swept)
        else:
            ends = train_on(on, trainings, workspace, swept)
            done = {id(training): end for training, end in zip(trainings, ends, strict=True)}
    return Sweep(tuple(combination_of(one, done) for one in groups))


def alike(trainings: Sequence[TrainRequest]) -> list[list[TrainRequest]]:
    """The trainings that differ in nothing but their seed, together, in the order in which they were asked for."""
    groups: dict[object, list[TrainRequest]] = {}
    for each in trainings:
        groups.setdefault((each.model, each.optimizer, each.lr), []).append(each)
    return list(groups.values())


def check(training: TrainRequest, workspace: Workspace) -> None:
    """Bring to light what is wrong with a model or with values before anything is trained."""
    workspace.models[resolved(names(training.model)[0])]
    recipe_of(training.recipe).changed(training.changes())


def _train_all(trainings: Sequence[TrainRequest], workspace: Workspace, swept: int) -> dict[int, Outcome]:
    """Train one after the other; what a guard rail stops is noted, and the others go on.

    Anything else that ends the sweep goes on with the commands for what is missing as its notes, behind the one that
    resumes the run.
    """
    done: dict[int, Outcome] = {}
    for index, training in enumerate(trainings):
        workspace.progress.say(f"run {index + 1} of {len(trainings)}: {in_words(training)}")
        try:
            done[id(training)] = train_one(
                training, replace(workspace, started=datetime.now(UTC)) if index else workspace, swept
            )
        except GuardRailError as error:
            done[id(training)] = error
            workspace.progress.warn(f"{in_words(training)}: {error.message}")
        except BaseException as error:
            resumable = bool(getattr(error, "__notes__", ()))
            for words in commands(trainings[index + resumable :], workspace.runs):
                error.add_note(words)
            raise
    return done


def combination_of(trainings: Sequence[TrainRequest], done: Mapping[int, Outcome]) -> Combination:
    """What came of trainings that differ in their seed alone."""
    first = trainings[0]
    recipe = recipe_of(first.recipe).changed(first.changes())
    ends = [(each.seed, done[id(each)]) for each in trainings]
    runs = tuple(end for _, end in ends if isinstance(end, Path))
    return Combination(
        resolved(names(first.model)[0]),
        recipe.optimizer,
        recipe.lr,
        runs,
        tuple(read_record(run).results.accuracy or 0.0 for run in runs),
        tuple((seed, end) for seed, end in ends if isinstance(end, GuardRailError)),
        validation_of(runs),
    )


def validation_of(runs: Sequence[Path]) -> tuple[float, ...]:
    """The accuracy of each run on its validation images after the last epoch; empty where one had none."""
    ends = [RunFolder(run).curve[-1:] for run in runs]
    found = [one.val_accuracy for end in ends for one in end if one.val_accuracy is not None]
    return tuple(found) if len(found) == len(runs) else ()


# --- words --------------------------------------------------------------------------------------------------


def commands(missing: Sequence[TrainRequest], runs: Path) -> list[str]:
    """What to type for these trainings, one line a combination."""
    return [one[0].command(runs, **({"seeds": len(one)} if len(one) > 1 else {})) for one in alike(missing)]
