"""The whole of bench on a pretended device: no mixed devices, and the host waits as rarely as is promised.

One GPU in every test run, the others where all tests run, and this machine's own GPU where there is one. What a device
refuses fails the test that asked for it.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pretended import Count, Machine, pretended
from pretended.steps import Steps
from real_gpu import real_gpu
from tiny import BUSY, QUICK, RESIDUAL, RESIDUAL_FILE, finished_run, tiny_data, write_images
from torch import Tensor, nn

from bench import api
from bench.clock import Stopwatch
from bench.commands.verify import small_trial
from bench.contracts import ExplainerSpec, Silence
from bench.data.datasets import load_dataset
from bench.errors import ContractError
from bench.evaluation import predict
from bench.explaining.batches import explained
from bench.explaining.guard import guarded
from bench.explaining.own_draws import own_draws
from bench.memory import Room
from bench.nets.tta import average_logits
from bench.nets.weights import build_seeded
from bench.precision import dtype_of, ieee
from bench.recipes.recipe import Recipe
from bench.registry.registry import discover
from bench.store.folder import RunFolder
from bench.store.paths import cell_path
from bench.timing.arms import ArmSpec, Subject, batch_of, copy_arm, make_arm
from bench.training.checkpoint import Keeper, State
from bench.training.loop import LOOKS, TrainSettings, train_model
from bench.training.lr_finder import find_rate
from bench.verifying.conformance import outcomes_of
from bench.verifying.toy_net import small_net
from bench.verifying.trial import Trial
from bench.workspace import Workspace

EXPLAINERS = discover("explainer", ExplainerSpec)
DATA = replace(tiny_data(train=16, test=8), mirror=True)
STEP = ("bench/training/loop.py", "bench/training/optim.py", "bench/training/loader.py", "bench/data/transforms.py")
MACHINES = {
    "cuda-8.0": {"kind": "cuda", "capability": (8, 0)},
    "cuda-6.0": {"kind": "cuda", "capability": (6, 0)},
    "cuda-7.5": {"kind": "cuda", "capability": (7, 5)},
    "cuda-9.0": {"kind": "cuda", "capability": (9, 0)},
    "mps": {"kind": "mps"},
}
FIRST = "cuda-8.0"
OWN = "this GPU"
NEAR = 1e-4  # of the largest value: how far the sums of a real GPU may be from those of a CPU


LATER = [pytest.param(name, marks=pytest.mark.slow) for name in MACHINES if name != FIRST]


@pytest.fixture(params=[FIRST, *LATER, *([OWN] if torch.cuda.is_available() else [])])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with real_gpu() if request.param == OWN else pretended(**MACHINES[request.param]) as found:
        yield found
    assert found.refused == []


def near(found: Tensor, wanted: Tensor) -> bool:
    """Whether two devices agree but for the order in which they add up."""
    return bool((found.cpu() - wanted.cpu()).abs().max() <= NEAR * wanted.abs().max())


def same(machine: Machine, found: Tensor, wanted: Tensor) -> bool:
    """Whether values of the machine are those of a CPU: the very bits where it is only pretended."""
    return torch.equal(found.cpu(), wanted.cpu()) if machine.exact else near(found, wanted)


def waits_at(count: Count, *files: str) -> int:
    """How often the host waited at lines of these files."""
    return sum(times for (_, place), times in count.waits.items() if place.rpartition(":")[0] in files)


# --- training ------------------------------------------------------------------------------------------------


class At(Keeper):
    """Keeps the state after so many steps, as well as when it is told to."""

    def __init__(self, step: int = -1) -> None:
        self.step, self.steps = step, 0
        self.states: list[State] = []

    def due(self) -> bool:
        self.steps += 1
        return self.steps == self.step

    def keep(self, state: State) -> None:
        self.states.append(state)


def trained(
    device: torch.device, recipe: Recipe, keeper: Keeper, *, net: nn.Module | None = None, **options: Any
) -> nn.Module:
    net = net or build_seeded(RESIDUAL, 4, 0)
    settings = TrainSettings(recipe, val=0.25)
    train_model(net, DATA, settings, device=device, progress=Silence(), keeper=keeper, **options)
    return net


def watched(machine: Machine, recipe: Recipe) -> Steps:
    """What was counted in a training."""
    with machine.counting() as count:
        keeper = Steps(count, of_epoch=48 // recipe.batch_size)
        trained(machine.device, recipe, keeper)
    return keeper


INGREDIENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {
        name: getattr(BUSY, name) for name in vars(QUICK) if name not in ("name", "epochs", "batch_size", "precision")
    },
    "adamw": {"optimizer": "adamw", "lr": 0.001},
    "random flips": {"flip": "random"},
    "auto": {"precision": "auto"},
    "cutout": {"cutout": 8},
    "no decay of norms": {"norm_decay": False, "weight_decay": 0.01},
    "biases": {"bias_scale": 8.0, "weight_decay": 0.01},
    "smoothing": {"label_smoothing": 0.2},
    "lookahead": {"lookahead": 2},
    "whitening": {"whiten": True},
    "zeros": {"zero_init": True},
    "sizes": {"sizes": ((16, 0.5),)},
}


@pytest.mark.parametrize("changes", INGREDIENTS.values(), ids=INGREDIENTS)
def test_no_step_waits_for_a_gpu_whatever_the_recipe(machine: Machine, changes: dict[str, Any]) -> None:
    steps = watched(machine, replace(QUICK, **{"batch_size": 4, **changes})).within
    looks = 12 // LOOKS["mps"] if machine.kind == "mps" else 0
    assert len(steps) == 2 * 11 and sum(each.waits.total() for each in steps) == 2 * looks, steps


def test_a_macs_gpu_is_waited_for_once_in_many_steps() -> None:
    with pretended("mps") as mac:
        steps = watched(mac, replace(QUICK, batch_size=2)).within
    assert [each.waits.total() for each in steps[:23]] == [int(step % LOOKS["mps"] == 0) for step in range(2, 25)]
    assert LOOKS["mps"] >= 10


def test_between_two_epochs_the_host_waits_less_than_ten_times(machine: Machine) -> None:
    for each in watched(machine, replace(BUSY, batch_size=16)).between:
        assert each.waits.total() < 10, each.waits


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_training_that_goes_on_in_mid_epoch_ends_as_if_it_had_never_stopped(machine: Machine, optimizer: str) -> None:
    recipe = replace(BUSY, epochs=2, optimizer=optimizer, lr=0.002)
    keeper = At(5)
    whole = trained(machine.device, recipe, keeper)
    (state,) = [each for each in keeper.states if each.step == 2]
    assert all(each.device.type == "cpu" for each in state.weights.values())
    again = trained(machine.device, recipe, At(), start=state)
    for name, value in again.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


def test_dropout_goes_on_with_the_numbers_of_the_device(machine: Machine) -> None:
    def dropping() -> nn.Module:
        net = build_seeded(RESIDUAL, 4, 0)
        net.layer3.append(nn.Dropout(0.3))
        return net

    keeper = At(5)
    whole = trained(machine.device, QUICK, keeper, net=dropping())
    torch.rand(7, device=machine.device)
    (state,) = [each for each in keeper.states if each.done == 5]
    again = trained(machine.device, QUICK, At(), net=dropping(), start=state)
    assert torch.equal(again.state_dict()["fc.weight"], whole.state_dict()["fc.weight"])


def test_the_learning_rate_is_looked_for_on_the_device(machine: Machine) -> None:
    net = build_seeded(RESIDUAL, 4, 0)
    settings = TrainSettings(replace(BUSY, precision="auto"), val=0.0)
    found = find_rate(net, DATA, settings, device=machine.device, progress=Silence(), steps=10)
    assert len(found.rates) >= 3 and next(net.parameters()).device.type == "cpu"


# --- evaluation ----------------------------------------------------------------------------------------------


def test_logits_and_their_averages_are_those_of_the_cpu(machine: Machine) -> None:
    net, images, statistics = lively_net(), DATA.test.images, (DATA.mean, DATA.std)

    def found(device: torch.device) -> dict[str, Tensor]:
        net.to(device)
        plain, _ = predict(net, images, statistics, device=device, progress=Silence())
        means = average_logits(
            net, images, plain, statistics, mirror=True, precision="fp32", device=device, room=Room(Silence())
        )
        return {"plain": plain, **means}

    with machine.counting() as count:
        there = found(machine.device)
    here = found(torch.device("cpu"))
    assert there.keys() == here.keys() and all(same(machine, there[name], here[name]) for name in here)
    assert count.waits.total() <= 60, count.waits


def lively_net() -> nn.Module:
    """A net whose batch norms have seen something."""
    net = build_seeded(RESIDUAL, 4, 0).train()
    net(torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    return net.eval()


# --- explainers ----------------------------------------------------------------------------------------------


def layers_of(spec: ExplainerSpec) -> tuple[str, ...]:
    return ("input",) if spec.output == "input" else ("layer3", "layer4")


def inputs_on(device: torch.device, count: int = 2) -> tuple[Tensor, Tensor]:
    """Images and targets."""
    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    return images.to(device), torch.tensor([[0, 1]] * count).to(device)


@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_maps_of_every_explainer_are_those_of_the_cpu_and_come_to_the_device(machine: Machine, name: str) -> None:
    spec, net = EXPLAINERS[name], lively_net()
    here = explained(spec, net, layers_of(spec), *inputs_on(torch.device("cpu")))
    with ieee():
        there = explained(spec, net.to(machine.device), layers_of(spec), *inputs_on(machine.device))
    for layer, maps in there.items():
        assert maps.device == machine.device
        if not spec.stochastic:
            assert same(machine, maps, here[layer])


def test_a_stochastic_explainer_has_the_same_maps_in_every_call_and_leaves_the_generators_alone(
    machine: Machine,
) -> None:
    spec, net = EXPLAINERS["gradient_shap"], lively_net().to(machine.device)
    first = explained(spec, net, ("input",), *inputs_on(machine.device))["input"]
    before = machine.generators[0].get_state()
    torch.rand(3, device=machine.device)
    moved = machine.generators[0].get_state()
    again = explained(spec, net, ("input",), *inputs_on(machine.device))["input"]
    assert torch.equal(again, first) and torch.equal(machine.generators[0].get_state(), moved)
    assert not torch.equal(before, moved)


def test_an_explainer_that_draws_from_the_gpus_own_generator_is_named_and_the_generator_put_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.explaining.side_effects.alone", lambda: True)  # whatever threads other tests left

    def drawing(model: nn.Module, layers: tuple[str, ...], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {layer: torch.rand(len(images), targets.shape[1], 4, 4, device=images.device) for layer in layers}

    spec = ExplainerSpec(name="drawing", explain=drawing, source="tests", backend="torch")
    before = machine.generators[0].get_state()
    with pytest.raises(ContractError, match=r"it drew from the GPU's global generator$"):
        guarded(spec, small_net().to(machine.device), ("layer4",), *inputs_on(machine.device))
    assert torch.equal(machine.generators[0].get_state(), before)
    assert own_draws(lambda: torch.rand(1, device=machine.device)) == {"the GPU's"}
    assert own_draws(lambda: torch.rand(1)) == {"torch's"}


class Looking(Stopwatch):
    """A stopwatch that notes what was counted while it ran."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.device)
        self.machine, self.counts = machine, []

    def running(self) -> Any:
        watch = super().running()

        class Both:
            def __enter__(both) -> None:
                watch.__enter__()
                both.counting = self.machine.counting()
                self.counts.append(both.counting.__enter__())

            def __exit__(both, *reason: Any) -> None:
                both.counting.__exit__(*reason)
                watch.__exit__(*reason)

        return Both()


