"""`bench.explain`: which images, which explainers, how long, and then the maps and the page of a run."""

from dataclasses import dataclass
from pathlib import Path

from bench.contracts import Integers
from bench.engines.driving import HERE, Workers, workers_for
from bench.errors import RoomError, RunError, WriteError
from bench.explaining.plan import (
    DEFAULT_EXPLAINERS,
    Wanted,
    at_layers,
    cut_to_afford,
    wanted_explainers,
)
from bench.explaining.runner import CellResult, explain_run
from bench.fields import names
from bench.nets.trained import Trained, data_of_run, open_run
from bench.pages.build import run_page
from bench.pages.write import notebook_of, write_run_page
from bench.request import ExplainRequest, one_run
from bench.store.folder import read_run
from bench.store.paths import page_files, report_path
from bench.store.predictions import check_ids, choose_ids
from bench.store.runs import newest_run
from bench.workspace import Workspace


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


def explain(request: ExplainRequest, workspace: Workspace) -> Explained:
    """Explain the misclassified test images of a run with every explainer at every layer, and render its page.

    Without names the explainers are gradcam and captum, the layers the last two that the model names (layer3 and layer4
    in a ResNet18). `all` explainers are those that work for the model, at the layers where they cost no more than 200
    forward passes an image and class. Methods that answer in pixels do so once, whatever the layers. Without a limit a
    CPU that would need over 15 minutes takes 500 images.

    Returns:
        What was written; rows that were there are not computed again.
    """
    run = one_run(runs_of(request, workspace))
    wanted = wanted_explainers(
        names(request.explainer), workspace, default=DEFAULT_EXPLAINERS, target=request.target, slow=request.slow
    )
    trained = open_run(run, request.own_device, workspace)
    folder = trained.folder
    wanted = at_layers(wanted, names(request.layer), trained, workspace.progress)
    predictions = trained.run.predictions
    if isinstance(request.ids, tuple):
        chosen = check_ids(request.ids, len(predictions.ids))
    else:
        chosen = choose_ids(predictions, request.which, request.limit if isinstance(request.limit, int) else None)
        chosen = cut_to_afford(
            [trained], wanted, chosen, limit=request.limit, shared=request.shared, progress=workspace.progress
        )
    if request.dry_run:
        return Explained(folder, (), len(chosen), report_path(folder))
    try:
        with workers_for(request, workspace) as on:
            results = explain_ids(trained, wanted, chosen, data=request.data, workspace=workspace, on=on)
    except (RoomError, RunError):
        write_run_page(trained.run, workspace)  # of what the other explainers gave
        raise
    try:
        page = write_run_page(trained.run, workspace)
    except WriteError as error:
        page = next((each for each in page_files(folder) if each.is_file()), folder)
        if page == folder or any(cell.computed for cell in results):
            raise
        workspace.progress.warn(f"{error.message}; no map was missing, and the existing page is kept")
    return Explained(folder, tuple(results), len(chosen), page)


def runs_of(request: ExplainRequest, workspace: Workspace) -> tuple[str, ...]:
    """The runs that are meant: those named, and the newest of each model named."""
    newest = [newest_run(model, workspace) for model in names(request.model)]
    named = () if newest and request.every_origin()["run"] == "default" else names(request.run)
    return (*named, *newest)


def explain_ids(
    trained: Trained, wanted: Wanted, ids: Integers, *, data: str | None, workspace: Workspace, on: Workers = HERE
) -> list[CellResult]:
    """Make what is missing of the rows of `ids`; no image at all is a result, not a failure."""
    if len(ids) == 0:
        workspace.progress.say(f"run '{trained.record.name}' has no errors to explain")
        return []
    dataset = data_of_run(trained.record, data, workspace)
    return explain_run(trained, dataset, wanted, ids, workspace=workspace, on=on)
