"""A recipe's file means what it says, and what is wrong in it is told with file, line, key and value."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import call, done
from hypothesis import given, strategies as st
from tiny import TINY_FILE, tiny_data, write_images

from bench.errors import MissingError, UsageError
from bench.pages.run_views import run_view
from bench.precision import resolved_precision
from bench.recipes.files import KEYS, line_of, recipe_of
from bench.recipes.recipe import RECIPES, Recipe
from bench.request import TrainRequest
from bench.store.folder import read_run
from bench.store.runs import read_record

COURSE = RECIPES["course"]
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "my_recipe.toml"
OTHER: dict[str, Any] = {
    "source": "a test", "epochs": 3, "batch_size": 8, "lr": 1, "optimizer": "adamw", "lr_start": 0.5, "warm_up": 0.5,
    "momentum": 0.5, "weight_decay": 0.25, "bn_momentum": 0.5, "translate": 1, "flip": "none", "cutout": 2,
    "lr_end": 0.5, "norm_decay": False, "bias_scale": 2.0, "label_smoothing": 0.5, "lookahead": 2, "whiten": True,
    "zero_init": True, "sizes": ((16, 0.5), (24, 0.25)), "precision": "bf16",
}  # fmt: skip
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a file my.toml of a text."""

    def make(text: str) -> Path:
        path = tmp_path / "my.toml"
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return make


# --- what a file means --------------------------------------------------------------------------------------


def test_an_empty_file_is_course_under_the_files_own_name(write: Write) -> None:
    path = write("")
    found = recipe_of(str(path))
    assert (found.name, found.source, found.values()) == (str(path), "my.toml, based on course", COURSE.values())


@pytest.mark.parametrize("base", RECIPES)
def test_what_a_file_does_not_say_is_its_bases(write: Write, base: str) -> None:
    found = recipe_of(str(write(f'base = "{base}"\nweight_decay = 0.25\ntranslate = 1\n')))
    assert found.values() == replace(RECIPES[base], weight_decay=0.25, translate=1).values()


@pytest.mark.parametrize("key", KEYS[1:])
def test_every_value_of_a_recipe_can_be_given_by_a_file(write: Write, key: str) -> None:
    value = OTHER[key]
    found = recipe_of(str(write(f"{key} = {json.dumps(value)}\n")))
    assert getattr(found, key) == value and getattr(COURSE, key) != value


def test_the_keys_are_the_fields_but_the_name_and_what_was_measured_and_options_are_called_the_same() -> None:
    assert {*KEYS} == {"base"} | {each.name for each in fields(Recipe)} - {"name", "measured"}
    assert {*KEYS} - {"base", "source"} == TrainRequest().changes().keys()


# --- what earlier versions wrote ----------------------------------------------------------------------------

OLD = [
    ("pad = 1", {"translate": 1}),
    ("cutout = 2", {"cutout": 2}),
    ("flip = true", {"flip": "random"}),
    ("flip = false", {"flip": "none"}),
    ("flip = false\nalternate = true", {"flip": "none"}),
    ("alternate = true", {"flip": "alternating"}),
    ("flip = true\nalternate = true\npad = 2\ncutout = 3", {"flip": "alternating", "translate": 2, "cutout": 3}),
]


@pytest.mark.parametrize(("table", "changes"), OLD, ids=[table for table, _ in OLD])
def test_the_table_of_earlier_versions_means_what_it_meant(write: Write, table: str, changes: dict[str, Any]) -> None:
    found = recipe_of(str(write(f"epochs = 3\n[augmentation]\n{table}\n")))
    assert found.values() == replace(COURSE, epochs=3, **changes).values()


@pytest.mark.parametrize(
    ("base", "table", "flip"),
    [
        ("cpu", "flip = true", "alternating"),
        ("cpu", "alternate = false", "random"),
        ("demo", "alternate = true", "none"),
        ("demo", "flip = true", "random"),
    ],
)
def test_half_of_what_the_old_table_says_of_mirroring_changes_half_of_the_bases(
    write: Write, base: str, table: str, flip: str
) -> None:
    assert recipe_of(str(write(f'base = "{base}"\n[augmentation]\n{table}\n'))).flip == flip


