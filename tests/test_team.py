"""One training in several processes, as torchrun starts them: gloo, two processes, on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import call, done
from safetensors.torch import load_file
from tiny import BUSY, CPU, QUICK, TINY, TinyNet, tiny_data, write_images
from together import Grouped, Slow, every_training
from torch import nn

from bench.contracts import Silence
from bench.data.datasets import load_dataset
from bench.errors import DataError, RunError, StoreError, UsageError
from bench.evaluation import predict, score
from bench.nets.weights import build_seeded
from bench.pages.provenance import provenance
from bench.store.paths import CHECKPOINT, LOG, resume_files
from bench.store.runs import read_record
from bench.training.checkpoint import Keeper, State
from bench.training.fitting import check_fits
from bench.training.loader import Batches
from bench.training.loop import TrainSettings, choose_images, train_model
from bench.training.team import ALONE, Team, is_lost, launch, launched, norms_of, program, reaches_all

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RECIPE = ("--recipe", "cpu", "--precision", "fp32")
OPTIONS = (*RECIPE, "--batch-size", "16", "--epochs", "4", "--lr", "0.05", "--val", "0.25")
LONG = 300.0  # seconds, of a busy machine
TWO = [Team(rank, 2, rank, 2, "localhost") for rank in range(2)]
VARIABLES = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "first"}


# --- who has which part -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 16, 17, 31])
@pytest.mark.parametrize("world", [1, 2])
def test_parts_of_a_batch_are_all_of_it_and_no_row_twice(count: int, world: int) -> None:
    teams = [Team(rank, world) for rank in range(world)]
    rows = [row for team in teams for row in range(count)[team.part(count)]]
    assert rows == list(range(count)) and sum(team.share(count) for team in teams) == pytest.approx(1)


def test_a_batch_with_fewer_images_than_processes_is_refused_with_what_to_type() -> None:
    with pytest.raises(UsageError, match="a batch of 3 images is too small for 4 processes") as caught:
        Team(0, 4).part(3)
    assert caught.value.try_ == "--batch-size 32, or fewer processes"


@pytest.mark.parametrize("batch_size", [16, 13])
def test_parts_of_a_batch_see_the_pixels_that_the_whole_batch_would(batch_size: int) -> None:
    recipe, data = replace(BUSY, batch_size=batch_size), tiny_data()

    def batches(team: Team) -> Batches:
        part = team.part(batch_size)
        return Batches(data.train.images, recipe, mirror=True, seed=3, statistics=(data.mean, data.std), part=part)

    whole, parts = batches(ALONE), [batches(team) for team in TWO]
    for epoch in range(2):
        places, shared = whole.shuffled(), [each.shuffled() for each in parts]
        for step, batch in enumerate(places):
            assert torch.equal(torch.cat([each[step] for each in shared]), batch)
            seen = [each.inputs(mine[step], epoch) for each, mine in zip(parts, shared, strict=True)]
            assert torch.equal(torch.cat(seen), whole.inputs(batch, epoch))
    assert {shape[0] for each in parts for shape in each.shapes()} == {batch_size // 2, -(-batch_size // 2)}


# --- what torchrun says, and what is said of it -------------------------------------------------------------


def test_without_torchrun_or_with_one_process_of_it_there_is_no_team() -> None:
    assert launched({}) == launched({**VARIABLES, "WORLD_SIZE": "1"}) == ALONE
    assert all(launched({name: value for name, value in VARIABLES.items() if name != left}) == ALONE
               for left in VARIABLES)  # fmt: skip
    assert launched(VARIABLES) == Team(1, 4, 1, 4, "first")


def test_the_command_that_goes_on_starts_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert program() == ["bench"] and launch("bench train --lr 0.1") == "bench train --lr 0.1"
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert launch("bench train --lr 0.1") == "torchrun --nproc-per-node 4 -m -- bench train --lr 0.1"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert launch("bench train") == (
        "torchrun --nnodes 2 --node-rank 0 --master-addr first --nproc-per-node 2 -m -- bench train"
    )


@pytest.mark.parametrize("words", [["list", "runs"], ["explain", "--explainer", "reference"], ["doctor"]])
def test_other_commands_are_refused_under_torchrun(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**VARIABLES, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    result = call(*words)
    assert result.exit_code == 2
    assert f"torchrun has started 4 processes, and bench {words[0]} is for one" in result.stderr
    assert f"try: bench {' '.join(words)}" in result.stderr


def test_several_trainings_are_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**VARIABLES, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    result = call("train", "--data", "digits", "--seeds", "2")
    assert result.exit_code == 2 and "these are 2 trainings" in result.stderr
    assert "try: torchrun --nproc-per-node 4 -m -- bench train  # one in each call" in result.stderr


@pytest.mark.parametrize(("name", "words"), [("cuda:1", "is one device, and there are 2"), ("mps", "is one device")])
def test_one_device_for_several_processes_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TWO[0].device(name)


def test_each_process_takes_the_gpu_of_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    there, taken = 4, []
    monkeypatch.setattr("bench.training.team.gpus_found", lambda: (there, None))
    monkeypatch.setattr("bench.training.team.choose_device", lambda name, *_: taken.append(name))
    for name in ("auto", "cuda", "cpu"):
        TWO[1].device(name)
    there = 0
    TWO[1].device("auto")
    assert taken == ["cuda:1", "cuda:1", "cpu", "cpu"]
    there = 1
    with pytest.raises(UsageError, match="2 processes on this machine, and 1 GPU") as caught:
        TWO[1].device("auto")
    assert caught.value.try_ == "torchrun --nproc-per-node 1, or --device cpu"


# --- nets ---------------------------------------------------------------------------------------------------


class Own(nn.BatchNorm2d):
    pass


def test_what_batch_norms_see_of_a_shared_batch_is_known_by_kind_and_device() -> None:
    from timm import create_model

    gpu, net = torch.device("cuda"), TinyNet(4)
    assert [norms_of(net, gpu), norms_of(net, CPU), norms_of(Grouped(4), gpu)] == ["synchronised", "local", "none"]
    assert norms_of(create_model("regnety_002"), gpu) == "synchronised"
    net.layer3[1] = Own(8)
    assert norms_of(net, gpu) == "own"


def test_synchronised_norms_keep_names_weights_and_what_timm_does_after_them() -> None:
    from timm import create_model

    net = create_model("regnety_002", num_classes=4)
    names, weights = list(net.state_dict()), [id(each) for each in net.parameters()]
    before = net.eval()(torch.ones(1, 3, 32, 32))
    TWO[0].synchronise(net, torch.device("cuda"), None)
    norms = [each for each in net.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(each, nn.SyncBatchNorm) for each in norms)
    assert list(net.state_dict()) == names and [id(each) for each in net.parameters()] == weights
    assert torch.equal(net(torch.ones(1, 3, 32, 32)), before)


def test_a_layer_without_gradients_is_noticed() -> None:
    net = TinyNet(4)
    assert reaches_all(net, (8, 3, 32, 32))
    net.spare = nn.Linear(2, 2)
    assert not reaches_all(net, (8, 3, 32, 32))
    assert all(each.grad is None for each in net.parameters())


# --- states -------------------------------------------------------------------------------------------------


class At(Keeper):
    """Keeps the state after five steps."""

    def __init__(self) -> None:
        self.steps, self.states = 0, list[State]()

    def due(self) -> bool:
        self.steps += 1
        return self.steps == 5

    def keep(self, state: State) -> None:
        self.states.append(state)


@pytest.fixture(scope="module")
def state() -> State:
    """One of two processes, made of that of one."""
    keeper = At()
    settings = TrainSettings(QUICK, val=0.25)
    train_model(build_seeded(TINY, 4, 0), tiny_data(), settings, device=CPU, progress=Silence(), keeper=keeper)
    alone = keeper.states[1]
    right, loss_sum = alone.right // 2, alone.loss_sum / 2
    other = {"right": alone.right - right, "loss_sum": loss_sum, "cpu": torch.Generator().manual_seed(7).get_state()}
    return replace(alone, right=right, loss_sum=loss_sum, others=(other,))


def test_each_process_continues_from_its_own_sums_and_generators(state: State) -> None:
    first, second = (state.of(team) for team in TWO)
    assert (
        first is state and second.right is state.others[0]["right"] and second.loss_sum is state.others[0]["loss_sum"]
    )
    assert list(second.ambient) == ["cpu"] and second.ambient["cpu"] is state.others[0]["cpu"]


@pytest.mark.parametrize("world", [1, 3])
def test_another_number_of_processes_loses_nothing_of_the_sums(state: State, world: int) -> None:
    found = [state.of(Team(rank, world)) for rank in range(world)]
    assert sum(int(each.right) for each in found) == int(state.right + state.others[0]["right"])
    assert sum(float(each.loss_sum) for each in found) == pytest.approx(2 * float(state.loss_sum))
    assert [bool(each.ambient) for each in found] == [True, *[False] * (world - 1)]


def check(state: State) -> None:
    check_fits(state, build_seeded(TINY, 4, 0), QUICK, 12, CPU)


def test_a_state_of_several_processes_fits(state: State) -> None:
    check(state)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": torch.zeros(())}, "process 1 has cpu, loss_sum, more, right"),
        ({"right": torch.zeros(())}, "the sums of process 1 are of another kind"),
        ({"right": torch.tensor(81)}, "of 80 images right in 2 processes"),
        ({"right": torch.tensor(-1)}, "of 80 images right in 2 processes"),
        ({"loss_sum": torch.tensor(float("nan"))}, "a loss of nan in process 1"),
        ({"cpu": torch.zeros(3, dtype=torch.uint8)}, "its random numbers"),
    ],
)
def test_what_cannot_be_another_processs_own_is_refused(state: State, change: dict[str, Any], words: str) -> None:
    with pytest.raises(StoreError, match=words):
        check(replace(state, others=({**state.others[0], **change},)))


# --- failures -----------------------------------------------------------------------------------------------


def test_that_another_process_is_gone_is_told_from_other_failures() -> None:
    gone = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"
    assert is_lost(RuntimeError(gone)) and not is_lost(RunError(gone)) and not is_lost(RuntimeError("sizes differ"))


class Words:
    """What stands between processes: here one of them left word."""

    def __init__(self) -> None:
        self.left: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.left[key] = value

    def get(self, key: str) -> bytes:
        return self.left[key].encode()

    def check(self, keys: list[str]) -> bool:
        return set(keys) <= set(self.left)


def test_a_process_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.training.team.JOINING", timedelta(seconds=0.1))
    with pytest.raises(RunError, match="process 1, 2 of 3 did not start"):
        Team(0, 3, store=Words()).join()


@pytest.mark.parametrize("heard", [RuntimeError("gloo: Connection closed by peer"), KeyboardInterrupt()])
def test_the_first_process_tells_why_another_one_failed(heard: BaseException) -> None:
    first, second = (replace(team, store=Words()) for team in TWO)
    second = replace(second, store=first.store)
    before = signal.getsignal(signal.SIGTERM)
    try:
        for error in (KeyboardInterrupt(), RuntimeError("gloo: Connection reset by peer")):
            second.leave_word(error)  # no failures of its own
        if isinstance(heard, RuntimeError):
            with (
                pytest.raises(RunError, match="has ended or does not answer") as caught,
                first.hearing(lambda: "again"),
            ):
                raise heard
            assert caught.value.try_ == "again"
        second.leave_word(DataError("no images", try_="other ones"))
        with pytest.raises(RunError) as caught, first.hearing(lambda: "again"):
            raise heard
    finally:
        signal.signal(signal.SIGTERM, before)
    found = caught.value
    assert (found.message, found.try_, found.exit_code) == ("process 1 of 2: no images", "other ones", 4)
    assert "DataError: no images" in found.__notes__[0]


def test_another_failure_than_that_of_a_process_goes_on_as_it_is() -> None:
    for error in (RuntimeError("sizes differ"), KeyboardInterrupt(), DataError("no images")):
        with pytest.raises(type(error)) as caught, TWO[0].hearing(lambda: "again"):
            raise error
        assert caught.value is error


# --- torchrun itself ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("pictures"), tiny_data())


def words_of(net: str, pictures: Path, runs: Path, *more: str) -> list[str]:
    model = f"{HERE / 'together.py'}:{net}"
    return ["train", "--model", model, "--data", str(pictures), *OPTIONS, "--runs-dir", str(runs), *more]


def start(words: list[str], cache: Path, **variables: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(HERE), "BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    line = [*TORCHRUN, "-m", "--", "bench", *words]
    return subprocess.Popen(
        line, env={**environment, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, list[str]]:
    """The exit code, what was printed, and the lines on stderr that are bench's own."""
    try:
        out, errors = process.communicate(timeout=LONG)
    finally:
        process.kill()
    own = [
        line for line in errors.splitlines() if line.startswith(("error:", "  try:", "note:", "interrupted", "Cont"))
    ]
    return process.returncode, out, own