def test_the_guard_waits_five_times_a_call_at_most_and_outside_of_every_clock(machine: Machine) -> None:
    spec, net, given = EXPLAINERS["reference"], small_net().to(machine.device), inputs_on(machine.device)
    with machine.counting() as bare:
        spec.explain(net, ("layer3", "layer4"), *given)
    watch = Looking(machine)
    with machine.counting() as whole:
        guarded(spec, net, ("layer3", "layer4"), *given, watch)
    assert whole.waits.total() - bare.waits.total() <= 5, whole.waits
    assert whole.operations.total() - bare.operations.total() <= 40, whole.operations
    (inside,) = watch.counts
    assert inside.operations == bare.operations
    assert waits_at(inside, "bench/explaining/guard.py", "bench/explaining/side_effects.py") == 0


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_methods_that_mask_channels_wait_once_a_batch(machine: Machine, name: str) -> None:
    spec, waits, batches = EXPLAINERS[name], [], []
    for count in (1, 5):
        net = small_net().to(machine.device)
        calls: list[int] = []
        net.register_forward_hook(lambda module, inputs, output, calls=calls: calls.append(len(output)))
        with machine.counting() as counted:
            spec.explain(net, ("layer4",), *inputs_on(machine.device, count))
        waits.append(counted.waits.total())
        batches.append(len(calls))
    assert batches[1] >= batches[0] + 4
    assert waits[1] - waits[0] <= batches[1] - batches[0], counted.waits


