"""What was wanted, as one value: one form however it is given, one precedence, and a command that says it again."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
import pytest
from command_line import asked, call
from hypothesis import given, settings, strategies as st
from run_factory import make_record

from bench import request as requests
from bench.cli.app import VERBS
from bench.commands.train import whole
from bench.errors import StoreError, UsageError
from bench.fields import Request, Typed
from bench.recipes.files import recipe_of
from bench.request import (
    AdoptRequest,
    CompareRequest,
    EvaluateRequest,
    ExplainPicturesRequest,
    ExplainRequest,
    ExportRequest,
    FaithfulnessRequest,
    JudgeRequest,
    ReportRequest,
    RmRequest,
    TimeRequest,
    TrainRequest,
)
from bench.store.paths import record_path
from bench.store.runs import read_record, write_record

KINDS = {kind.__name__: kind for kinds, *_ in VERBS for kind in kinds.values()}


@pytest.fixture(autouse=True, scope="module")
def nothing_said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No BENCH_ variable of whoever runs the tests, and no bench.toml."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BENCH_")]:
            patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("empty"))
        yield


def test_every_request_belongs_to_a_verb() -> None:
    shared = {kind for one in KINDS.values() for kind in one.__mro__}
    defined = {one for one in vars(requests).values() if isinstance(one, type) and issubclass(one, Request)}
    assert defined <= shared


# --- one form -----------------------------------------------------------------------------------------------

ALIKE: list[tuple[list[Request], str, object]] = [
    ([TrainRequest("a"), TrainRequest(["a"]), TrainRequest(model=("a",))], "model", ("a",)),
    ([TrainRequest(lr=0.1), TrainRequest(lr=[0.1]), TrainRequest(lr="0.1")], "lr", (0.1,)),
    ([TrainRequest(lr=["0.1", 1]), TrainRequest(lr=np.array([0.1, 1.0]))], "lr", (0.1, 1.0)),
    ([TrainRequest(epochs=3), TrainRequest(epochs=np.int64(3))], "epochs", 3),
    ([TrainRequest(val=0), TrainRequest(val=np.float32(0))], "val", 0.0),
    ([TrainRequest(sizes="16:0.5"), TrainRequest(sizes=[[16, 0.5]]), TrainRequest(sizes=((16, 0.5),))], "sizes",
     ((16, 0.5),)),
    ([TrainRequest(sizes="full"), TrainRequest(sizes=[])], "sizes", ()),
    ([TrainRequest(data="x/y"), TrainRequest(data=Path("x/y"))], "data", "x/y"),
    ([ExplainRequest("x/y"), ExplainRequest(Path("x/y")), ExplainRequest([Path("x/y")])], "run", ("x/y",)),
    ([ExplainRequest(limit="5"), ExplainRequest(limit=5)], "limit", 5),
    ([ExplainRequest(limit="all")], "limit", "all"),
    ([ExplainRequest(ids="3,17"), ExplainRequest(ids=[3, 17]), ExplainRequest(ids=np.array([3, 17]))], "ids", (3, 17)),
    ([ExplainRequest(ids="3"), ExplainRequest(ids=3)], "ids", (3,)),
    ([ExplainPicturesRequest("a.png"), ExplainPicturesRequest([Path("a.png")])], "image", (Path("a.png"),)),
    ([ExportRequest(to="a.png"), ExportRequest(to=Path("a.png"))], "to", Path("a.png")),
    ([AdoptRequest("w", classes="a, b"), AdoptRequest("w", classes=["a", "b"])], "classes", ("a", "b")),
    ([AdoptRequest("w", mean="0.5"), AdoptRequest("w", mean=0.5), AdoptRequest("w", mean=[0.5])], "mean", (0.5,)),
    ([TimeRequest(fail_if="a[b,c] < 1"), TimeRequest(fail_if=["a[b,c] < 1"])], "fail_if", ("a[b,c] < 1",)),
]  # fmt: skip


@pytest.mark.parametrize(("ways", "name", "form"), ALIKE, ids=[f"{name}-{form}" for _, name, form in ALIKE])
def test_a_value_has_one_form_however_it_is_given(ways: list[Request], name: str, form: object) -> None:
    for one in ways:
        found = getattr(one, name)
        assert (found, repr(found), one) == (form, repr(form), ways[0])


WRONG: list[tuple[Callable[[], Request], str]] = [
    (lambda: TrainRequest(epochs="many"), "epochs is 'many', must be a whole number or None"),
    (lambda: TrainRequest(epochs=1.5), "epochs is 1.5, must be a whole number or None"),
    (lambda: TrainRequest(seed=True), "seed is True, must be a whole number"),
    (lambda: TrainRequest(val=None), "val is None, must be a number"),
    (lambda: TrainRequest(whiten=1), "whiten is 1, must be True or False or None"),
    (lambda: TrainRequest(sizes=[[16]]), "sizes is [[16]], must be text or a list or None"),
    (lambda: TrainRequest(3), "model is 3, must be text or a ModelSpec or a class or function"),
    (lambda: TrainRequest(["a", ["b"]]), "model is ['b'], must be text"),
    (lambda: TrainRequest([]), "--model has no value"),
    (lambda: TrainRequest(lr=["fast"]), "--lr 'fast' is no number"),
    (lambda: ExplainRequest(layer=4), "layer is 4, must be text"),
    (lambda: ExplainPicturesRequest("a", class_=[1]), "class is 1, must be text"),
    (lambda: JudgeRequest(["a", "b"]), "run is ['a', 'b'], must be text"),
    (lambda: JudgeRequest(limit=0), "--limit 0 is too few: 1 or more"),
    (lambda: TrainRequest(seeds=0), "--seeds 0 is too few: 1 or more"),
    (lambda: CompareRequest(["a"], max_images=0), "--max-images 0 is too few: 1 or more"),
    (lambda: CompareRequest(["a"], limit=0), "--limit 0 is too few: 1 or more"),
    (lambda: ExplainRequest(limit="0"), "--limit '0' is neither a count nor 'all'"),
    (lambda: ExplainRequest(ids="3,x"), "--ids '3,x' is neither a list of test ids nor a file of them"),
    (lambda: ExplainRequest(which="wrng"), "--which wrng is not one of wrong, all; did you mean 'wrong'?"),
    (lambda: TimeRequest(what=["forward", "backward"]), "--what backward is not one of forward, train, explain"),
    (lambda: ExportRequest(to=3), "to is 3, must be a path or None"),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_value_that_a_field_cannot_hold_is_refused_by_name(make: Callable[[], Request], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        make()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sizes": "x"}, "--sizes 'x' is not a list of edge:share"),
        ({"model": []}, "--model has no value"),
        ({"limit": "many"}, "limit: Input should be a valid integer"),
        ({"verb": "judge"}, "'judge'"),
    ],
    ids=str,
)
def test_a_record_of_what_nobody_can_have_asked_for_is_unreadable(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    write_record(tmp_path, make_record("one"))
    stored = json.loads(record_path(tmp_path).read_text(encoding="utf-8"))
    record_path(tmp_path).write_text(json.dumps({**stored, "request": {**stored["request"], **change}}))
    with pytest.raises(StoreError, match=re.escape(words)):
        read_record(tmp_path)


# --- what somebody gave -------------------------------------------------------------------------------------


def test_what_somebody_gave_is_all_but_defaults_and_what_the_recipe_says() -> None:
    asked_for = TrainRequest(
        epochs=3, lr=0.5, seed=0, whiten=True, origins={"lr": "env", "seed": "flag", "whiten": "recipe"}
    )
    assert asked_for.given() == {"epochs": 3, "lr": (0.5,), "seed": 0}
    assert (asked_for.given_alone(), asked_for.every_origin()["val"]) == (("epochs", "seed"), "default")


def test_where_a_value_came_from_is_no_part_of_what_is_wanted() -> None:
    assert TrainRequest(epochs=3, origins={"epochs": "env"}) == TrainRequest(epochs=3)


# --- what to type for the same ------------------------------------------------------------------------------


def values(hint: Any, each: Typed) -> st.SearchStrategy[Any]:
    """Values of a field's type, or of a part of it; words that are read into something else are in ALIKE."""
    parts, origin = get_args(hint), get_origin(hint)
    if origin in (Union, UnionType):
        return st.one_of(*(values(part, each) for part in parts if part is not str or each.option.words is None))
    if origin is Sequence:
        least = {"sizes": 0, "classes": 2}.get(each.name, 1)
        return st.lists(values(parts[0], each), min_size=least, max_size=3)
    if origin is tuple:
        return st.tuples(*(values(part, each) for part in parts))
    pattern = "[a-z][a-z/._@ ']{0,6}[a-z]" + ("" if each.option.commas else "(, ?[a-z]+)?")
    text = st.from_regex(r"[a-z]+\[a,'[ a-z]+'\] < [0-9]" if each.name == "fail_if" else pattern, fullmatch=True)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.sampled_from(each.option.choices) if each.option.choices else text,
        int: st.integers(each.option.least or 1, 10**6),
        float: st.floats(0, 1e9)
        if each.name not in ("budget", "time")
        else st.integers(1, 10**6).map(lambda number: number / 4),
        bool: st.booleans(),
        NoneType: st.none(),
        Path: text.map(Path),
    }
    return plain.get(hint, st.nothing())


