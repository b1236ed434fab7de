"""`bench.explain`: which images, which explainers, how long, and then the maps and the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import one_of
from bench.explaining.plan import (
    DEFAULT_EXPLAINERS,
    Wanted,
    affordable,
    ceilings,
    check_layers,
    choose_layers,
    find_explainers,
    say_costs,
)
from bench.explaining.runner import CellResult, explain_run
from bench.machine import choose_device
from bench.nets.trained import data_of_run, open_run
from bench.pages.build import run_page
from bench.pages.write import notebook_of, report
from bench.store.predictions import TARGETS, WHICH, check_ids, choose_ids, read_predictions
from bench.store.run_data import read_run
from bench.store.runs import REPORT, find_run
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.contracts import Integers
    from bench.nets.trained import Trained


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
    workspace: Workspace | None = None,
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
    place = workspace or Workspace()
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
    return Explained(folder, tuple(results), len(chosen), report(run, workspace=place)[0])


def explain_ids(
    trained: Trained, wanted: Wanted, ids: Integers, *, data: str | None, place: Workspace
) -> list[CellResult]:
    """Make what is missing of the rows of `ids`; no image at all is a result, not a failure."""
    if len(ids) == 0:
        place.progress.say(f"run '{trained.record.name}' has no errors to explain")
        return []
    dataset = data_of_run(trained.record, data, place)
    return explain_run(trained, dataset, wanted, ids, timing=place.timing, progress=place.progress)
