"""The files of a page: one HTML file, or a folder with an index.html, and its JSON twin beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.store.files import write_bytes
from bench.store.paths import INDEX, REPORT, index_path, twin_path

MADE_BY = b'<meta name="generator" content="bench">'
OURS = ("page.js", "style.css", "data-*.js", "images/sheet-*.webp", "images/strip-*.webp", "images/*.svg")


def write_page_files(target: Path, files: Mapping[str, bytes], twin: str) -> Path:
    """Write a page to `target`, or as a folder: beside an index.html, else into a folder named like `target`.

    Its JSON twin lies beside `target` as page.json. What an earlier rendering in the other form left is taken away, so
    that only one page is there.

    Args:
        files: by name, index.html among them; it alone is a page in one file.

    Returns:
        The HTML file to open.
    """
    write_bytes(twin_path(target), twin.encode())
    alone = len(files) == 1
    folder = target.parent if target.name == INDEX else target.with_suffix("")
    _clear(folder, keep=set() if alone else set(files))
    index = target if alone else index_path(folder)
    if not alone and index != target:
        target.unlink(missing_ok=True)
    for name, content in files.items():
        if name != INDEX:
            write_bytes(folder / name, content)
    write_bytes(index, files[INDEX])  # last, so that a page which is there has its files
    return index


def _clear(folder: Path, keep: set[str]) -> None:
    """Remove what an earlier page in folder form left beside its index, and nothing of anybody else."""
    index = index_path(folder)
    if not index.is_file() or MADE_BY not in index.read_bytes()[:4000]:
        return
    left = [path for pattern in OURS for path in folder.glob(pattern)]
    if not keep and folder.name == Path(REPORT).stem:
        left.append(index)
    for path in left:
        if path.relative_to(folder).as_posix() not in keep:
            path.unlink()
    for empty in (folder / "images", folder):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()
