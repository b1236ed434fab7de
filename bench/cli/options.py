"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError
from bench.registry.registry import discover, is_file_name
from bench.store.runs import run_names

LIMIT_ALL = "all"
Stem = Annotated[
    str | None, typer.Option("--stem", help="cifar: 3x3 stem without max-pool, for ResNets of timm and torchvision.")
]
ImageSize = Annotated[int | None, typer.Option("--image-size", help="Pixels an edge of what the model is given.")]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="cifar10, digits, or a folder or archive of train/CLASS/* and test/CLASS/*.",
        show_envvar=True,
        envvar="BENCH_DATA",
    ),
]
Moved = Annotated[str | None, typer.Option("--data", help="Where the run's data set lies now, if it was moved.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="Dotted module name, or all. Repeats.")]
Slow = Annotated[bool, typer.Option("--slow", help="Let all explainers take in what costs over 200 forward passes.")]
Limit = Annotated[str | None, typer.Option("--limit", help="First N images of one fixed order, or all.")]
Open = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and how long it takes.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and count them.")]
SingleFile = Annotated[bool, typer.Option("--single-file", help="One file however large; else up to 10 MB.")]
AsFolder = Annotated[bool, typer.Option("--folder", help="index.html with its files beside it, however small.")]
MaxImages = Annotated[int | None, typer.Option("--max-images", help="Most images of the gallery; tables cover all.")]


def _models(incomplete: str) -> list[str]:
    return [name for name in discover("model", object) if name.startswith(incomplete)]


def _explainers(incomplete: str) -> list[str]:
    return [name for name in ("all", *discover("explainer", object)) if name.startswith(incomplete)]


def _runs(incomplete: str) -> list[str]:
    return [name for name in ("latest", *run_names(Path("runs"))) if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="Registered name, FILE.py:NAME (runs that file), timm:NAME or torchvision:NAME.",
        autocompletion=_models,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Registered name, FILE.py:NAME (runs that file), timm:NAME or torchvision:NAME. Repeats.",
        autocompletion=_models,
        show_default="cifar_resnet18",
        metavar="<str>",
    ),
]
Explainers = Annotated[
    list[str] | None,
    typer.Option("--explainer", help="Name, FILE.py:NAME, or all. Repeats.", autocompletion=_explainers),
]
RunNames = Annotated[
    list[str] | None, typer.Option("--run", help="Name, latest, or path. Repeats.", autocompletion=_runs)
]


def split_names(values: list[str] | None) -> list[str]:
    """Repeated options, each of which may be a comma-separated list."""
    return [name.strip() for value in values or () for name in value.split(",") if name.strip()]


def parse_rates(values: list[str] | None) -> list[float]:
    """Repeated or comma-separated learning rates."""
    found = []
    for word in split_names(values):
        try:
            found.append(float(word))
        except ValueError:
            raise UsageError(f"--lr '{word}' is no number", try_="--lr 0.1, or --lr 0.1,0.2 for two runs") from None
    return found


def parse_names(option: str, text: str | None) -> list[str] | None:
    """Names with commas between them, or a file with one a line."""
    if text is None:
        return None
    path = Path(text)
    words = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else text.split(",")
    names = [word.strip() for word in words if word.strip()]
    if len(names) < 2:
        raise UsageError(f"{option} '{text}' names fewer than two classes", try_=f"{option} cat,dog or a file of names")
    return names


def parse_values(option: str, text: str | None) -> list[float] | None:
    """Numbers with commas between them."""
    if text is None:
        return None
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} '{text}' is not made of numbers", try_=f"{option} 0.5, or {option} R,G,B") from None


def parse_limit(text: str | None) -> int | str | None:
    """A count, `all`, or nothing."""
    if text is None or text == LIMIT_ALL:
        return text
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--limit {text} is neither a count nor 'all'", try_="--limit 300")
    return int(text)


def parse_ids(text: str | None) -> list[int] | None:
    """Test ids from "3,17" or from a file of numbers."""
    if text is None:
        return None
    path = Path(text)
    words = (path.read_text(encoding="utf-8", errors="replace") if path.is_file() else text).replace(",", " ").split()
    bad = next((word for word in words if not word.isdecimal()), None)
    if bad is not None or not words:
        raise UsageError(f"--ids: '{bad or text}' is no test id", try_="--ids 3,17 or a file of numbers")
    return [int(word) for word in words]


def form_of(*, single_file: bool, folder: bool) -> str:
    """The form of a page that two flags ask for."""
    if single_file and folder:
        raise UsageError("--single-file and --folder exclude each other", try_="neither: one file up to 10 MB")
    return "single" if single_file else "folder" if folder else "auto"


def files_named(values: Mapping[str, object]) -> list[str]:
    """The Python files that models and explainers are named in, each once: they are run."""
    given = (values.get(option) for option in ("model", "explainer"))
    names = [name for each in given if each for name in ([each] if isinstance(each, str) else each)]  # type: ignore[attr-defined]
    words = [word.strip() for name in names for word in str(name).split(",")]
    return list(dict.fromkeys(word.rpartition(":")[0] for word in words if is_file_name(word)))
