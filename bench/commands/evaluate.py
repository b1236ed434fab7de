"""`bench evaluate`: a run's weights tested again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.machine import choose_device
from bench.nets.trained import data_of_run, open_run
from bench.pages.write import report
from bench.store.runs import find_run
from bench.training.run import evaluate_into
from bench.workspace import Workspace

if TYPE_CHECKING:
    from bench.evaluation import Scores


def evaluate(
    run: str = "latest",
    *,
    data: str | None = None,
    average: bool = True,
    device: str = "auto",
    workspace: Workspace | None = None,
) -> Scores:
    """Test a run's checkpoint again and write its predictions.npz.

    Args:
        average: also count what is right by the mean logits of mirrored and shifted views, and write that into the
            run's metrics; else what stands there stays.

    Returns:
        The scores of the plain forward.
    """
    place = workspace or Workspace()
    folder = find_run(place.runs, run)
    trained = open_run(folder, place.models, choose_device(device))
    dataset = data_of_run(trained.record, data, place)
    scores = evaluate_into(
        folder,
        trained.model,
        dataset,
        trained.statistics,
        device=choose_device(device),
        progress=place.progress,
        average=average,
    )
    report(run, workspace=place)
    return scores
