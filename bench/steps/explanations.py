"""`bench.explain`: which images, which explainers, how long, and then the maps and the page of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.classorder import in_class_order, size_of
from bench.data.sets import load_dataset
from bench.errors import DataError, MissingError, StoreError, UsageError
from bench.explaining.choosing import (
    ALL,
    LONG,
    LONG_LIMIT,
    TARGETS,
    WHICH,
    Wanted,
    check_ids,
    check_layers,
    choose_ids,
    choose_layers,
)
from bench.explaining.loop import CellResult, explain_run
from bench.explaining.planning import grids_of, plan, possible_grids
from bench.machine import choose_device
from bench.nets.trained import open_run, read_predictions
from bench.pages.comparing import run_page
from bench.pages.reading import classes_of, read_run
from bench.pages.rendering import is_done, notebook_of, report
from bench.plugins.modelnames import parse_model
from bench.registry import one_of, settled
from bench.store import REPORT, find_run, read_record, run_names
from bench.training.starting import duration
from bench.workplace import Workplace

if TYPE_CHECKING:
    from bench.contracts import Dataset, ExplainerSpec, Integers, Progress, RunRecord
    from bench.nets.trained import Trained

DEFAULT_EXPLAINERS = ("gradcam", "captum")
CHEAP = 200.0  # forward passes an image and class: `all` leaves out cells that cost more


@dataclass(frozen=True)
class Explained:
    """What `explain` did: the run folder, its cells, and the page that shows them."""

    run: Path
    cells: tuple[CellResult, ...]
    images: int
    report: Path

    def _repr_html_(self) -> str:
        """What a notebook shows: the run's errors with their first maps."""
        return notebook_of(run_page(read_run(self.run), created=""), self.report)


def explain(  # noqa: PLR0913 (one parameter for each option of the command)
    run: str = "latest",
    *,
    explainer: str | Sequence[str] | None = None,
    layer: str | Sequence[str] | None = None,
    which: str = "wrong",
    ids: Sequence[int] | None = None,
    target: str = "both",
    limit: int | str | None = None,
    slow: bool = False,
    data: str | None = None,
    device: str = "auto",
    dry_run: bool = False,
    workplace: Workplace | None = None,
) -> Explained:
    """Explain the misclassified test images of a run with every explainer at every layer, and render its page.

    Args:
        run: name, `latest` or path of a run.
        explainer: registered names or path/to/file.py:attribute; None for gradcam and captum. `all` is every one
            that works for the model, at the layers where it costs no more than 200 forward passes an image and class.
        layer: dotted module names; `all` for those that the model names; None for the last two of them, layer3 and
            layer4 in a ResNet18. Methods that answer in pixels do so once, whatever the layers.
        which: `wrong` or `all` test images.
        ids: test ids instead of `which`.
        target: the class maps speak for: `predicted`, `true` or `both`.
        limit: the first N of one fixed order; None takes all, but 500 on a CPU that would need over 15 minutes.
        slow: `all` takes in what costs more, too. What was named is never left out.

    Returns:
        What was written; rows that were there are not computed again.
    """
    place = workplace or Workplace()
    folder, where = find_run(place.runs, run), choose_device(device)
    one_of("--which", which, WHICH)
    one_of("--target", target, TARGETS)
    specs = find_explainers(explainer or DEFAULT_EXPLAINERS, place)
    trained = open_run(folder, place.models, where)
    layers = choose_layers(layer, [trained])
    check_layers(trained, layers)
    wanted = Wanted(specs, layers, target, ceilings(explainer, specs, slow=slow))
    say_costs(wanted, place.progress)
    predictions = read_predictions(folder)
    if ids is not None:
        chosen = check_ids(ids, len(predictions.ids))
    else:
        chosen = choose_ids(predictions, which, limit if isinstance(limit, int) else None)
        chosen = affordable([trained], wanted, chosen, limit=limit, progress=place.progress)
    if dry_run:
        return Explained(folder, (), len(chosen), folder / REPORT)
    results = explain_ids(trained, wanted, chosen, data=data, place=place)
    return Explained(folder, tuple(results), len(chosen), report(run, workplace=place)[0])


def find_explainers(names: str | Sequence[str], place: Workplace) -> dict[str, ExplainerSpec]:
    """Explainers by name; `all` means every registered one that loads, beside those that are named."""
    wanted = (names,) if isinstance(names, str) else tuple(names)
    if not wanted:
        raise UsageError("no explainer named", try_="--explainer captum")
    found = {settled(name): place.explainers[name] for name in wanted if name != ALL}
    for name in place.explainers if ALL in wanted else ():
        try:
            found[name] = place.explainers[name]
        except MissingError as error:  # a broken plug-in hurts only its own name
            place.progress.warn(error.message)
    return found


