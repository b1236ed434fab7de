"""`bench time` as a whole, on a small net: what is printed, stored and refused. No test asserts a time."""

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from command_line import call, done
from listening import Listener
from timing_factory import arm_of, make_timing
from tiny import RESIDUAL_FILE, TINY_FILE, tiny_data, write_images

import bench
from bench.commands import timing as measuring
from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import UsageError
from bench.nets.weights import build_seeded
from bench.registry.registry import Entry, Registry, discover
from bench.request import TimeRequest
from bench.store.timings import newest_timing, read_timing, read_timings
from bench.timing import peak_memory, rounds as timing_rounds, runner
from bench.timing.arms import Arm, ArmSpec, Subject, batch_of, copy_arm as real_copy
from bench.timing.environment import Ticks
from bench.timing.flops import Counted
from bench.timing.peak_memory import peak_of_process
from bench.timing.rounds import Take, WarmUp, Work
from bench.timing.runner import Effort, TimingRun, arm_timing, baseline_of, make_timing_run
from bench.workspace import Workspace

SMALL = ("--batch-size", "4", "--rounds", "6", "--layer", "layer4", "--no-memory")


def blocks_of(*seconds: float) -> Callable[[float], Take]:
    """Blocks of one call each, whose clock shows these seconds in turn, whatever the machine is busy with."""
    shown = cycle(seconds)

    def take(work: Work) -> tuple[int, list[float]]:
        work()
        return 1, [next(shown)]

    return lambda block: take


