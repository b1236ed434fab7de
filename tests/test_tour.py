"""The notebook runs as it stands, and is stored without outputs."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
TITLE = r"\*\*(Two runs on digits|\d.* is right most often)"
SECONDS_A_CELL = 600  # what stops a cell that hangs


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_tour_is_stored_without_outputs() -> None:
    cells = code_cells(nbformat.read(TOUR, as_version=4))
    assert len(cells) >= 5 and all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_tour_runs_and_shows_tables_and_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"BENCH_CACHE": tmp_path / "cache", "IPYTHONDIR": tmp_path / "ipython"}.items():
        monkeypatch.setenv(variable, str(value))
    notebook = nbformat.read(TOUR, as_version=4)
    NotebookClient(
        notebook, kernel_name="python3", timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(TOUR.parent)}}
    ).execute()
    shown = [output for cell in code_cells(notebook) for output in cell.outputs]
    pieces = [output["data"] for output in shown if "data" in output]
    tables = "\n".join(piece["text/markdown"] for piece in pieces if "text/markdown" in piece)
    assert any("image/png" in piece for piece in pieces)
    assert "95 % interval" in tables and "| layer4 | " in tables and re.search(TITLE, tables)
