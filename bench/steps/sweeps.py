"""`bench.sweep`: every combination of models, optimisers, rates and seeds, each a run of `bench.train`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.registry import settled
from bench.steps.sweeping import Combination, Sweep, combinations, commands, grouped, refuse_taken, run_trials, trials
from bench.steps.trainings import train
from bench.training.recipefiles import recipe_of
from bench.workplace import Workplace


def sweep(
    model: str | Sequence[str] = "cifar_resnet18",
    *,
    seeds: int = 1,
    seed: int = 0,
    optimizer: str | Sequence[str] | None = None,
    lr: float | Sequence[float] | None = None,
    run: str | None = None,
    workplace: Workplace | None = None,
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
    place = workplace or Workplace()
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


def _values(one: Combination, options: Mapping[str, Any], place: Workplace) -> tuple[str, float]:
    """Optimiser and peak rate of a combination; whatever is wrong with it or its model comes to light here."""
    place.models[one.model]
    own = inspect.signature(train).parameters
    changes: Any = {name: value for name, value in options.items() if name not in own}
    changes |= {"optimizer": one.optimizer, "lr": one.lr}
    recipe = recipe_of(options.get("recipe", "course")).changed(changes)
    return recipe.optimizer, recipe.lr


def _not_default(options: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
    """What has to be typed so that another call means the same."""
    defaults = {name: each.default for name, each in inspect.signature(train).parameters.items()}
    given = {
        name: value
        for name, value in options.items()
        if value != defaults.get(name) or (place.origins.get(name) == "flag" and value is not None)
    }
    return given | ({} if place.runs == Path("runs") else {"runs_dir": str(place.runs)})
