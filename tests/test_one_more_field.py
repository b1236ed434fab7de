"""A field is written once: one that a request is given more is seen wherever the others are."""

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from docs_commands import ROOT, fenced
from run_factory import make_record
from typer.testing import CliRunner, Result

from bench.api import keywords
from bench.cli.console import Answer
from bench.cli.session import Group, add_command
from bench.commands.sweep import commands
from bench.errors import UsageError
from bench.fields import Option
from bench.request import TrainRequest
from bench.schema.run import OneOf, RunRecord
from bench.store.files import read_value
from bench.store.migrations import record_of_today
from bench.store.paths import record_path
from bench.store.runs import RUN_SCHEMA, write_record
from bench.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class WarmRequest(TrainRequest):
    """Train, and keep the weights warm."""

    warmth: Annotated[float, Option("How warm the weights are kept.")] = 1.5


@dataclass(frozen=True)
class WarmRecord(RunRecord):
    """run.json of a warm training."""

    request: Annotated[WarmRequest, OneOf(WarmRequest)]


def warm(request: WarmRequest, workspace: Workspace) -> float:
    """How warm it was.

    Returns:
        Degrees.
    """
    return request.warmth


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Result, list[WarmRequest]]]:
    """Calls a command line of one verb, in an empty folder; it refuses what is hot."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    seen: list[WarmRequest] = []

    def command(request: WarmRequest, workspace: Workspace) -> Answer:
        seen.append(request)
        if request.warmth > 40:
            raise UsageError("too hot", try_=request.command(workspace.runs, warmth=40))
        return Answer({"warmth": request.warmth}, ())

    app = typer.Typer(cls=Group)
    app.callback()(lambda: None)
    add_command(app, {"": WarmRequest}, command, opens=False)

    def one(*words: str, **variables: str) -> tuple[Result, list[WarmRequest]]:
        seen.clear()
        return CliRunner().invoke(app, ["train", *words], env={"COLUMNS": "80", **variables}), seen

    return one


Call = Callable[..., tuple[Result, list[WarmRequest]]]
FILE = "[train]\nwarmth = 3\n"


def test_it_is_in_the_help(call: Call) -> None:
    text = " ".join(re.sub("[^ -~]", " ", call("--help")[0].stdout).split())
    assert "--warmth <float> How warm the weights are kept. [default: 1.5]" in text


def test_flag_variable_and_file_set_it_in_this_order_and_it_says_which(call: Call) -> None:
    found, warmer = [], {"BENCH_WARMTH": "4"}
    for text, words, variables in (("", (), {}), (FILE, (), {}), (FILE, (), warmer), (FILE, ("--warmth", "5"), warmer)):
        Path("bench.toml").write_text(text, encoding="utf-8")
        found += [(one.warmth, one.every_origin()["warmth"]) for one in call(*words, **variables)[1]]
    assert found == [(1.5, "default"), (3.0, "file"), (4.0, "env"), (5.0, "flag")]


def test_a_key_nearly_like_it_is_told_of_it(call: Call) -> None:
    Path("bench.toml").write_text("[train]\nwarmht = 3\n", encoding="utf-8")
    assert "no setting 'warmht'; did you mean 'warmth'?" in call()[0].stderr


def test_a_line_that_repeats_the_call_says_it(call: Call) -> None:
    told = call("--warmth", "50", "--seeds", "2")[0].stderr
    assert told.splitlines()[-1].strip() == "try: bench train --warmth 40.0 --seeds 2"
    swept = WarmRequest(warmth=3, lr=[0.1, 0.2], seeds=2).trainings()
    assert commands(swept, Path("runs")) == [
        f"bench train --warmth 3.0 --seed 0 --seeds 2 --lr {rate}" for rate in (0.1, 0.2)
    ]


def test_a_record_holds_it_with_its_origin_and_gives_it_back(tmp_path: Path) -> None:
    asked = WarmRequest(warmth=3, lr=0.5, origins={"warmth": "env"})
    write_record(tmp_path, make_record("one", request=asked))
    stored = json.loads(record_path(tmp_path).read_text(encoding="utf-8"))["request"]
    assert (stored["warmth"], stored["origins"]["warmth"]) == (3.0, "env")
    again = read_value(record_path(tmp_path), WarmRecord, RUN_SCHEMA, record_of_today)
    assert (again.request, again.settings["warmth"], again.request.origins["warmth"]) == (asked, 3.0, "env")


def test_the_function_takes_it_by_name_and_explains_it() -> None:
    function = keywords(WarmRequest, warm)
    assert function("net", warmth=3) == 3.0
    assert inspect.signature(function).parameters["warmth"].default == 1.5
    assert "warmth: How warm the weights are kept." in inspect.getdoc(function)
    with pytest.raises(TypeError, match=r"warm\(\) got an unexpected keyword argument 'warmht'; did you mean 'warmth'"):
        function("net", warmht=3)  # type: ignore[call-arg]


# --- what mypy says -----------------------------------------------------------------------------------------

HEAD = """
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

