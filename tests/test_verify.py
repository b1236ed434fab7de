"""`bench verify` as users and plug-in authors meet it: names, tables, exit codes, fixtures."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import call, done
from old_runs import copied

from bench.api import verify
from bench.commands.verify import threads
from bench.contracts import ExplainerSpec
from bench.errors import MissingError, UsageError
from bench.registry.registry import Entry, Registry, discover
from bench.verifying.conformance import CHECKS
from bench.workspace import Workspace

EXPLAINERS = discover("explainer", ExplainerSpec)
EXAMPLES = Path(__file__).parents[1] / "examples"

# Keeps its hooks, changes the mode, min-max scales: three faults, and nothing else wrong.
BAD = """
import torch

def explain(model, layers, images, targets):
    grids, maps = {}, {}
    for name in layers:
        def keep(module, inputs, output, name=name):
            grids[name] = output
            return output.clone()
        model.get_submodule(name).register_forward_hook(keep)
    with torch.enable_grad():
        logits = model(images.clone().requires_grad_())
        for name in layers:
            columns = []
            for column in targets.unbind(1):
                total = logits.gather(1, column[:, None]).sum()
                (slope,) = torch.autograd.grad(total, grids[name], retain_graph=True)
                columns.append((slope.mean((2, 3), keepdim=True) * grids[name]).sum(1))
            raw = torch.stack(columns, 1).detach()
            low, high = raw.amin((2, 3), keepdim=True), raw.amax((2, 3), keepdim=True)
            maps[name] = (raw - low) / (high - low)
    model.train()
    return maps

