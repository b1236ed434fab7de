"""`bench report`: the runs' own pages again, from their folders alone."""

from pathlib import Path

from bench.errors import StoreError
from bench.fields import names
from bench.pages.write import write_run_page
from bench.request import ReportRequest
from bench.store.folder import RunFolder
from bench.store.runs import find_run, run_folders
from bench.workspace import Workspace


def report(request: ReportRequest, workspace: Workspace) -> list[Path]:
    """Render the pages of runs again. Without names: of all finished runs.

    Returns:
        The report.html of each, or its report/index.html.

    Raises:
        StoreError: a run that was named is damaged, or all are; the pages of the others are written.
    """
    asked = [RunFolder(find_run(workspace.runs, name)) for name in names(request.run)]
    every = () if asked else map(RunFolder, run_folders(workspace.runs))
    runs = [*asked, *(run for run in every if run.status == "done")]
    pages, first = [], None
    for run in runs:
        try:
            pages.append(write_run_page(run, workspace, form=request.form, max_images=request.max_images))
        except StoreError as error:  # one that is damaged does not keep the others from theirs
            first = first or error
            workspace.progress.warn(f"run '{run.path.name}' has no new page: {error.message}")
    if first is not None and (asked or not pages):
        raise first
    return pages
