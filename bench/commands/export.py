"""`bench export`: misclassified pictures with their maps, as one figure."""

from collections.abc import Sequence

from bench.errors import UsageError, did_you_mean
from bench.fields import names
from bench.pages.write import page_of, reports
from bench.registry.registry import short
from bench.request import ExplainRequest, ExportRequest
from bench.schema.page import Page
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
    there = list(dict.fromkeys(cell.explainer for cell in page.cells))
    again = ExplainRequest(request.run)
    if not there:
        raise UsageError(f"run '{request.run}' has no maps yet", try_=again.command(workspace.runs))
    asked, lacking = names(request.layer), {each: _lacking(page, each, request) for each in there}
    if request.explainer:
        chosen = short(str(request.explainer))
    else:  # of those that have the layers asked for, the one that lacks fewest maps a layer
        shares = {each: len(those) / len(_layers(page, each)) for each, those in lacking.items()}
        chosen = min(there, key=lambda each: (not _layers(page, each).issuperset(asked), shares[each]))
    if chosen not in there:
        raise UsageError(
            f"run '{request.run}' has no maps of '{chosen}'{did_you_mean(chosen, there)}",
            try_=again.command(workspace.runs, explainer=chosen),
        )
    known = sorted(_layers(page, chosen))
    for each in asked:
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
        layers=asked or tuple(known),
        explainer=chosen,
        role=request.target,
        captions=request.captions,
    )
    if missing := lacking[chosen]:
        ids = tuple(dict.fromkeys(each for each, _, _ in missing))
        layers = tuple(dict.fromkeys(layer for _, layer, _ in missing))
        make = again.command(workspace.runs, explainer=chosen, layer=layers, ids=ids)
        maps = f"{len(missing)} map{'s' * (len(missing) > 1)} of {chosen}"
        workspace.progress.warn(f"{maps} on {len(ids)} of {len(drawn)} pictures are missing; {make} makes them")
    return drawn


def _layers(page: Page, explainer: str) -> set[str]:
    return {cell.layer for cell in page.cells if cell.explainer == explainer}


def _lacking(page: Page, explainer: str, request: ExportRequest) -> Sequence[tuple[int, str, str]]:
    """Test id, layer and role of every map that the figure would have of an explainer, were it there."""
    gallery, asked = page.gallery, names(request.layer)
    drawn = gallery.ids[: request.n] if request.ids is None else request.ids
    return [
        (each, cell.layer, role)
        for cell, maps in zip(page.cells, gallery.maps, strict=True)
        if cell.explainer == explainer and (not asked or cell.layer in asked)
        for place, each in enumerate(gallery.ids)
        if each in drawn
        for role in (("predicted", "true") if request.target == "both" else (request.target,))
        if maps.of(place, role) is None
    ]
