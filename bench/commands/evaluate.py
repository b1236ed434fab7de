"""`bench evaluate`: a run's weights tested again."""

from bench.evaluation import FIGURES, WORDS, Scores, averages_of
from bench.fields import names
from bench.gates.runs import Sides, check
from bench.nets.trained import data_of_run, open_run
from bench.pages.write import write_run_page
from bench.request import EvaluateRequest
from bench.store.folder import RunFolder
from bench.thresholds import read_threshold
from bench.training.run import evaluate_into
from bench.whole_file import check_writable
from bench.workspace import Workspace


def evaluate(request: EvaluateRequest, workspace: Workspace) -> Scores:
    """Test a run's checkpoint again and write its predictions.npz and its page.

    Returns:
        The scores of the plain forward. Those of the averages, where asked for, stand in the run's results.

    Raises:
        UsageError: a threshold that names what there is not, before any work.
    """
    trained = open_run(request.run, request.device, workspace)
    check_writable(trained.folder)
    more = averages_of(mirror=trained.record.data.mirror) if request.average else ()
    sides = Sides((request.run,), (trained.run,), averages=tuple(FIGURES[WORDS[name]] for name in more))
    check(map(read_threshold, names(request.fail_if)), sides)
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