# --- commands ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained on the CPU, and its images."""
    root = tmp_path_factory.mktemp("origin")
    images = write_images(root / "images", tiny_data(train=16, test=8))
    data = load_dataset(str(images), cache=root / "cache", progress=Silence())
    finished_run(root / "runs" / "tiny-run", data, lr=1e-6)
    return root


@pytest.fixture
def place(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of the run, on a machine whose speed is known."""
    monkeypatch.setattr("bench.estimates.product_rate", lambda *rest: 1e12)
    shutil.copytree(origin / "runs", tmp_path / "runs")
    return Workspace(runs=tmp_path / "runs", cache=origin / "cache")


def test_a_run_is_trained_continued_and_evaluated_there(machine: Machine, place: Workspace, origin: Path) -> None:
    options: dict[str, Any] = {"data": str(origin / "images"), "device": machine.kind, "workspace": place}
    folder = api.train(RESIDUAL_FILE, recipe="fast20", epochs=2, batch_size=16, run="there", **options)
    record = RunFolder(folder).record
    assert record.status == "done" and record.environment.device_type == machine.kind
    scores = api.evaluate("there", device=machine.kind, workspace=place)
    assert scores.accuracy == record.results.accuracy


def test_explain_gives_the_cells_that_the_cpu_gives(machine: Machine, place: Workspace) -> None:
    found: dict[str, dict[tuple[str, str], np.ndarray]] = {}
    for device in (machine.kind, "cpu"):
        api.explain("tiny-run", explainer=["gradcam", "captum", "saliency"], which="all", limit=3, device=device,
                    workspace=place)  # fmt: skip
        cells = RunFolder(place.runs / "tiny-run").readable_cells()
        found[device] = {(cell.explainer, cell.layer): cell.raw for cell in cells}
        for cell in cells:
            cell_path(place.runs / "tiny-run", cell.explainer, cell.layer).unlink()
    assert len(found["cpu"]) == 5 and found["cpu"].keys() == found[machine.kind].keys()
    for key, maps in found["cpu"].items():
        there, here = (torch.from_numpy(each[key]) for each in (found[machine.kind], found["cpu"]))
        assert len(maps) >= 3 and same(machine, there, here)


def test_judge_trusts_there_what_it_trusts_here(machine: Machine, place: Workspace) -> None:
    found = api.judge("tiny-run", explainer=["reference", "captum"], limit=2, device=machine.kind, workspace=place)
    assert {one.verdict for one in found.judgement.verdicts} <= {"same", "same up to rounding"}, found


def test_faithfulness_and_the_sanity_check_run_there(machine: Machine, place: Workspace) -> None:
    options: dict[str, Any] = {"limit": 3, "sanity": 3, "device": machine.kind, "workspace": place}
    found = api.faithfulness("tiny-run", explainer="reference", layer="layer4", **options)
    assert found.sanity and any(row.explainer == "reference" for row in found.rows)


def test_pictures_of_ones_own_are_explained_there(machine: Machine, place: Workspace, origin: Path) -> None:
    picture = str(next((origin / "images" / "test").rglob("*.png")))
    found = api.explain_pictures([picture], run="tiny-run", device=machine.kind, workspace=place)
    assert found.page.is_file() and len(found.pictures) == 1


def trial_on(device: torch.device, name: str) -> Trial:
    trial = small_trial(name, ("layer4",))
    images, targets = trial.images.to(device), trial.targets.to(device)
    return replace(trial, model=trial.model.to(device), images=images, targets=targets)


@pytest.mark.parametrize("name", ["reference", "gradcam", "captum"])
def test_explainers_leave_nothing_behind_there(machine: Machine, name: str) -> None:
    assert not any(trial_on(machine.device, name).left.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reference", "gradcam", "captum"])
def test_the_conformance_kit_passes_with_everything_on_a_gpu(name: str) -> None:
    with pretended("cuda") as gpu:  # no Mac: the kit compares in float64
        assert [one for one in outcomes_of(trial_on(gpu.device, name)) if one.status == "failed"] == []
    assert gpu.refused == []


ARMS = {
    "forward": ArmSpec("forward", "m"),
    "train": ArmSpec("train", "m"),
    "explain": ArmSpec("explain", "m", "captum", "layer4", "captum"),
    "shipped": ArmSpec("shipped", "m", "gradcam", "layer4", "gradcam_shipped"),
}


@pytest.mark.parametrize("spec", ARMS.values(), ids=ARMS)
def test_what_is_timed_runs_there(machine: Machine, spec: ArmSpec) -> None:
    net = lively_net().to(machine.device).requires_grad_(False)
    explainers = {name: EXPLAINERS[name] for name in ("captum", "gradcam", "gradcam_shipped")}
    arm = make_arm(spec, Subject("m", RESIDUAL_FILE, net, 32), batch_of(4, 32, machine.device), explainers=explainers)
    with machine.counting() as count:
        arm.work()
    assert count.operations.total() > 10
    assert waits_at(count, "bench/explaining/guard.py", "bench/explaining/side_effects.py") == 0
    if spec.what in ("forward", "train"):
        assert count.waits == {}


def small_product(device: torch.device, precision: str) -> tuple[Any, float]:
    left = torch.randn(8, 8, device=device).to(dtype_of(precision))
    return lambda: left @ left, 2.0 * 8**3


@pytest.mark.slow
def test_a_timing_of_a_model_and_its_explainers_with_their_memory_runs_there(
    machine: Machine, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.timing.runner.taker", lambda block: lambda work: (work(), (1, [0.01]))[1])
    monkeypatch.setattr("bench.timing.arms.large_product", small_product)
    monkeypatch.setattr("bench.timing.runner.copy_arm", lambda device: copy_arm(device, mib=1))
    timing = api.measure(
        RESIDUAL_FILE, explainer=["gradcam", "reference"], batch_size=4, device=machine.kind, workspace=place
    ).timing
    memory = {arm.name: arm.memory_mb for arm in timing.arms if arm.what in ("forward", "train", "explain")}
    assert len(memory) == 4 and timing.device_type == machine.kind
    assert all((value or 0) > 0.01 if machine.kind == "cuda" else value is None for value in memory.values()), memory