def ceilings(
    names: str | Sequence[str] | None, specs: Mapping[str, ExplainerSpec], *, slow: bool = False
) -> dict[str, float]:
    """Of the explainers that only `all` brought in: what a cell may cost, in forward passes an image and class."""
    named = {names} if isinstance(names, str) else set(names or ())
    if ALL not in named:
        return {}
    return {spec.name: inf if slow else CHEAP for name, spec in specs.items() if name not in set(map(settled, named))}


def say_costs(wanted: Wanted, progress: Progress) -> None:
    """One line for each explainer that is left out somewhere for its cost, or is dear and was named."""
    for name, spec in wanted.specs.items():
        dear = [grid for grid in possible_grids(spec, wanted) if spec.cost(grid) > CHEAP]
        if not dear:
            continue
        costs = " and ".join(f"{spec.cost(grid):,.0f} at {grid}" for grid in dear)
        words = f"{name} costs {costs}, in forward passes an image and class"
        if set(dear) & set(grids_of(spec, wanted)):
            progress.say(words)
        else:
            progress.say(f"left out: {words}; --slow or --explainer {name} takes it in")


def affordable(
    runs: Sequence[Trained],
    wanted: Wanted | Sequence[Wanted],
    ids: Integers,
    *,
    limit: int | str | None,
    progress: Progress,
) -> Integers:
    """Say how long the missing rows will take; on a CPU cut what takes over 15 minutes, unless a limit was given."""
    every = [wanted] * len(runs) if isinstance(wanted, Wanted) else wanted
    jobs = [(trained, job) for trained, one in zip(runs, every, strict=True) for job in plan(trained, one, ids)]
    seconds = sum(job.passes / forward_rate(trained) for trained, job in jobs)
    if not jobs:
        return ids
    images, cells = sum(len(job.ids) for _, job in jobs), sum(len(job.layers) for _, job in jobs)
    work = f"{cells} cell{'s' if cells > 1 else ''}, {images:,} explanation{'s' if images > 1 else ''} to make"
    progress.say(f"{work}: about {duration(seconds)}, judged by the evaluation's rate")
    on_cpu = next(runs[0].model.parameters()).device.type == "cpu"
    if limit is None and on_cpu and seconds > LONG and len(ids) > LONG_LIMIT:
        progress.warn(
            f"over {duration(LONG)} on a CPU: taking {LONG_LIMIT} of {len(ids):,} images, balanced by true class; "
            "--limit all takes them all"
        )
        return ids[:LONG_LIMIT]
    return ids


def forward_rate(trained: Trained) -> float:
    """Images a second of the evaluation; a modest guess where that was never measured."""
    rate = trained.record.metrics.get("forward_images_per_second")
    return float(rate) if isinstance(rate, int | float) and rate > 0 else 100.0


def explain_ids(
    trained: Trained, wanted: Wanted, ids: Integers, *, data: str | None, place: Workplace
) -> list[CellResult]:
    """Make what is missing of the rows of `ids`; no image at all is a result, not a failure."""
    if len(ids) == 0:
        place.progress.say(f"run '{trained.record.name}' has no errors to explain")
        return []
    dataset = data_of_run(trained.record, data, place)
    return explain_run(trained, dataset, wanted, ids, timing=place.timing, progress=place.progress)


def data_of_run(record: RunRecord, source: str | None, place: Workplace) -> Dataset:
    """The data set a run was made on, from where it was or from `source`; DataError when it is another one."""
    dataset = load_dataset(
        source or str(record.data.get("source")),
        cache=place.cache,
        progress=place.progress,
        skip_bad=bool(record.data.get("notes")),
        size=size_of(record),
    )
    if dataset.digest != record.data.get("digest"):
        raise DataError(
            f"{dataset.source} is not the data run '{record.name}' was made on: its sha256 is "
            f"{dataset.digest[:12]}, the run's {str(record.data.get('digest'))[:12]}",
            try_="--data with the data set the run was trained on",
        )
    return in_class_order(dataset, classes_of(record))


def newest_run(model: str, workplace: Workplace) -> str:
    """Name of the run of a model that was started last and finished; StoreError where there is none."""
    done = [name for name in run_names(workplace.runs) if is_done(workplace.runs / name)]
    wanted = settled(model)  # without a size or a stem it means any
    records = [
        record
        for record in (read_record(workplace.runs / name) for name in done)
        if wanted in (record.model, parse_model(record.model).base)
    ]
    if not records:
        raise StoreError(f"no finished run of model '{model}' in {workplace.runs}", try_=f"bench train --model {model}")
    return max(records, key=lambda record: (record.created, record.name)).name