@pytest.mark.parametrize(
    "text",
    [
        "augmentation.pad = 1",
        "augmentation = { pad = 1 }",
        "['augmentation']\n'pad' = 0x1",
        "\ufeff[augmentation]\r\npad = 1",
        "translate = 1",
        "'translate' = 0x1",
        "\ufeff\r\ntranslate = 1\r\n",
    ],
)
def test_any_way_to_write_a_key_or_the_old_table_in_toml_will_do(write: Write, text: str) -> None:
    assert recipe_of(str(write(text))).values() == replace(COURSE, translate=1).values()


# --- names --------------------------------------------------------------------------------------------------


def test_a_name_without_toml_is_that_of_a_recipe() -> None:
    assert recipe_of("course") is COURSE
    with pytest.raises(UsageError, match="no recipe 'my'"):
        recipe_of("my")


# --- what is wrong ------------------------------------------------------------------------------------------

WRONG = [
    ("\n# epocs = 1\nepocs = 5\n", 3, "no key 'epocs'; did you mean 'epochs'?"),
    ("epochs = 5\n\n[augmentaton]\npad = 1\n", 3, "no key 'augmentaton'"),
    ("lr = 0.1\n[augmentation]\npad = 1\nflp = true\n", 4, "no key 'flp' in [augmentation]; did you mean 'flip'?"),
    ("batch-size = 8", 1, "no key 'batch-size'; did you mean 'batch_size'?"),
    ('name = "course"', 1, "no key 'name'"),
    ("epochs = 2\npad = 4", 2, "no key 'pad'"),
    ("[augmentation]\npad = 2\nepochs = 4", 3, "no key 'epochs' in [augmentation]; it belongs above [augmentation]"),
    ("epochs = 2.5", 1, "epochs is 2.5, must be a whole number"),
    ("\nepochs = true", 2, "epochs is true, must be a whole number"),
    ("lr = true", 1, "lr is true, must be a number"),
    ('lr = "0.1"', 1, 'lr is "0.1", must be a number'),
    ("optimizer = 1", 1, "optimizer is 1, must be text in quotes"),
    ("source = 2026-11-21", 1, 'source is "2026-11-21", must be text in quotes'),
    ("augmentation.flip = 1", 1, "flip is 1, must be true or false"),
    ("flip = true", 1, "flip is true, must be text in quotes"),
    ('flip = "alternate"', 1, "no flip 'alternate'; did you mean 'alternating'?"),
    ("epochs = 1\naugmentation = 4", 2, "no key 'augmentation'"),
    ("[[augmentation]]\npad = 1", 1, "no key 'augmentation'"),
    ("[epochs]\nlast = 1", 1, 'epochs is {"last": 1}, must be a whole number'),
    ("lr = 0.1\nepochs = 0", 2, "epochs is 0, must be from 1 to 1,000,000"),
    ("lr = nan", 1, "lr is nan, must be 0 or more"),
    ("momentum = 1", 1, "momentum is 1, must be 0 or more and below 1"),
    ("warm_up = 20", 1, "warm_up is 20, must be from 0 to 1"),
    ("epochs = 1\n[augmentation]\nflip = true\npad = 40", 4, "translate is 40, must be from 0 to 16"),
    ("cutout = 3\n[augmentation]\ncutout = 2", 2, "cutout stands above [augmentation] and is set in it, too"),
    ('\noptimizer = "sdg"', 2, "no optimizer 'sdg'; did you mean 'sgd'?"),
    ('\n\nbase = "corse"', 3, "base: no recipe 'corse'; did you mean 'course'?"),
    ("base = 3", 1, "base is 3, must be the name of a recipe"),
    ('measured = "99 %"', 1, "no key 'measured'"),
    ("sizes = 16", 1, "sizes is 16, must be a list of [edge, share]"),
    ('sizes = "16:0.5"', 1, 'sizes is "16:0.5", must be a list of [edge, share]'),
    ("sizes = [16, 0.5]", 1, "sizes is [16, 0.5], must be a list of [edge, share]"),
    ("sizes = [[16, 0.5, 1]]", 1, "sizes is [[16, 0.5, 1]], must be a list of [edge, share]"),
    ("sizes = [[16.5, 0.5]]", 1, "sizes is [[16.5, 0.5]], must be a list of [edge, share]"),
    ("epochs = 4\nsizes = [[16, 0.5], [24, 0.5]]", 2, "sizes leaves no epoch for the images as they are"),
    ("sizes = [\n[4, 0.5],\n]", 1, "sizes holds 4:0.5: the edge must be from 8 to 1,024"),
    ('precision = "half"', 1, "no precision 'half'"),
    ("lookahead = 2.5", 1, "lookahead is 2.5, must be a whole number"),
    ("whiten = 1", 1, "whiten is 1, must be true or false"),
    ("bias_scale = 0", 1, "bias_scale is 0, must be above 0"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_a_mistake_is_told_with_file_line_key_and_value(write: Write, text: str, line: int, words: str) -> None:
    path = write(text)
    with pytest.raises(UsageError) as error:
        recipe_of(str(path))
    assert error.value.message.startswith(f"{path}, line {line}: {words}") and error.value.try_


def test_a_wrong_value_offers_the_bases_own(write: Write) -> None:
    with pytest.raises(UsageError) as error:
        recipe_of(str(write('base = "demo"\nflip = false')))
    assert error.value.try_ == 'flip = "none", as in demo'


def test_values_that_are_wrong_only_together_are_told_with_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(recipe: Recipe) -> None:
        if recipe.epochs == 7 and recipe.batch_size == 7:
            raise UsageError("7 epochs of 7 images", try_="8 epochs")

    monkeypatch.setattr(Recipe, "__post_init__", check)
    path = write("epochs = 7\nbatch_size = 7")
    with pytest.raises(UsageError, match="7 epochs of 7 images") as error:
        recipe_of(str(path))
    assert (error.value.message, error.value.try_) == (f"{path}: 7 epochs of 7 images", "8 epochs")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epochs = 1\nlr = \n", 2),
        ("lr = 1\n\nlr = 2\nepochs = 1", 3),
        ("augmentation.pad = 1\n[augmentation]\npad = 2", 2),
        ('epochs = 1\nsource = """\nno end\n', 2),
        ("epochs 1", 1),
        ("lr = 0.1\n\nepochs = " + "1" * 5000, 3),
    ],
    ids=["no value", "twice", "table twice", "no end", "no sign", "too long"],
)
def test_broken_toml_is_told_with_the_line_on_which_it_begins(write: Write, text: str, line: int) -> None:
    with pytest.raises(UsageError, match=rf"my\.toml cannot be read from line {line} on: ") as error:
        recipe_of(str(write(text)))
    assert "base" in error.value.try_


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_bytes(b"lr = 0.1 # \xff\xfe")
    with pytest.raises(UsageError, match="cannot be read: 'utf-8' codec"):
        recipe_of(str(tmp_path / "my.toml"))