def in_epoch_two(log: Path) -> None:
    until = time.monotonic() + LONG
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < until, "no epoch ended"
        time.sleep(0.02)


def workers(process: "subprocess.Popen[str]") -> list[int]:
    """The process ids of what torchrun started, by rank."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = {}
    for number in children:
        variables = dict(
            part.split(b"=", 1) for part in Path(f"/proc/{number}/environ").read_bytes().split(b"\0") if part
        )
        ranks[int(variables[b"RANK"])] = int(number)
    return [ranks[rank] for rank in sorted(ranks)]


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one_in_float64(tmp_path: Path) -> None:
    out, environment = tmp_path / "out.pt", {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    line = [*TORCHRUN, str(HERE / "together.py"), str(out)]
    subprocess.run(line, env=environment, check=True, timeout=LONG, capture_output=True)
    shared, plain = torch.load(out), torch.Tensor.float
    with torch.random.fork_rng(devices=[]):
        try:
            alone = every_training(ALONE)
        finally:
            torch.Tensor.float = plain
    for name, found in alone.items():
        weights = shared[name]["weights"]
        apart = max((weights[key] - value).abs().max().item() for key, value in found["weights"].items())
        assert apart < 1e-12, f"{name}: {apart}"
        assert torch.allclose(torch.tensor(shared[name]["curve"]), torch.tensor(found["curve"]), rtol=1e-5)


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that two processes trained without a break."""
    root = tmp_path_factory.mktemp("whole")
    code, out, _ = ended(start(words_of("SLOW", pictures, root / "runs", "--run", "whole"), root / "cache"))
    assert code == 0 and out.count("whole: accuracy") == 1
    return root / "runs" / "whole"


