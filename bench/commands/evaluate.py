"""`bench evaluate`: a run's weights tested again."""

from bench.evaluation import FIGURES, WORDS, Scores, averages_of, broken_threshold
from bench.fields import names
from bench.nets.trained import data_of_run, open_run
from bench.pages.write import write_run_page
from bench.request import EvaluateRequest
from bench.store.folder import RunFolder
from bench.training.run import evaluate_into
from bench.workspace import Workspace


def evaluate(request: EvaluateRequest, workspace: Workspace) -> Scores:
    """Test a run's checkpoint again and write its predictions.npz and its page.

    Returns:
        The scores of the plain forward. Those of the averages, where asked for, stand in the run's results.

    Raises:
        UsageError: a threshold that cannot be read, before any work.
    """
    trained = open_run(request.run, request.device, workspace)
    check_thresholds(request, mirror=trained.record.data.mirror)
    dataset = data_of_run(trained.record, request.data, workspace)
    scores = evaluate_into(
        trained.folder,
        trained.model,
        dataset,
        trained.statistics,
        device=trained.device,
        progress=workspace.progress,
        average=request.average,
    )
    write_run_page(RunFolder(trained.folder), workspace)
    return scores


def check_thresholds(request: EvaluateRequest, *, mirror: bool) -> None:
    """UsageError for the first threshold that cannot be read."""
    more = [FIGURES[WORDS[name]] for name in averages_of(mirror=mirror)] if request.average else ()
    for expression in names(request.fail_if):
        broken_threshold(expression, dict.fromkeys(("accuracy", "loss", *more), 0.0))
