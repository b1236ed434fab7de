"""The notebook for Colab: every cell runs here, with small numbers; pip would change nothing but bench itself."""

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from test_tour import code_cells

ROOT = Path(__file__).parents[1]
COLAB = ROOT / "docs" / "colab.ipynb"
SMALL = f"""
INSTALL_FROM = "{ROOT}"
MODEL = "{ROOT}/examples/my_model.py:TINY"
DATA = "digits"
TRAINING = "--recipe demo --limit 320 --val 0"
EXPLAINERS = ["gradcam", "captum"]
LIMIT = 4
RUN = "first"
"""


def names_given(source: str) -> list[str]:
    return re.findall(r"^(\w+) =", source, re.MULTILINE)


@pytest.fixture
def notebook() -> Any:
    """The notebook with other values in its cell of parameters, and in no other."""
    found = nbformat.read(COLAB, as_version=4)
    (cell,) = (cell for cell in code_cells(found) if "parameters" in cell.metadata.get("tags", []))
    assert names_given(cell.source) == names_given(SMALL)
    cell.source = SMALL
    return found


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = code_cells(nbformat.read(COLAB, as_version=4))
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_every_cell_runs_on_a_cpu_and_ends_with_the_page_inline_and_as_a_file(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"DRY_RUN": "1", "NO_INDEX": "1", "NO_BUILD_ISOLATION": "0", "QUIET": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)  # what would be installed, from what is here
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs)
    pages = [output["data"].get("text/html", "") for output in outputs if "data" in output]
    assert text.count("Would install") <= 1 and "Would install torch" not in text
    assert "Would install" not in text.replace("cambench", "") and re.search(r"accuracy +\d", text), text
    assert "error:" not in text and "warn" not in text
    assert any("srcdoc" in page and "&lt;!doctype html&gt;" in page.lower() for page in pages)
    (link,) = re.findall(r"href='([^']+)'", "".join(pages))[:1]
    assert (tmp_path / link).is_file()
