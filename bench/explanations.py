"""`bench.explain`: which images, which explainers, how long, and then the maps and the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.choosing import LONG, LONG_LIMIT, TARGETS, WHICH, check_ids, choose_ids, estimated_seconds
from bench.data import load_dataset
from bench.errors import DataError, StoreError, UsageError
from bench.explaining import CellResult, explain_run
from bench.machine import choose_device
from bench.registry import one_of
from bench.rendering import is_done, report
from bench.starting import duration
from bench.store import REPORT, find_run, read_record, run_names
from bench.trained import open_run, read_predictions
from bench.workplace import Workplace

if TYPE_CHECKING:
    from bench.contracts import Dataset, ExplainerSpec, Integers, RunRecord
    from bench.trained import Trained

DEFAULT_EXPLAINERS = ("gradcam", "captum")
DEFAULT_LAYERS = ("layer3", "layer4")
CHEAP = 200.0  # forward passes: `all` leaves out explainers that cost more


@dataclass(frozen=True)
class Explained:
    """What `explain` did: the run folder, its cells, and the page that shows them."""

    run: Path
    cells: tuple[CellResult, ...]
    images: int
    report: Path


def explain(  # noqa: PLR0913 (one parameter for each option of the command)
    run: str = "latest",
    *,
    explainer: str | Sequence[str] = DEFAULT_EXPLAINERS,
    layer: str | Sequence[str] = DEFAULT_LAYERS,
    which: str = "wrong",
    ids: Sequence[int] | None = None,
    target: str = "both",
    limit: int | str | None = None,
    data: str | None = None,
    device: str = "auto",
    dry_run: bool = False,
    workplace: Workplace | None = None,
) -> Explained:
    """Explain the misclassified test images of a run with every explainer at every layer, and render its page.

    Args:
        run: name, `latest` or path of a run.
        explainer: registered names or path/to/file.py:attribute; `all` for every one of moderate cost.
        layer: dotted module names.
        which: `wrong` or `all` test images.
        ids: test ids instead of `which`.
        target: the class maps speak for: `predicted`, `true` or `both`.
        limit: the first N of one fixed order; None takes all, but 500 on a CPU that would need over 15 minutes.

    Returns:
        What was written; rows that were there are not computed again.
    """
    place = workplace or Workplace()
    folder, where = find_run(place.runs, run), choose_device(device)
    specs = find_explainers(explainer, place)
    layers = (layer,) if isinstance(layer, str) else tuple(layer)
    one_of("--which", which, WHICH)
    one_of("--target", target, TARGETS)
    trained = open_run(folder, place.models, where)
    predictions = read_predictions(folder)
    if ids is not None:
        chosen = check_ids(ids, len(predictions.ids))
    else:
        chosen = choose_ids(predictions, which, limit if isinstance(limit, int) else None)
        chosen = affordable(chosen, limit, trained, specs, layers, 2 if target == "both" else 1, place)
    if dry_run:
        return Explained(folder, (), len(chosen), folder / REPORT)
    results = explain_ids(trained, specs, layers, chosen, target=target, data=data, place=place)
    return Explained(folder, tuple(results), len(chosen), report(run, workplace=place)[0])


def find_explainers(names: str | Sequence[str], place: Workplace) -> dict[str, ExplainerSpec]:
    """Explainers by name; `all` means every registered one that loads and costs under 200 forward passes."""
    wanted = (names,) if isinstance(names, str) else tuple(names)
    if not wanted:
        raise UsageError("no explainer named", try_="--explainer captum")
    if "all" not in wanted:
        return {name: place.explainers[name] for name in wanted}
    loaded = {name: place.explainers[name] for name in place.explainers}
    return {name: spec for name, spec in loaded.items() if spec.cost(DEFAULT_LAYERS[0]) < CHEAP}


def affordable(
    ids: Integers,
    limit: int | str | None,
    trained: Trained,
    specs: dict[str, ExplainerSpec],
    layers: Sequence[str],
    targets: int,
    place: Workplace,
) -> Integers:
    """Say how long it will take; on a CPU cut what would take over 15 minutes, unless a limit was given."""
    rate = trained.record.metrics.get("forward_images_per_second")
    if not isinstance(rate, int | float) or len(ids) == 0:
        return ids
    seconds = estimated_seconds(list(specs.values()), layers, images=len(ids), targets=targets, forward_rate=rate)
    place.progress.say(
        f"{len(ids):,} images x {len(specs)} explainers x {len(layers)} layers: about {duration(seconds)}"
    )
    on_cpu = next(trained.model.parameters()).device.type == "cpu"
    if limit is None and on_cpu and seconds > LONG and len(ids) > LONG_LIMIT:
        place.progress.warn(
            f"over {duration(LONG)} on a CPU: taking {LONG_LIMIT} of {len(ids):,} images, balanced by "
            "true class; --limit all takes them all"
        )
        return ids[:LONG_LIMIT]
    return ids


def explain_ids(
    trained: Trained,
    specs: dict[str, ExplainerSpec],
    layers: Sequence[str],
    ids: Integers,
    *,
    target: str,
    data: str | None,
    place: Workplace,
) -> list[CellResult]:
    if len(ids) == 0:
        place.progress.say(f"run '{trained.record.name}' has no errors to explain")
        return []
    dataset = data_of_run(trained.record, data, place)
    return explain_run(
        trained, dataset, specs, layers, ids, target=target, timing=place.timing, progress=place.progress
    )


def data_of_run(record: RunRecord, source: str | None, place: Workplace) -> Dataset:
    """The data set a run was made on, from where it was or from `source`; DataError when it is another one."""
    dataset = load_dataset(
        source or str(record.data.get("source")),
        cache=place.cache,
        progress=place.progress,
        skip_bad=bool(record.data.get("notes")),
    )
    if dataset.digest != record.data.get("digest"):
        raise DataError(
            f"{dataset.source} is not the data run '{record.name}' was made on: its sha256 is "
            f"{dataset.digest[:12]}, the run's {str(record.data.get('digest'))[:12]}",
            try_="--data with the data set the run was trained on",
        )
    return dataset


def newest_run(model: str, workplace: Workplace) -> str:
    """Name of the run of a model that was started last and finished; StoreError where there is none."""
    done = [name for name in run_names(workplace.runs) if is_done(workplace.runs / name)]
    records = [record for record in (read_record(workplace.runs / name) for name in done) if record.model == model]
    if not records:
        raise StoreError(f"no finished run of model '{model}' in {workplace.runs}", try_=f"bench train --model {model}")
    return max(records, key=lambda record: (record.created, record.name)).name