def weights(folder: Path) -> bytes:
    return (folder / CHECKPOINT).read_bytes()


@pytest.mark.slow
def test_the_record_and_the_page_say_how_many_trained_and_what_norms_saw(whole: Path) -> None:
    on = json.loads((whole / "run.json").read_text())["environment"]
    assert (on["processes"], on["norms"]) == (2, "local")
    words = dict(provenance(read_record(whole))[1])["processes"]
    assert words == "2, each with a part of every batch; batch norms saw that part alone"
    assert words in (whole / "report.html").read_text()
    assert len((whole / LOG).read_text().splitlines()) == 4 and not resume_files(whole)


@pytest.mark.slow
def test_both_validate_the_net_that_the_first_one_keeps(whole: Path, pictures: Path, tmp_path: Path) -> None:
    point = json.loads((whole / LOG).read_text().splitlines()[-1])
    net = Slow(4)
    net.load_state_dict(load_file(whole / CHECKPOINT))
    data = load_dataset(str(pictures), cache=tmp_path, progress=Silence())
    _, kept = choose_images(data, TrainSettings(QUICK, val=0.25))
    logits, _ = predict(net, data.train.images[kept], (data.mean, data.std), device=CPU, progress=Silence())
    found = score(logits, data.train.labels[kept])
    assert found.total == 64 and found.loss == pytest.approx(point["val_loss"], rel=1e-5)
    assert found.accuracy == pytest.approx(point["val_accuracy"])


