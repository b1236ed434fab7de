"""From run folders to files: pages, figures, tables. Nothing is computed on a model here."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import ModuleType

from bench.homes import homeless
from bench.pages.build import most_images, run_page
from bench.schema.page import Page
from bench.schema.pictures import PicturesPage
from bench.store.files import locked, sweep, write_bytes
from bench.store.folder import RunFolder, checked
from bench.store.on_disk import ChangedError
from bench.store.paths import INDEX, REPORT, TWIN, index_path, report_path
from bench.whole_file import written
from bench.workspace import Workspace

MADE_BY = b'<meta name="generator" content="bench">'
PICTURES = tuple(f"images/{kind}-*.webp" for kind in ("sheet", "strip", "trust", "telling"))
TRIES = 4  # of a page whose files are replaced while they are read
OURS = ("page.js", "style.css", "data-*.js", *PICTURES, "images/*.svg")


def write_run_page(run: RunFolder, workspace: Workspace, *, form: str = "auto", max_images: int | None = None) -> Path:
    """Render the page of a run from its folder alone.

    Args:
        form: `single` for one file, `folder` for report/index.html and what it needs beside it; `auto` takes one
            file up to 10 MB.
        max_images: most images of the gallery, as many of each class; None for as many as a browser shows well. The
            tables are of all.

    Returns:
        Its report.html, or its report/index.html.
    """
    target = report_path(run.path)
    # Held until it is there, or of two calls the first to look could be the last to write, without the other's rows.
    with locked(target, run.path):
        run = run.renewed()
        page = page_of(run, workspace, max_images=most_images([checked(run)], max_images))
        return write_page(page, target, form=form, workspace=workspace)


def write_page(page: Page, target: Path, *, form: str = "auto", workspace: Workspace) -> Path:
    """Write a page with its JSON twin to `target`, as one file or as a folder; gives the HTML file to open."""
    rendered = reports("render").render_files(page, form)
    if rendered.note:
        workspace.progress.say(f"{target}: {rendered.note}")
    return write_page_files(target, rendered.files, twin(page))


def page_of(run: RunFolder, workspace: Workspace, *, max_images: int | None = None) -> Page:
    """Everything the page of a run shows, as plain values; `max_images` of its gallery, all for None."""
    for left in reversed(range(TRIES)):
        try:
            page = run_page(checked(run), created=workspace.created, max_images=max_images)
            break
        except ChangedError:  # another process adds rows; all that were there are there again
            if not left:
                raise
            run = run.renewed()
    for words in run.left_out:
        workspace.progress.warn(words)
    return page


def twin(page: Page | PicturesPage) -> str:
    """A page as JSON: the same values, for programs."""
    return str(reports("render").page_json(page))


def notebook_of(page: Page, path: Path) -> str:
    """What a notebook shows of a page that was written to `path`."""
    return str(reports("render").notebook_html(page, path.resolve().as_uri()))


def reports(module: str) -> ModuleType:
    """A module of bench.reports, by name: nothing imports that folder."""
    return importlib.import_module(f"bench.reports.{module}")


# --- files --------------------------------------------------------------------------------------------------


def write_page_files(target: Path, files: Mapping[str, bytes], twin: str) -> Path:
    """Write a page to `target`, or as a folder: beside an index.html, else into a folder named like `target`.

    Its JSON twin lies beside `target` as page.json. What an earlier rendering in the other form left is taken away, so
    that only one page is there.

    Args:
        files: by name, index.html among them; it alone is a page in one file.

    Returns:
        The HTML file to open.
    """
    files = {name: homeless(content.decode()).encode() if name.endswith((".html", ".js")) else content
             for name, content in files.items()}  # fmt: skip
    sweep(target.with_name(TWIN))
    write_bytes(target.with_name(TWIN), homeless(twin).encode())
    alone = len(files) == 1
    folder = target.parent if target.name == INDEX else target.with_suffix("")
    _clear(folder, keep=set() if alone else set(files))
    index = target if alone else index_path(folder)
    if not alone and index != target:
        target.unlink(missing_ok=True)
    for name, content in files.items():
        if name != INDEX:
            write_bytes(folder / name, content)
    sweep(index)
    write_bytes(index, files[INDEX])  # last, so that a page which is there has its files
    return index


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove what an earlier page in folder form left beside its index, and nothing of anybody else."""
    index = index_path(folder)
    if not index.is_file():
        return
    with index.open("rb") as file:
        if MADE_BY not in file.read(4000):
            return
    left = [path for pattern in OURS for path in folder.glob(pattern)]
    if not keep and folder.name == Path(REPORT).stem:
        left.append(index)
    for path in left:
        if path.relative_to(folder).as_posix() not in keep:
            path.unlink(missing_ok=True)
    for empty in (folder / "images", folder):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()


# --- a folder of one's own ----------------------------------------------------------------------------------------


def is_free(path: Path) -> bool:
    """Whether a folder can be made there: nothing of that name, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def free_name(path: Path) -> Path:
    """The same with the first number behind it that is free."""
    whole = path if path.name else path.resolve()
    return next(each for number in count(2) if is_free(each := whole.with_name(f"{whole.name}-{number}")))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name `path` when it is complete, and leaves no trace when it is not.

    Raises:
        WriteError: something that is no empty folder has that name, the disk is full, or anything else.
    """
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield made
            for each in filter(Path.is_file, made.rglob("*")):
                with each.open("rb+") as file:
                    os.fsync(file.fileno())
            made.chmod(0o755)  # a temporary folder is its owner's alone
            if path.is_dir():
                path.rmdir()
            made.rename(path)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
