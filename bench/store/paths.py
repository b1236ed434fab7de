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

A folder with files that are read, merged and written back has an empty `.lock`. It stays: where one process deleted it,
two others could each lock a file of that name.
"""

import hashlib
import os
import re
from collections.abc import Callable
from glob import escape
from pathlib import Path

RECORD, LOG, CHECKPOINT = "run.json", "log.jsonl", "checkpoint.safetensors"
PREDICTIONS, SAMPLES = "predictions.npz", "samples.npz"
REPORT, INDEX, TWIN, MAPS = "report.html", "index.html", "page.json", "maps.npz"
COMPARE, SHOW, TIMING, LATEST = "compare", "show", "timing", "latest"
BESIDE_RUNS = (COMPARE, LATEST, SHOW, TIMING)  # names that no run may have
RESUME = re.compile(r"resume-(\d+)\.pt")
FILE_NAME_LENGTH = 120
PLAIN = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
RANDOM = "?" * 8  # what tempfile puts behind a name


def inside(*parts: str) -> Callable[[Path], Path]:
    """What gives the path of these parts in a folder."""
    return lambda folder: folder.joinpath(*parts)


# --- beside the run folders ---------------------------------------------------------------------------------

latest_path = inside(LATEST)  # names the run which was finished last
comparisons_path = inside(COMPARE)  # the folder of the pages of several runs
timings_path = inside(TIMING)  # the folder of timings, of all runs or in a run's folder


def run_path(runs: Path, name: str) -> Path:
    """The folder of a run."""
    return runs / name


def drawing_path(runs: Path, name: str) -> Path:
    """Where a drawing lies that nobody gave a place."""
    return runs / SHOW / f"{name}.png"


# --- in a run's folder --------------------------------------------------------------------------------------

record_path = inside(RECORD)  # what the run is made of, and how it went
log_path = inside(LOG)  # a line for each epoch
checkpoint_path = inside(CHECKPOINT)  # the weights at the end
predictions_path = inside(PREDICTIONS)  # the test logits
samples_path = inside(SAMPLES)  # the explained images
report_path = inside(REPORT)  # the run's page in one file
pictures_path = inside("images")  # the folder of the pages of one's own pictures
index_path = inside(INDEX)  # the page of a folder that holds a page
verdicts_path = inside("judge", "verdicts.json")  # of the judge on its explainers
scores_path = inside("judge", "faithfulness.json")  # of its explainers
known_answers_path = inside("judge", "known-answers")  # the folder of two small nets, their cells and their scores
known_scores_path = inside("judge", "known-answers", "scores.json")
training_lock = inside(".training.lock")  # locked by the process that trains in the folder
training_holder = inside(".training.pid")  # names that process


def resume_path(run: Path, step: int) -> Path:
    """The state of a training after so many steps."""
    return run / f"resume-{step}.pt"


def resume_files(run: Path) -> list[Path]:
    """The resume files of a run, the newest first; none of one whose folder is gone."""
    there = run.iterdir() if run.is_dir() else ()
    found = [(int(match[1]), path) for path in there if (match := RESUME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def leftovers_of(path: Path) -> list[Path]:
    """What writes of a file that were killed left beside it."""
    return list(path.parent.glob(f".{escape(path.name)}.{RANDOM}"))


def leftovers(run: Path) -> list[Path]:
    """What writes that were killed left behind of a training's files."""
    names = ("resume-*.pt", RECORD, LOG, CHECKPOINT, PREDICTIONS, training_holder(run).name)
    return [path for name in names for path in run.glob(f".{name}.{RANDOM}")]


def file_path(run: Path, name: str) -> Path:
    """A file that lies right in the run's folder, by its name."""
    return run / name


def page_files(run: Path) -> tuple[Path, Path]:
    """Where the page of a run may lie: in one file, or in a folder."""
    return report_path(run), index_path(report_path(run).with_suffix(""))


def cell_path(run: Path, explainer: str, layer: str) -> Path:
    """Where a cell lies: never outside the run, and two cells never in one file."""
    return run / "explain" / _file_name(explainer) / f"{_file_name(layer)}.npz"


def cell_files(run: Path) -> list[Path]:
    """Every cell of a run, in order of explainer and layer.

    A folder that may not be listed stands for its cells: who reads it is refused, so that it is not passed over.
    """
    folder = run / "explain"
    closed = [each for each in (folder, *folder.glob("*/")) if each.is_dir() and not os.access(each, os.R_OK | os.X_OK)]
    return sorted([*folder.glob("*/*.npz"), *closed])


def _file_name(name: str) -> str:
    """A registered or dotted name as it is; any other made harmless, with a digest that keeps it apart."""
    if PLAIN.fullmatch(name) and len(name) <= FILE_NAME_LENGTH:
        return name
    words = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.")
    return f"{words[-FILE_NAME_LENGTH:]}@{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:12]}"


def scrambled_path(run: Path, explainer: str, layer: str, kind: str = "sanity") -> Path:
    """The maps of copies of the model whose weights were scrambled; or how far maps of images moved a little go."""
    return cell_path(run / "judge" / kind, explainer, layer)


def answers_path(run: Path, grid: tuple[int, int], fill: str = "") -> Path:
    """What the model answers when patches of a grid are covered; by the mean colour where no fill is named."""
    by = f"-{fill.replace(' ', '-')}" if fill else ""
    return run / "judge" / f"covered-{grid[0]}x{grid[1]}{by}.npz"


def timing_path(folder: Path, timing: str, what: str = "time") -> Path:
    """The file of a timing, in a run's folder or in that of all runs; of a training or explaining under its own name.

    One call may train, explain and time: its rates have one id.
    """
    return timings_path(folder) / f"{timing}{'' if what == 'time' else f'-{what}'}.json"


def timing_files(folder: Path) -> list[Path]:
    """Every timing of a run or of all runs, by name: the oldest first."""
    return sorted(timings_path(folder).glob("*.json"))