def broken_off(
    whole: Path, pictures: Path, root: Path, end: Callable[["subprocess.Popen[str]"], None]
) -> tuple[Path, int, list[str]]:
    """A run like the whole one that is ended in its second epoch; its exit code and bench's own lines."""
    folder = root / "runs" / "broken"
    # Three epochs of so long steps are left when the first one is in the log, also where the machine is busy.
    words = words_of("SLOW", pictures, root / "runs", "--run", "broken")
    process = start(words, root / "cache", STEP_OF_TEST="0.2")
    in_epoch_two(folder / LOG)
    end(process)
    code, out, lines = ended(process)
    assert not out and (folder / LOG).read_text().count("\n") < 4
    return folder, code, lines


def continued(folder: Path, cache: Path) -> list[str]:
    words = ["train", "--resume", folder.name, "--runs-dir", str(folder.parent)]
    code, _, lines = ended(start(words, cache))
    assert code == 0, lines
    return lines


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_state_and_two_processes_go_on_bit_for_bit(
    whole: Path, pictures: Path, tmp_path: Path, number: int
) -> None:
    folder, code, lines = broken_off(whole, pictures, tmp_path, lambda process: process.send_signal(number))
    command = f"torchrun --nproc-per-node 2 -m -- bench train --resume broken --runs-dir {folder.parent}"
    assert code != 0 and f"Continue: {command}" in lines and sum("interrupted" in line for line in lines) == 1
    assert read_record(folder).status == "interrupted"
    assert int(resume_files(folder)[0].stem.removeprefix("resume-")) > 12  # kept when it was asked to end
    assert not any("differ" in line for line in continued(folder, tmp_path / "cache"))
    assert weights(folder) == weights(whole)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_all_and_leaves_a_run_that_goes_on(
    whole: Path, pictures: Path, tmp_path: Path, rank: int
) -> None:
    folder, code, lines = broken_off(
        whole, pictures, tmp_path, lambda process: os.kill(workers(process)[rank], signal.SIGKILL)
    )
    assert code != 0
    if rank == 1:  # the first one tells of it
        told = [line for line in lines if line.startswith(("error", "  try"))]
        assert told[0] == "error: another process of this training has ended or does not answer" and len(told) == 2
        assert "torchrun --nproc-per-node 2 -m -- bench train --resume broken" in told[1]
    continued(folder, tmp_path / "cache")
    assert weights(folder) == weights(whole)


