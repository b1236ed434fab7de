"""Names to values: nothing loads before it is used, and what is broken is broken alone."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.contracts import ModelSpec
from bench.errors import MissingError, UsageError, did_you_mean
from bench.registry.registry import Registry, discover, is_file_name, resolved, short

SPEC_FILE = """
from bench.contracts import ModelSpec
MINE = ModelSpec(name="{name}", build=lambda classes: None, source="tests")
NUMBER = 3
_hidden = MINE
"""

Install = Callable[..., None]
WITHIN = ("a", "resnet18", "grad_cam+", "a0_+")  # the rules of names


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(distribution, name=target, ...)` registers models as an installed distribution would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def one(distribution: str, **points: str) -> None:
        folder = tmp_path / f"{distribution.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {target}\n" for name, target in points.items())
        (folder / "entry_points.txt").write_text(f"[bench.models]\n{lines}")

    return one


def models() -> Registry[ModelSpec]:
    return discover("model", ModelSpec)


def spec_file(folder: Path, name: str = "mine", file: str = "mine.py") -> str:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SPEC_FILE.format(name=name))
    return str(path)


# --- nothing is imported -----------------------------------------------------------------------------------


def test_discovering_and_listing_import_no_backend_and_no_entry() -> None:
    code = (
        "import sys\n"
        "from bench.contracts import ExplainerSpec, ModelSpec\n"
        "from bench.registry.registry import discover\n"
        "found = [discover('model', ModelSpec), discover('explainer', ExplainerSpec)]\n"
        "names = [(entry.name, entry.about, entry.owner) for one in found for entry in one.entries.values()]\n"
        "assert len(names) >= 5 and 'captum' in found[1], names\n"
        "loaded = {'torch', 'numpy', 'timm', 'captum', 'bench.models.cifar_resnet18', 'bench.explainers.captum_cam'}\n"
        "sys.exit(', '.join(loaded & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_plug_in_is_not_imported_before_its_name_is_asked_for(install: Install, tmp_path: Path) -> None:
    text = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n" + SPEC_FILE.format(name="lazy")
    (tmp_path / "lazy_plugin.py").write_text(text)
    install("lazy-models", lazy="lazy_plugin:MINE")
    found = models()
    assert "lazy" in found and "lazy" in list(found) and not (tmp_path / "ran").exists()
    assert found["lazy"].name == "lazy" and (tmp_path / "ran").exists()


# --- names -------------------------------------------------------------------------------------------------


def test_every_built_in_belongs_to_bench_and_has_words() -> None:
    assert {(each.owner, bool(each.about), each.problem) for each in models().entries.values()} == {("bench", True, "")}


def test_a_plug_in_is_listed_with_its_distribution(install: Install) -> None:
    install("their-models", theirs="somewhere:THEIRS")
    entry = models().entry("theirs")
    assert (entry.owner, entry.about, entry.target) == ("their-models", "from their-models", "somewhere:THEIRS")


@pytest.mark.parametrize("name", ["Upper", "1st", "with-dash", "_private", "a.b"])
def test_a_name_that_breaks_the_rules_is_unusable_and_says_the_rule(install: Install, name: str) -> None:
    install("odd-models", **{name: "json:loads", **dict.fromkeys(WITHIN, "json:loads")})
    found = models()
    assert not any(found.entry(each).problem for each in WITHIN)
    with pytest.raises(MissingError, match=r"a name must match \[a-z\]"):
        found[name]
    assert found["cifar_resnet18"].name == "cifar_resnet18"


def test_a_name_registered_twice_is_refused_naming_both_owners(install: Install) -> None:
    install("first-models", twice="json:loads", once="json:loads")
    install("second-models", twice="json:dumps")
    found = models()
    with pytest.raises(MissingError) as error:
        found["twice"]
    assert "first-models" in error.value.message and "second-models" in error.value.message
    assert not found.entry("once").problem


@pytest.mark.parametrize("owner", ["thief", "bench"])
def test_no_distribution_takes_the_name_of_a_built_in(install: Install, owner: str) -> None:
    install(owner, cifar_resnet18="json:loads")
    found = models()
    with pytest.raises(MissingError, match=f"registered twice, by bench and {owner}"):
        found["cifar_resnet18"]
    assert found["timm_resnet18"].name == "timm_resnet18"


def test_an_unknown_name_offers_the_nearest_and_the_list() -> None:
    with pytest.raises(UsageError, match="no model named 'cifar_resnet81'; did you mean 'cifar_resnet18'") as error:
        models()["cifar_resnet81"]
    assert error.value.try_ == "bench list models"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("captm", "; did you mean 'captum'?"),
        ("GradCAM", "; did you mean 'gradcam'?"),
        ("my_model", "; did you mean 'MY_MODEL'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_did_you_mean_offers_what_is_near_whatever_its_case(name: str, words: str) -> None:
    assert did_you_mean(name, ("gradcam", "captum", "MY_MODEL")) == words


def test_a_registry_cannot_be_written_to() -> None:
    assert not hasattr(Registry, "__setitem__") and not hasattr(Registry, "__delitem__")


# --- broken plug-ins ---------------------------------------------------------------------------------------

BROKEN = {
    "it raises": "raise RuntimeError('out of order')",
    "it exits": "import sys; sys.exit(2)",
    "it is no Python": "def (",
    "it imports what is not there": "import no_such_backend",
    "it lacks the attribute": "OTHER = 1",
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_broken_plug_in_hurts_only_its_own_name(install: Install, tmp_path: Path, reason: str) -> None:
    name = f"broken_plugin_{list(BROKEN).index(reason)}"
    (tmp_path / f"{name}.py").write_text(BROKEN[reason])
    install("broken-models", broken=f"{name}:MINE")
    found = models()
    with pytest.raises(MissingError, match="'broken' of broken-models does not load") as error:
        found["broken"]
    assert (error.value.try_, found["cifar_resnet18"].name) == ("bench doctor", "cifar_resnet18")


def test_a_plug_in_of_another_type_is_refused_and_told_what_it_is(install: Install) -> None:
    install("wrong-models", wrong="json:loads")
    with pytest.raises(MissingError, match="model 'wrong' is of type function, not ModelSpec"):
        models()["wrong"]


@pytest.mark.parametrize("target", ["json", "json:", ":loads", "", "json:loads:more"])
def test_a_target_that_is_no_target_is_a_plug_in_that_does_not_load(install: Install, target: str) -> None:
    install("vague-models", vague=target or " ")
    with pytest.raises(MissingError, match="'vague'"):
        models()["vague"]


# --- files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_file"), [("a.py:B", True), ("/x/a.py:B", True), ("gradcam", False), ("a:B", False)]
)
def test_only_a_python_file_with_an_attribute_is_a_file_name(name: str, is_file: bool) -> None:
    assert is_file_name(name) is is_file


def test_a_file_name_is_settled_with_its_whole_path_and_shown_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolved("nets/a.py:NET") == f"{tmp_path.resolve()}/nets/a.py:NET"
    assert short("/some/where/a.py:NET") == "a.py:NET"
    assert resolved("captum") == short("captum") == "captum"


def test_two_files_of_one_name_are_two_files(tmp_path: Path) -> None:
    found = models()
    first, second = (spec_file(tmp_path, name, f"{name}/net.py") for name in ("one", "two"))
    assert [found[f"{path}:MINE"].name for path in (first, second, first)] == ["one", "two", "one"]


def test_classes_in_a_file_may_be_dataclasses(tmp_path: Path) -> None:
    path = tmp_path / "data.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Size:\n    edge: int = 32\n" + SPEC_FILE.format(name="data")
    )
    assert models()[f"{path}:MINE"].name == "data"


def test_a_missing_attribute_offers_the_nearest_and_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="has no 'MIEN'; did you mean 'MINE'") as error:
        models()[f"{spec_file(tmp_path)}:MIEN"]
    assert "NUMBER" in error.value.try_ and "_hidden" not in error.value.try_


@pytest.mark.parametrize(
    ("name", "words"),
    [("mine.py:NUMBER", "is of type int, not ModelSpec"), ("absent.py:MINE", r"no file .*absent\.py")],
)
def test_an_attribute_that_is_no_spec_and_a_missing_file_are_refused(tmp_path: Path, name: str, words: str) -> None:
    spec_file(tmp_path)
    with pytest.raises(MissingError, match=words):
        models()[f"{tmp_path}/{name}"]


@pytest.mark.parametrize("text", ["1 / 0", "def (", "import sys; sys.exit(2)", "\0"])
def test_a_file_that_does_not_run_is_an_error_and_leaves_no_module(tmp_path: Path, text: str) -> None:
    path = tmp_path / "failing_file.py"
    path.write_text(text)
    with pytest.raises(MissingError, match=r"failing_file\.py does not run"):
        models()[f"{path}:MINE"]
    assert "bench_file_failing_file" not in sys.modules