NUMBER = 3
def too_few(model, images): ...
class Explainer: ...
"""


@pytest.fixture(autouse=True)
def few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """That memory is counted over 50 batches is tested with the checks."""
    monkeypatch.setattr("bench.verifying.conformance.BATCHES", 4)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    return str(path)


# --- the command --------------------------------------------------------------------------------------------


def test_planted_bad_plug_in_fails_with_every_reason_named(bad: str) -> None:
    result = call("verify", f"{bad}:explain", "--layer", "layer4", "--json")
    (found,) = json.loads(result.stdout)["explainers"]
    failed = {check["name"]: check["words"] for check in found["checks"] if check["status"] == "failed"}
    assert set(failed) == {"hooks", "training-flags", "raw", "signed", "error"} and not found["passed"]
    assert all(f"{name}: {words}" in result.stderr for name, words in failed.items())
    assert "min-max scaled" in failed["raw"] and "forward hook on layer4" in failed["hooks"]
    assert "training = True in the model" in failed["training-flags"]
    assert result.exit_code == 3 and "error: " in result.stderr and "  try: " in result.stderr


def test_honest_plug_in_ends_with_0_and_a_row_for_each_check() -> None:
    result = done("verify", f"{EXAMPLES}/my_explainer.py:hirescam", "--layer", "layer4", "-q")
    assert [name for name in CHECKS if name not in result.stdout] == []
    assert result.stdout.splitlines()[-1].startswith(f"1 of 1 keep the contract: {len(CHECKS)} checks in ")


def test_several_explainers_share_a_table_and_one_that_crashes_fails_by_name_with_its_reason_and_no_traceback(
    tmp_path: Path,
) -> None:
    (tmp_path / "crash.py").write_text("def explain(model, layers, images, targets):\n    raise KeyError('planted')\n")
    result = call("verify", f"captum,{tmp_path}/crash.py:explain", "--layer", "layer4", "-q")
    assert result.exit_code == 3 and "answers: raised KeyError: 'planted'" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert all(words in result.stdout for words in ("captum", "seconds", "answers", "1 of 2 keep the contract"))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("NUMBER", r"is of type int, not ExplainerSpec or a function"),
        ("Explainer", r"is of type type, not ExplainerSpec or a function"),
        ("too_few", r"takes \(model, images\), not \(model, layers, images, targets\)"),
        ("nothing", r"has no 'nothing'"),
    ],
)
def test_what_is_no_explainer_is_refused_in_two_lines(bad: str, attribute: str, message: str) -> None:
    with pytest.raises(MissingError, match=message) as caught:
        verify(f"{bad}:{attribute}")
    assert caught.value.try_


def test_nothing_and_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="no explainer named"):
        verify(())
    with pytest.raises(UsageError, match="did you mean 'captum'"):
        verify("captun")


# --- everything registered ----------------------------------------------------------------------------------


def test_all_means_everything_registered_and_one_that_does_not_load_fails_alone() -> None:
    entries = {"captum": EXPLAINERS.entries["captum"], "lost": Entry("lost", "no_such_module:X", "", "its-owner")}
    place = Workspace(explainers=Registry("explainer", entries, ExplainerSpec))
    good, lost = verify("all", layer="layer4", workspace=place)
    assert (good.explainer, good.failures, lost.outcomes[0].name) == ("captum", (), "loads")
    assert "'lost' of its-owner does not load: ModuleNotFoundError" in lost.outcomes[0].words
    with pytest.raises(MissingError):
        verify("lost", workspace=place)


def test_dear_explainers_are_skipped_by_nobody() -> None:
    seen: list[str] = []

    class Counting(Registry[ExplainerSpec]):
        def __getitem__(self, name: str) -> ExplainerSpec:
            seen.append(name)
            return replace(EXPLAINERS["captum"], cost=lambda layer: 1e6)

    place = Workspace(explainers=Counting("explainer", {"dear": EXPLAINERS.entries["captum"]}, ExplainerSpec))
    (found,) = verify("all", layer="layer4", workspace=place)
    assert (found.explainer, found.failures, set(seen)) == ("dear", (), {"dear"})


def test_threads_are_as_they_were() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


# --- a run's net --------------------------------------------------------------------------------------------


def test_a_runs_model_and_images_are_used_at_its_last_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    place = copied(tmp_path, monkeypatch)
    (found,) = verify("captum", run="old", workspace=place)
    assert (found.layers, found.failures) == (("layer3", "layer4"), ())
    (found,) = verify(f"{bad}:explain", run="old", layer="layer3", workspace=place)
    assert {each.name for each in found.failures} >= {"hooks", "training-flags", "raw"}
    with pytest.raises(UsageError, match="'layr3' is not a layer"):
        verify("captum", run="old", layer="layr3", workspace=place)


# --- plain functions ----------------------------------------------------------------------------------------


def test_function_becomes_a_spec_that_claims_nothing_and_changes_its_revision_with_the_file(bad: str) -> None:
    spec = EXPLAINERS[f"{bad}:explain"]
    assert (spec.name, spec.source, spec.backend, spec.claims, spec.output) == ("explain", bad, "torch", "", "layer")
    assert EXPLAINERS[f"{bad}:explain"].revision == spec.revision
    Path(bad).write_text(BAD + "\n# changed")
    assert EXPLAINERS[f"{bad}:explain"].revision != spec.revision and 0 < spec.revision < 2**53  # as JSON keeps it


def test_partials_of_a_function_are_functions(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(
        "from functools import partial\n"
        "def explain(model, layers, images, targets, scale=1):\n    return scale\n"
        "Doubled = partial(explain, scale=2)\n"
    )
    spec = EXPLAINERS[f"{tmp_path}/part.py:Doubled"]
    assert (spec.name, spec.explain(None, (), None, None)) == ("doubled", 2)


# --- the pytest plug-in -------------------------------------------------------------------------------------


def test_fixture_fails_a_test_with_every_reason(conformance: Callable[..., None], bad: str) -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        conformance(f"{bad}:explain", layer="layer4")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "raw", "signed", "training-flags", "hooks", "error",
    ]  # fmt: skip


def test_fixture_runs_one_check_and_skips_what_does_not_apply(conformance: Callable[..., None], bad: str) -> None:
    conformance(f"{bad}:explain", "buffers", layer="layer4")
    with pytest.raises(pytest.fail.Exception, match="forward hook"):
        conformance(f"{bad}:explain", "hooks", layer="layer4")
    with pytest.raises(pytest.skip.Exception, match="does not claim"):
        conformance(f"{bad}:explain", "reference", layer="layer4")


@pytest.mark.slow
def test_each_check_becomes_a_test_of_its_own_for_an_author(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(conformance, conformance_check):\n"
        f"    conformance('{EXAMPLES}/my_explainer.py:HIRESCAM', conformance_check, layer='layer4')\n"
    )
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [name for name in CHECKS if f"test_mine[{name}]" not in done.stdout] == []


def test_plug_in_of_pytest_loads_no_torch() -> None:
    code = "import sys, bench.pytest_plugin; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