import bench
from bench.api import keywords
from bench.fields import Option
from bench.request import TrainRequest
from bench.workspace import Workspace


class Net(nn.Module):
    pass


def map_of(model: nn.Module, layers: list[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {}
"""
RIGHT = (
    'bench.train("a")',
    "bench.train(Net, lr=[0.1, 0.2], epochs=3, whiten=False, sizes=[(16, 0.5)])",
    'bench.explain("a", explainer=[map_of, "captum"], layer="layer3", limit="all")',
    'bench.explain(["a", "b"])',
    'bench.compare("a", "b", explainer="captum", workspace=Workspace())',
    'bench.compare(["a", "b"], limit=3)',
    "bench.report()",
    'warmed("a", warmth=3.0, epochs=2).hex()',
    'bench.train("a").name.upper()',
)
WRONG = {
    'bench.train("a", epocs=3)': 'Unexpected keyword argument "epocs"',
    'bench.train("a", epochs="many")': 'Argument "epochs" has incompatible type "str"; expected "int | None"',
    'bench.train("a", "digits")': "Too many positional arguments",
    "bench.adopt()": "Too few arguments",
    'bench.explain("a", limit=0.5)': 'Argument "limit"',
    'bench.compare("a", "b", explainr="captum")': "No overload variant",
    'bench.train("a").nam': '"Path" has no attribute "nam"',
    'warmed("a", warmht=3.0)': 'Unexpected keyword argument "warmht"',
    'warmed("a", warmth="hot")': 'Argument "warmth" has incompatible type "str"; expected "float"',
}


@pytest.mark.slow
def test_mypy_refuses_wrong_keywords_and_wrong_types_and_nothing_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (readme,) = fenced((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    copies = [inspect.getsource(WarmRequest), inspect.getsource(warm), "warmed = keywords(WarmRequest, warm)"]
    lines = [*"\n\n".join([HEAD, *copies]).splitlines(), *RIGHT, *WRONG]
    monkeypatch.chdir(ROOT)  # where mypy's settings and its cache are
    told = errors_of(tmp_path, {"readme.py": readme, "calls.py": "\n".join(lines)})
    found = {(file, lines[number - 1]): words for (file, number), words in told.items()}
    assert {line for _, line in found} == {*WRONG}, found
    assert all(WRONG[line] in words for (_, line), words in found.items())
    assert {file for file, _ in found} == {"calls.py"}


def errors_of(folder: Path, texts: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """What mypy, as strict as for bench itself, says of files, by file and line."""
    mypy = pytest.importorskip("mypy.api", reason="mypy comes with the extra [lint]")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    told, problems, _ = mypy.run(["--config-file", "pyproject.toml", *(str(folder / name) for name in texts)])
    assert problems == ""
    found: dict[tuple[str, int], str] = defaultdict(str)
    for file, number, words in re.findall(r"^(?:.*/)?(\w+\.py):(\d+): error: (.*)$", told, re.MULTILINE):
        found[file, int(number)] += f"\n{words}"
    return found