def requests_of(kind: type[Request]) -> st.SearchStrategy[Request]:
    """Requests of which any fields may be given."""
    fields = {each.name: values(each.hint, each) for each in kind.typed()}
    needed = {each.name for each in kind.typed() if each.default is MISSING or each.name == "image"}
    return st.fixed_dictionaries(
        {name: fields[name] for name in needed},
        optional={name: field for name, field in fields.items() if name not in needed},
    ).map(lambda given: kind(**given))


@pytest.mark.parametrize("name", KINDS)
def test_a_command_says_the_request_again(name: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(request=requests_of(KINDS[name]))
    def check(request: Request) -> None:
        again = asked(*shlex.split(request.command())[1:])
        assert type(again) is type(request) and again == request and again.command() == request.command()

    check()


def test_a_command_says_values_of_variables_and_files_too_and_its_changes() -> None:
    origins = {"lr": "env", "flip": "file", "epochs": "recipe"}
    asked_for = TrainRequest(
        lr=0.5, flip="none", epochs=3, dry_run=False, seed=0, origins={**origins, "dry_run": "env"}
    )
    assert asked_for.command() == "bench train --lr 0.5 --flip none"
    assert asked_for.command(seeds=2, lr=()) == "bench train --seeds 2 --flip none"
    assert asked_for.command(Path("other place")).endswith(" --runs-dir 'other place'")


# --- which value holds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "variable", "setting", "found"),
    [
        (("--epochs", "6"), "5", "4", (6, "flag")),
        ((), "5", "4", (5, "env")),
        ((), None, "4", (4, "file")),
        ((), None, None, (1, "recipe")),
    ],
)
def test_the_line_holds_before_variables_these_before_the_file_and_that_before_the_recipe(
    words: tuple[str, ...], variable: str | None, setting: str | None, found: tuple[int, str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("bench.toml").write_text(f"[train]\nepochs = {setting}\n" if setting else "", encoding="utf-8")
    if variable:
        monkeypatch.setenv("BENCH_EPOCHS", variable)
    typed = asked("train", "--recipe", "demo", *words)
    assert isinstance(typed, TrainRequest)
    request = whole(typed, recipe_of("demo").changed(typed.changes()))
    origins = request.stored()["origins"]
    assert (request.epochs, origins["epochs"]) == found
    assert (request.val, origins["val"], origins["recipe"]) == (0.1, "default", "flag")


# --- a run is named -----------------------------------------------------------------------------------------

EXTRA = {"ExplainPicturesRequest": ("--image", "a.png")}
OF_RUNS = [name for name, kind in KINDS.items() for each in kind.typed() if each.name == "run" and each.option.argument]


@pytest.mark.parametrize("name", OF_RUNS)
def test_a_run_is_named_as_an_argument_or_by_its_flag(name: str) -> None:
    kind = KINDS[name]
    verb = [*shlex.split(kind.verb), *EXTRA.get(name, ())]
    many = next(each.option.many for each in kind.typed() if each.name == "run")
    for words in (("a",), ("--run", "a")):
        found = asked(*verb, *words)
        assert (type(found), found.run, found.origins["run"]) == (kind, ("a",) if many else "a", "flag")
    if many:
        assert asked(*verb, "a", "--run", "b,c", "d").run == ("a", "d", "b", "c")
    else:
        assert asked(*verb, "a", "--run", "a").run == "a"
        with pytest.raises(UsageError, match="'a' and --run b are two different values"):
            asked(*verb, "a", "--run", "b")


def test_every_verb_of_finished_runs_takes_them_both_ways() -> None:
    assert {KINDS[name] for name in OF_RUNS} >= {
        ExplainRequest, ExplainPicturesRequest, CompareRequest, ReportRequest, ExportRequest, JudgeRequest,
        FaithfulnessRequest, TimeRequest, EvaluateRequest, RmRequest,
    }  # fmt: skip


@pytest.mark.parametrize(("verb", "found"), [("explain", ("a",)), ("judge", "a")])
def test_a_run_on_the_line_hides_those_of_variables_and_files(
    verb: str, found: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bench.toml").write_text(f'[{verb}]\nrun = "c"\n', encoding="utf-8")
    assert asked(verb).origins["run"] == "file"
    monkeypatch.setenv("BENCH_RUN", "b")
    assert asked(verb).origins["run"] == "env"
    for words in (("a",), ("--run", "a")):
        assert (asked(verb, *words).run, asked(verb, *words).origins["run"]) == (found, "flag")


def test_a_run_to_show_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    result = call("show", "run", "a", "--run", "b", runs=tmp_path)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "error: 'a' and --run b are two different runs")
    for words in (("a",), ("--run", "a"), ("a", "--run", "a")):
        assert "no run 'a'" in call("show", "run", *words).stderr


def test_a_run_that_has_to_be_named_is_asked_for() -> None:
    result = call("rm")
    assert (result.exit_code, result.stderr.splitlines()) == (2, ["error: which run?", "  try: bench list runs"])


# --- what help says of it -----------------------------------------------------------------------------------


def help_of(verb: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The help of a verb at 80 columns, its columns folded into lines."""
    monkeypatch.setenv("COLUMNS", "80")
    text = call(verb, "--help").stdout
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(re.sub("[^ -~]", " ", text).split())


def test_help_shows_defaults_as_they_are_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Can be repeated. [default: latest]" in help_of("explain", monkeypatch)
    assert "[default: cifar_resnet18]" in help_of("train", monkeypatch)
    timing = help_of("time", monkeypatch)
    assert "[default: 5m]" in timing and "[default: forward, train, explain]" in timing
    for name, kind in KINDS.items():
        text = help_of(kind.verb.split()[0], monkeypatch)
        assert not re.search(r"default: (\(|\[|None|\]|<)", text), name


def test_the_ten_options_that_people_need_come_first_and_a_recipe_s_in_a_panel_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    panels: dict[str, list[str]] = {}
    for line in call("train", "--help").stdout.splitlines():
        if head := re.match("╭─ (.*?) ─", line):
            panels[head[1]] = []
        elif flag := re.match("│ (--[a-z-]+)", line):
            panels[list(panels)[-1]].append(flag[1])
    assert list(panels) == ["Options", "More options", "In place of the recipe's values", "Options of every command"]
    needed = "model recipe epochs seed seeds limit resume data dry-run device help"
    assert panels["Options"] == [f"--{name}" for name in needed.split()]
    shown = {flag for panel in panels.values() for flag in panel}
    assert shown >= {each.flag for each in TrainRequest.typed()}
    recipe = {each.flag for each in TrainRequest.typed() if each.option.of_recipe}
    assert recipe == {"--epochs", *panels["In place of the recipe's values"]}


def test_help_shows_where_a_run_goes_and_what_only_another_option_gives_a_meaning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    explaining, judging = help_of("explain", monkeypatch), help_of("judge", monkeypatch)
    for words in ("bench explain [OPTIONS] [RUN]...", "--class <str> With --image: Also explain this class.",
                  "--out <path> With --image: Folder of the page", "--which <str> Which test images"):  # fmt: skip
        assert words in explaining
    for words in ("bench judge [OPTIONS] [RUN] ", "--dry-run <bool> With --faithfulness or --known-answers: Only",
                  "--faithfulness <bool> Hide parts of the image"):  # fmt: skip
        assert words in judging