def test_a_file_that_is_not_there_a_folder_and_an_endless_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "endless.toml").write_text("# a comment\n" * 100_000, encoding="utf-8")
    reasons = {
        "none.toml": "no file .*none",
        "folder.toml": "cannot be read: Is a directory",
        "endless.toml": "at most",
    }
    for name, why in reasons.items():
        with pytest.raises(MissingError, match=why) as error:
            recipe_of(str(tmp_path / name))
        assert "base" in error.value.try_


# --- the line of a key --------------------------------------------------------------------------------------

HARD = """\
# pad = 0
source = \"\"\"
pad = 1
[augmentation]
\"\"\"
"quoted key" = [
    1,  # pad = 2
    2,
]
[other]
pad = 3

[ 'augmentation' ]  # [third]
flip = true
"""


@pytest.mark.parametrize(
    ("text", "keys", "line"),
    [
        (HARD, ("source",), 2),
        (HARD, ("quoted key",), 6),
        (HARD, ("other",), 10),
        (HARD, ("other", "pad"), 11),
        (HARD, ("augmentation",), 13),
        (HARD, ("augmentation", "flip"), 14),
        (HARD + '"pad" = 4', ("augmentation", "pad"), 15),
        (HARD, ("augmentation", "pad"), 0),
        (HARD, ("pad",), 0),
        ("a.b.c = 1\na.b.d = 2", ("a", "b", "d"), 2),
        ("a = 'form\u2028feed'\nb = 1", ("b",), 2),
        ("a = 1\nb = { c = 2 }", ("b", "c"), 2),
    ],
)
def test_a_keys_line_is_where_its_statement_begins(text: str, keys: tuple[str, ...], line: int) -> None:
    tomllib.loads(text)
    assert line_of(text, keys) == line