@pytest.mark.slow
def test_another_number_of_processes_goes_on_and_says_what_that_means(
    whole: Path, pictures: Path, tmp_path: Path
) -> None:
    folder, *_ = broken_off(whole, pictures, tmp_path, lambda process: process.terminate())
    result = done("train", "--resume", "broken", runs=folder.parent)
    assert "by 1 process from there on" in result.stderr and "trained by 2 processes up to step" in result.stderr
    assert "by 1 process from there on" in read_record(folder).notes[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "lr", "words"),
    [
        ("CERTAIN", "0.05", "error: the model gives probabilities, not logits"),
        ("BROKEN", "0.05", "error: process 1 of 2: ValueError: this part cannot be computed"),
        ("SLOW", "high", "error: --lr"),
    ],
)
def test_a_failure_is_told_once_in_two_lines(pictures: Path, tmp_path: Path, net: str, lr: str, words: str) -> None:
    line = words_of(net, pictures, tmp_path / "runs", "--run", "failed", "--lr", lr)
    process = start(line, tmp_path / "cache", LOG_OF_TEST=str(tmp_path / "runs" / "failed" / LOG))
    found, out, lines = ended(process)
    told = [each for each in lines if each.startswith(("error", "  try"))]
    assert found != 0 and not out and len(told) == 2 and told[0].startswith(words)
    if lr != "high":
        assert read_record(tmp_path / "runs" / "failed").status == "failed"
        assert read_record(tmp_path / "runs" / "failed").message in told[0]
