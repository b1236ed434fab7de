"""`bench export`: misclassified pictures with their maps, as one figure."""

from bench.errors import UsageError, did_you_mean
from bench.fields import names
from bench.pages.write import page_of, reports
from bench.registry.registry import short
from bench.request import ExplainRequest, ExportRequest
from bench.store.folder import RunFolder
from bench.store.runs import find_run
from bench.workspace import Workspace


def export(request: ExportRequest, workspace: Workspace) -> tuple[int, ...]:
    """Draw misclassified pictures with their maps beneath, as .png or .pdf.

    Returns:
        The test ids drawn: those asked for, or the `n` most confident errors.

    Raises:
        UsageError: no such maps; names what to type for them.
    """
    page = page_of(RunFolder(find_run(workspace.runs, request.run)), workspace)
    there = sorted({cell.explainer for cell in page.cells})
    again = ExplainRequest(request.run)
    if not there:
        raise UsageError(f"run '{request.run}' has no maps yet", try_=again.command(workspace.runs))
    chosen = short(str(request.explainer)) if request.explainer else there[0]
    if chosen not in there:
        raise UsageError(
            f"run '{request.run}' has no maps of '{chosen}'{did_you_mean(chosen, there)}",
            try_=again.command(workspace.runs, explainer=chosen),
        )
    known = sorted({cell.layer for cell in page.cells if cell.explainer == chosen})
    for each in names(request.layer):
        if each not in known:
            raise UsageError(
                f"run '{request.run}' has no maps of {chosen} at '{each}'{did_you_mean(each, known)}",
                try_=again.command(workspace.runs, explainer=chosen, layer=each),
            )
    drawn: tuple[int, ...] = reports("figure").gallery_figure(
        page,
        request.figure,
        ids=request.ids,
        count=request.n,
        layers=names(request.layer) or tuple(known),
        explainer=chosen,
        role=request.target,
        captions=request.captions,
    )
    return drawn