SPACE = st.lists(st.sampled_from(["", "# key0 = 1", "  ", "#", "# [table]"]), max_size=3)
VALUES = st.sampled_from(
    ["1", "'key0 = 2'", '"""\nkey1 = 3\n"""', "[\n1,\n# key0 = 1\n2,\n]", "'''\n[table]\n'''", "{ a = 1 }"]
)


@given(top=st.lists(st.tuples(SPACE, VALUES), max_size=4), inner=st.lists(st.tuples(SPACE, VALUES), max_size=4))
def test_lines_of_all_keys_are_those_they_were_written_on(
    top: list[tuple[list[str], str]], inner: list[tuple[list[str], str]]
) -> None:
    lines: list[str] = []
    wanted: dict[tuple[str, ...], int] = {}
    for table, statements in (((), top), (("table",), inner)):
        lines += [f"[{name}]" for name in table]
        for index, (space, value) in enumerate(statements):
            lines += space
            wanted[*table, f"key{index}"] = len(lines) + 1
            lines += f"key{index} = {value}".split("\n")
    assert {keys: line_of("\n".join(lines), keys) for keys in wanted} == wanted


# --- on the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("lr = 0.1\nepocs = 5", 2, "my.toml, line 2: no key 'epocs'; did you mean 'epochs'?"),
        ("epochs = 0", 2, "my.toml, line 1: epochs is 0"),
        ("x = [", 2, "my.toml cannot be read"),
        (None, 4, "my.toml"),
    ],
)
def test_train_ends_with_two_lines_and_the_right_exit_code(
    tmp_path: Path, write: Write, text: str | None, code: int, says: str
) -> None:
    if text is not None:
        write(text)
    result = call("train", "--recipe", str(tmp_path / "my.toml"), "--data", "digits", "--runs-dir", str(tmp_path))
    assert (result.exit_code, result.stdout) == (code, "")
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: ") and says in error and hint.startswith("  try: ")


def test_the_example_trains_and_its_values_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_images(tmp_path / "pictures", tiny_data(train=32, test=4))
    monkeypatch.chdir(EXAMPLE.parent)
    done("train", "--model", TINY_FILE, "--data", str(data), "--recipe", EXAMPLE.name, "--epochs", "1", "--val", "0",
         "--device", "cpu", "--run", "one", runs=tmp_path / "runs")  # fmt: skip
    record = read_record(tmp_path / "runs" / "one")
    assert record.settings["recipe"] == str(EXAMPLE)
    assert {key: record.settings[key] for key in COURSE.values()} == {
        **COURSE.values(),
        "epochs": 1,
        "batch_size": 64,
        "lr": 0.05,
        "precision": resolved_precision("auto", torch.device("cpu")),
        "sizes": [],
        "cutout": 8,
    }
    assert (record.request.origins["lr"], record.request.origins["epochs"]) == ("recipe", "flag")
    assert run_view(read_run(tmp_path / "runs" / "one")).recipe == "my_recipe.toml"


def test_augmentation_of_a_file_is_shown(tmp_path: Path, write: Write) -> None:
    path = write("translate = 1\ncutout = 3")
    assert "a square of 3 pixels" in done("show", "augment", "digits", "--recipe", str(path), runs=tmp_path).stdout


def test_the_list_of_recipes_says_whose_they_are_and_its_json_has_every_value() -> None:
    shown = call("list", "recipes").stdout
    rows = json.loads(call("list", "recipes", "--json").stdout)["recipes"]
    values = [
        {"name": one.name, **one.values(), "source": one.source, "measured": one.measured} for one in RECIPES.values()
    ]
    assert rows == json.loads(json.dumps(values))
    for one in RECIPES.values():
        assert " ".join(one.source.split()) in " ".join(shown.split())
