"""Where everything lies: each path inside of a run's folder, and of what lies beside the run folders, once.

    runs/NAME/                          a run
      run.json log.jsonl checkpoint.safetensors predictions.npz samples.npz
      report.html page.json             its page, or report/index.html, and the page's values
      resume-<step>.pt                  while it trains
      explain/<explainer>/<layer>.npz   a cell
      timing/<id>[-train|-explain].json
      judge/                            verdicts, scores, answers to covered patches, maps of scrambled weights
      images/<n>/                       a page of one's own pictures
    runs/compare/<n>/                   a page of several runs
    runs/show/                          drawings
    runs/timing/<id>.json               timings of more than one run
    runs/latest                         the name of the run that was finished last

A file that is read, merged and written back has an empty lock beside it, `.<name>.lock`. It stays: where one process
deleted it, two others could each lock a file of that name.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

RECORD, LOG, CHECKPOINT = "run.json", "log.jsonl", "checkpoint.safetensors"
PREDICTIONS, SAMPLES = "predictions.npz", "samples.npz"
REPORT, INDEX, TWIN = "report.html", "index.html", "page.json"
COMPARE, SHOW, TIMING, LATEST = "compare", "show", "timing", "latest"
BESIDE_RUNS = (COMPARE, LATEST, SHOW, TIMING)  # names that no run may have
RESUME = re.compile(r"resume-(\d+)\.pt")
FILE_NAME_LENGTH = 120
PLAIN = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
RANDOM = "?" * 8  # what tempfile puts behind a name


def lock_path(path: Path) -> Path:
    """What a process locks that reads, merges and writes back a file."""
    return path.with_name(f".{path.name}.lock")


# --- beside the run folders ---------------------------------------------------------------------------------


def run_path(runs: Path, name: str) -> Path:
    """The folder of a run."""
    return runs / name


def latest_path(runs: Path) -> Path:
    """The file that names the run which was finished last."""
    return runs / LATEST


def comparisons_path(runs: Path) -> Path:
    """The folder of the pages of several runs."""
    return runs / COMPARE


def numbered_path(parent: Path, number: int) -> Path:
    """The folder of the page with a number, of several runs or of one's own pictures."""
    return parent / str(number)


def drawing_path(runs: Path, name: str) -> Path:
    """Where a drawing lies that nobody gave a place."""
    return runs / SHOW / f"{name}.png"


# --- a run's own files --------------------------------------------------------------------------------------


def record_path(run: Path) -> Path:
    """What the run is made of, and how it went."""
    return run / RECORD


def log_path(run: Path) -> Path:
    """A line for each epoch."""
    return run / LOG


def checkpoint_path(run: Path) -> Path:
    """The weights at the end."""
    return run / CHECKPOINT


def predictions_path(run: Path) -> Path:
    """The test logits."""
    return run / PREDICTIONS


def samples_path(run: Path) -> Path:
    """The explained images."""
    return run / SAMPLES


def report_path(run: Path) -> Path:
    """The run's page in one file."""
    return run / REPORT


def pictures_path(run: Path) -> Path:
    """The folder of the pages of one's own pictures."""
    return run / "images"


# --- training -----------------------------------------------------------------------------------------------


def resume_path(run: Path, step: int) -> Path:
    """The state of a training after so many steps."""
    return run / f"resume-{step}.pt"


def resume_files(run: Path) -> list[Path]:
    """The resume files of a run, the newest first."""
    found = [(int(match[1]), path) for path in run.iterdir() if (match := RESUME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def training_lock(run: Path) -> Path:
    """Locked by the process that trains in the folder."""
    return run / ".training.lock"


def training_holder(run: Path) -> Path:
    """Names the process that trains in the folder."""
    return run / ".training.pid"


def leftovers(run: Path) -> list[Path]:
    """What writes that were killed left behind of a training's files."""
    names = ("resume-*.pt", RECORD, LOG, CHECKPOINT, PREDICTIONS)
    return [path for name in names for path in run.glob(f".{name}.{RANDOM}")]


# --- explaining ---------------------------------------------------------------------------------------------


def cell_path(run: Path, explainer: str, layer: str) -> Path:
    """Where a cell lies: never outside the run, and two cells never in one file."""
    return _cell_file(run / "explain", explainer, layer)


def cell_files(run: Path) -> list[Path]:
    """Every cell of a run, in order of explainer and layer."""
    return sorted((run / "explain").glob("*/*.npz"))


def _cell_file(folder: Path, explainer: str, layer: str) -> Path:
    return folder / _file_name(explainer) / f"{_file_name(layer)}.npz"


def _file_name(name: str) -> str:
    """A registered or dotted name as it is; any other made harmless, with a digest that keeps it apart."""
    if PLAIN.fullmatch(name) and len(name) <= FILE_NAME_LENGTH:
        return name
    words = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.")
    return f"{words[-FILE_NAME_LENGTH:]}@{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"


# --- timing -------------------------------------------------------------------------------------------------


def timing_path(folder: Path, timing: str, what: str = "time") -> Path:
    """The file of a timing, in a run's folder or in that of all runs; of a training or explaining under its own name.

    One call may train, explain and time: its rates have one id.
    """
    return timings_path(folder) / f"{timing}{'' if what == 'time' else f'-{what}'}.json"


def timings_path(folder: Path) -> Path:
    """The folder of timings, in a run's folder or in that of all runs."""
    return folder / TIMING


def timing_files(folder: Path) -> list[Path]:
    """Every timing of a run or of all runs, by name: the oldest first."""
    return sorted(timings_path(folder).glob("*.json"))


# --- judging ------------------------------------------------------------------------------------------------


def verdicts_path(run: Path) -> Path:
    """The verdicts on a run's explainers."""
    return run / "judge" / "verdicts.json"


def scores_path(run: Path) -> Path:
    """The scores of a run's explainers."""
    return run / "judge" / "faithfulness.json"


def answers_path(run: Path, grid: tuple[int, int]) -> Path:
    """What the model answers when patches of a grid are covered."""
    return run / "judge" / f"covered-{grid[0]}x{grid[1]}.npz"


def scrambled_path(run: Path, explainer: str, layer: str) -> Path:
    """The maps of copies of the model whose weights were scrambled."""
    return _cell_file(run / "judge" / "sanity" / "explain", explainer, layer)


# --- pages --------------------------------------------------------------------------------------------------


def index_path(folder: Path) -> Path:
    """The page of a folder that holds a page."""
    return folder / INDEX


def maps_path(page: Path) -> Path:
    """The raw maps of a page of one's own pictures, beside it."""
    return page.with_name("maps.npz")


def twin_path(page: Path) -> Path:
    """The values of a page, beside it."""
    return page.with_name(TWIN)