@pytest.fixture(autouse=True)
def even_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block takes 10 ms, and the large copy is a small one."""
    monkeypatch.setattr(runner, "taker", blocks_of(0.01))
    monkeypatch.setattr(runner, "copy_arm", lambda device: real_copy(device, mib=1))


def timed(runs: Path, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(done("time", *SMALL, *words, "--json", runs=runs).stdout)
    return answer


# --- what is printed and stored -----------------------------------------------------------------------------


def test_the_json_of_a_timing_holds_to_its_schema_and_so_does_the_file(tmp_path: Path) -> None:
    answer = timed(tmp_path, "--model", TINY_FILE, "--what", "forward,explain", "--explainer", "captum")
    schema = json.loads(call("schema", "timing").stdout)
    stored = json.loads(Path(answer["path"]).read_text())
    jsonschema.validate(answer, schema)
    jsonschema.validate(stored, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**stored, "arms": [{**stored["arms"][0], "rate": "fast"}]}, schema)
    assert {key: answer[key] for key in stored} == stored
    assert read_timing(Path(answer["path"])).id == stored["id"]


def test_every_arm_and_limit_has_two_blocks_in_every_round_in_turns_and_torchs_random_state_is_put_back(
    tmp_path: Path,
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    answer = timed(tmp_path, "--model", f"{TINY_FILE},{RESIDUAL_FILE}", "--what", "forward,train")
    assert torch.equal(before, torch.get_rng_state())
    arms = ["forward[tiny.py:TINY]", "forward[tiny.py:RESIDUAL]", "train[tiny.py:TINY]", "train[tiny.py:RESIDUAL]"]
    assert [arm["name"] for arm in answer["arms"][:4]] == arms
    rounds = [[each["arm"] for each in answer["samples"] if each["round"] == number] for number in range(1, 7)]
    halves = [(played[: len(played) // 2], played[len(played) // 2 :]) for played in rounds]
    assert all(there == back[::-1] and set(arms) < set(there) for there, back in halves)
    assert len({tuple(there) for there, _ in halves}) > 1  # another order in most rounds
    assert {(arm["n"], arm["settled"]) for arm in answer["arms"]} == {(6, True)}
    assert not any("settle" in note for note in answer["notes"])


def test_every_arm_and_limit_multiplies_fp32_as_maps_and_logits_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(block: float) -> Take:
        def take(work: Work) -> tuple[int, list[float]]:
            seen.append(torch.backends.fp32_precision)  # type: ignore[attr-defined]
            return 1, [0.01]

        return take

    monkeypatch.setattr(runner, "taker", watched)
    answer = timed(tmp_path, "--model", TINY_FILE, "--what", "forward,train,explain", "--explainer", "captum")
    assert set(seen) == {"ieee"} and len(seen) > 20 and answer["fp32"] == "ieee"


def test_warm_up_samples_are_kept_and_an_unsettled_arm_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing_rounds, "WARM_UP", 0.0)
    monkeypatch.setattr(runner, "taker", blocks_of(0.01, 0.02, 0.04))
    answer = timed(tmp_path, "--model", TINY_FILE, "--what", "forward")
    warm = [each["arm"] for each in answer["samples"] if each["round"] == 0]
    assert sorted(set(warm)) == sorted(arm["name"] for arm in answer["arms"])
    # no two blocks could agree
    assert not any(arm["settled"] for arm in answer["arms"])
    assert any(note.startswith("did not settle") for note in answer["notes"])


def test_explainers_are_timed_on_the_baseline_model_as_shipped_and_for_the_same_artefact(tmp_path: Path) -> None:
    answer = timed(
        tmp_path, "--model", f"{TINY_FILE},{RESIDUAL_FILE}", "--what", "explain", "--explainer",
        "gradcam,captum,reference,captum_shipped", "--baseline", "tiny.py:RESIDUAL", "--baseline", "captum",
    )  # fmt: skip
    arms = {arm["name"]: arm for arm in answer["arms"]}
    on = "tiny.py:RESIDUAL"
    assert [name for name in arms if "[tiny" in name] == [
        f"explain[{on},gradcam,layer4]", f"shipped[{on},gradcam,layer4]",
        f"explain[{on},captum,layer4]", f"shipped[{on},captum,layer4]",
        f"explain[{on},reference,layer4]", f"shipped[{on},reference,layer4]",
        f"explain[{on},captum_shipped,layer4]",
    ]  # fmt: skip
    assert arms[f"explain[{on},captum,layer4]"]["ratio"] is None
    assert arms[f"explain[{on},gradcam,layer4]"]["ratio"]["baseline"] == f"explain[{on},captum,layer4]"
    assert arms[f"shipped[{on},gradcam,layer4]"]["ratio"]["baseline"] == f"shipped[{on},captum,layer4]"
    floor = arms[f"explain[{on},captum,layer4]"]["floor_gflop"]
    assert 0 < floor <= arms[f"explain[{on},reference,layer4]"]["gflop"] * 1.0001
    assert floor < arms[f"shipped[{on},gradcam,layer4]"]["gflop"]


def test_the_plan_comes_before_anything_is_timed_and_the_path_last(tmp_path: Path) -> None:
    result = done("time", *SMALL, "--model", TINY_FILE, "--what", "forward", runs=tmp_path)
    first, plan = result.stderr.splitlines()[:2]  # a file's code is run, and that is said
    assert first.startswith("running ")
    assert (
        plan.startswith("1 measurement in up to 6 rounds, each forwards and backwards, batch 4") and ": about " in plan
    )
    path = Path(result.stdout.splitlines()[-1])
    assert path.parent == (tmp_path / "timing").resolve() and "baseline" in result.stdout


def test_a_timing_of_one_run_lies_in_its_folder_and_of_several_beside_them(tmp_path: Path) -> None:
    data = str(write_images(tmp_path / "data", tiny_data(train=8, test=4)))
    for run in ("one", "two"):
        call("train", "--model", TINY_FILE, "--data", data, "--run", run, "--epochs", "1", "--batch-size", "8",
             "--lr", "0.05", "--val", "0", runs=tmp_path)  # fmt: skip
    alone = timed(tmp_path, "--run", "one", "--what", "forward")
    assert Path(alone["path"]).parent == (tmp_path / "one" / "timing").resolve()
    assert len(alone["models"]["one"]["checkpoint"]) == 64
    both = timed(tmp_path, "--run", "one,two", "--what", "forward")
    assert Path(both["path"]).parent == (tmp_path / "timing").resolve()
    assert [arm["name"] for arm in both["arms"]][:2] == ["forward[one]", "forward[two]"]
    every = (*read_timings(tmp_path), *read_timings(tmp_path / "one"))
    assert newest_timing(every, {"one": alone["models"]["one"]["checkpoint"], "two": None}).id == both["id"]


# --- thresholds ---------------------------------------------------------------------------------------------


def test_a_threshold_that_broke_ends_with_3_and_prints_the_interval(tmp_path: Path) -> None:
    result = call("time", *SMALL, "--model", TINY_FILE, "--what", "forward", "--fail-if",
                  "forward[tiny.py:TINY] > 0.001", runs=tmp_path)  # fmt: skip
    assert (
        result.exit_code == 3
        and "error: broken: forward[tiny.py:TINY] > 0.001; forward[tiny.py:TINY] is" in result.stderr
    )
    assert "interval" in result.stderr and result.stdout.splitlines()[-1].endswith(".json")


@pytest.mark.parametrize(("strict", "code"), [((), 0), (("--strict",), 3)])
def test_what_five_rounds_cannot_decide_fails_only_when_strict(
    tmp_path: Path, strict: tuple[str, ...], code: int
) -> None:
    result = call("time", "--batch-size", "2", "--rounds", "5", "--no-memory", "--model", TINY_FILE, "--what",
                  "forward", "--fail-if", "forward[tiny.py:TINY] > 0.001", *strict, runs=tmp_path)  # fmt: skip
    assert result.exit_code == code and "undecided" in result.stdout + result.stderr
    assert "n too small" in result.stdout


# --- what is refused before anything is timed ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--fail-if", "forward[tiny.py:TIMY] < 3"), "did you mean 'forward[tiny.py:TINY]'"),
        (("--fail-if", "fast"), "cannot read the threshold"),
        (("--what", "forwrd"), "did you mean 'forward'"),
        (("--baseline", "captun"), "did you mean 'captum'"),
        (("--budget", "soon"), "--budget 'soon' is no time"),
        (("--budget", "0"), "--budget '0' is no time"),
        (("--rounds", "0"), "--rounds 0 is too few: 1 or more"),
        (("--batch-size", "0"), "--batch-size 0 is too few: 1 or more"),
        (("--layer", "layer44"), "did you mean 'layer4"),
        (("--explainer", "captun"), "did you mean 'captum'"),
        (("--model", TINY_FILE), "two models are called 'tiny.py:TINY'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_timed(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: TimingRun) -> None:
        raise AssertionError("timed")

    monkeypatch.setattr(TimingRun, "measure", never)
    base = ("time", "--model", TINY_FILE, *words)
    if message.startswith("two models"):
        copy = tmp_path / "tiny.py"
        copy.write_text(Path(TINY_FILE.rpartition(":")[0]).read_text())
        base = ("time", "--model", f"{TINY_FILE},{copy}:TINY")
    result = call(*base, runs=tmp_path)
    assert result.exit_code == 2 and message in result.stderr and "try:" in result.stderr


@pytest.mark.parametrize(
    ("named", "found"),
    [((), ("layer3",)), (("all",), ("layer2", "layer3", "layer4")), (("layer4.1", "layer4.1"), ("layer4.1",))],
)
def test_layers_are_the_last_but_one_or_all_or_those_named(named: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert measuring._layers(named, ("layer2", "layer3", "layer4")) == found
    assert measuring._layers((), ("only",)) == ("only",)


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300), ("90s", 90), ("5m", 300), ("2 min", 120), ("0.5h", 1800), (7, 7)]
)
def test_a_budget_is_read_in_seconds_minutes_and_hours(text: str | float, seconds: float) -> None:
    assert TimeRequest(budget=text).budget == seconds


@pytest.mark.parametrize("text", ["", "5 mins", "-5m", "m", "5m30s"])
def test_another_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        TimeRequest(budget=text)


# --- the machine --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("busy", "others", "notes"),
    [(10, 0.6, ["the machine was busy: others took 60% of it during the rounds"]), (4, 0.0, [])],
)
def test_that_the_machine_was_busy_is_said_and_stored_and_a_quiet_one_gets_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: int, others: float, notes: list[str]
) -> None:
    readings = iter([Ticks(0, 100, 0), Ticks(busy, 110, 4)])
    monkeypatch.setattr(runner, "ticks", lambda: next(readings))
    answer = timed(tmp_path, "--model", TINY_FILE, "--what", "forward")
    assert (answer["others"], [note for note in answer["notes"] if "busy" in note]) == (pytest.approx(others), notes)


# --- budget and memory, with a clock of numbers -------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "least", "rounds", "words"),
    [  # 20 s of warm-up, 8 s a round
        (100.0, 6, 9, "9 rounds, not 12, to keep within 100 s"),
        (30.0, 6, 6, "6 rounds take longer than the budget of 30 s"),
        (30.0, 3, 3, "3 rounds take longer than the budget of 30 s"),
    ],
)
def test_rounds_shrink_to_what_the_budget_leaves_after_the_warm_up_but_not_below_the_fewest(
    budget: float, least: int, rounds: int, words: str
) -> None:
    listener, subject = Listener(), Subject("a", "a", torch.nn.Identity(), 32)
    arms = {"a": Arm(ArmSpec("forward", "a"), lambda: None, None, 1)}
    run = TimingRun(
        Workspace(progress=listener), torch.device("cpu"), TimeRequest(rounds=12, budget=budget, memory=False),
        {"a": subject}, arms, {}, Effort(least=least), clock=lambda: 20.0,
    )  # fmt: skip
    assert run.fitted({"a": WarmUp((), True, 4.0)}) == rounds
    assert any(words in told for told in listener.said + listener.warned)


@pytest.mark.slow
def test_a_fresh_process_tells_its_peak_and_a_larger_batch_a_larger_one() -> None:
    subject = Subject("tiny", TINY_FILE, torch.nn.Identity(), 32)
    small, large = (peak_of_process(ArmSpec("train", "tiny"), subject, batch_size=size) for size in (1, 4096))
    assert large - small > 4096 * 3 * 32 * 32 * 4 / 2**20  # at least the batch itself


def test_a_process_that_fails_leaves_the_memory_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak_memory, "CODE", "raise SystemExit(1)  # {path} {order} {answer}")
    subject = Subject("none", "no_such_model", torch.nn.Identity(), 32)
    assert peak_of_process(ArmSpec("forward", "none"), subject, batch_size=1) is None
    assert peak_memory.resident_peak() is not None


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_of_an_arm_are_those_of_its_rounds() -> None:
    arm = arm_of(make_timing({"a": [0.04, 0.05, 0.04, 0.08, 0.04, 0.02, 0.04]}), "forward[a]")
    assert (arm.n, arm.rate) == (7, 100.0)  # four images in 0.04 s
    assert (arm.low, arm.high, arm.coverage) == (50.0, 200.0, pytest.approx(1 - 2 / 2**7))


def test_a_share_of_the_limit_is_taken_round_by_round() -> None:
    # the machine is twice as slow in every second round, and so is the arm: the share is the same in all
    seconds = [0.1, 0.2] * 4
    product = Arm(ArmSpec("product", "fp32"), lambda: None, None, 1000.0, "FLOP")
    copy = Arm(ArmSpec("copy"), lambda: None, None, 500.0, "bytes")
    own = Arm(ArmSpec("forward", "a"), lambda: None, None, 4, counted=Counted(flops=250.0, bytes=250.0))
    found = arm_timing(
        own, {"forward[a]": seconds, product.name: seconds, copy.name: seconds}, ratio=None, batch_size=4,
        settled=True, limits={product.name: product, copy.name: copy},
    )  # fmt: skip
    assert (found.of_product, found.of_copy) == (pytest.approx(0.25), pytest.approx(0.5))
    assert found.gflop == pytest.approx(250 / 4 / 1e9)


@pytest.mark.parametrize(
    ("baselines", "model", "explainer"),
    [((), "a", "gradcam"), (("b",), "b", "gradcam"), (("captum", "b"), "b", "captum"), (("captum",), "a", "captum")],
)
def test_models_are_compared_with_a_model_and_explainers_with_an_explainer(
    baselines: tuple[str, ...], model: str, explainer: str
) -> None:
    specs = [ArmSpec("forward", "a"), ArmSpec("forward", "b"), ArmSpec("train", "a"), ArmSpec("train", "b")]
    specs += [
        ArmSpec(what, "a", name, layer)  # type: ignore[arg-type]
        for name in ("gradcam", "captum")
        for what in ("explain", "shipped")
        for layer in ("layer3", "layer4")
    ]
    for spec in specs:
        own = spec.model if spec.what in ("forward", "train") else spec.explainer
        base = model if spec.what in ("forward", "train") else explainer
        found = baseline_of(spec, specs, baselines)
        expected = ArmSpec(spec.what, base) if not spec.layer else ArmSpec(spec.what, "a", base, spec.layer)
        assert found == ("" if own == base else expected.name)


def test_all_arms_are_made_on_one_batch() -> None:
    seen: list[int] = []
    nets = {}
    for name in (TINY_FILE, RESIDUAL_FILE):
        net = build_seeded(discover("model", ModelSpec)[name], 4, 0).eval()
        net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].data_ptr()))
        nets[name] = Subject(name, name, net, 32)
    made = make_timing_run([ArmSpec("forward", name) for name in nets], nets, {}, device=torch.device("cpu"),
                           request=TimeRequest(batch_size=3), place=Workspace())  # fmt: skip
    seen.clear()
    for arm in made.arms.values():
        arm.work()
    assert (len(seen), len(set(seen))) == (2, 1)
    assert batch_of(3, 32, torch.device("cpu")).shape == (3, 3, 32, 32)


def test_all_explainers_are_those_of_moderate_cost_and_one_that_fails_is_left_out(tmp_path: Path) -> None:
    plug_in = tmp_path / "own.py"
    plug_in.write_text(
        "from bench.contracts import ExplainerSpec\n"
        "def explain(model, layers, images, targets):\n    raise RuntimeError('not for this model')\n"
        "BAD = ExplainerSpec(name='bad', explain=explain, source='tests', backend='torch')\n"
    )
    chosen = {name: discover("explainer", ExplainerSpec).entries[name] for name in ("captum", "scorecam", "saliency")}
    entries = {**chosen, "bad": Entry("bad", f"{plug_in}:BAD", "", "tests")}

    class Own(Registry[ExplainerSpec]):
        def __getitem__(self, name: str) -> ExplainerSpec:
            return super().__getitem__(f"{plug_in}:BAD" if name == "bad" else name)

    place = Workspace(runs=tmp_path / "runs", progress=Listener(), explainers=Own("explainer", entries, ExplainerSpec),
                      models=discover("model", ModelSpec))  # fmt: skip
    done = bench.measure(TINY_FILE, what="explain", explainer="all", layer="all", batch_size=2, rounds=6, memory=False,
                         workspace=place)  # fmt: skip
    names, on = {arm.name for arm in done.timing.arms if arm.explainer}, "tiny.py:TINY"
    assert names >= {f"explain[{on},{each}]" for each in ("captum,layer3", "captum,layer4", "saliency,input")}
    assert not any("bad" in name or "scorecam" in name for name in names) and done.path.is_file()
    assert any(
        words.startswith(f"explain[{on},bad,layer3] is left out: not for this model") for words in place.progress.warned
    )
    with pytest.raises(RuntimeError, match="not for this model"):
        bench.measure(TINY_FILE, what="explain", explainer="bad", layer="layer4", batch_size=2, workspace=place)
