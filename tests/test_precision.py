"""Which precision a device gets, and fp32 that stays fp32."""

import json
from collections.abc import Callable, Sequence
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from planted import spec_of
from torch import Tensor, nn

from bench.contracts import Silence
from bench.evaluation import predict
from bench.explaining.batches import explained
from bench.memory import Room
from bench.precision import best_precision, fp32_of, ieee, resolved_precision, slow_precision
from bench.scoring import occluded_answers, randomization
from bench.scoring.occluded_answers import answers_to

CPU, GPU, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
Make = Callable[..., None]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Make:
    def pretend(capability: tuple[int, int], name: str = "A GPU") -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)  # as torch says: it emulates

    return pretend


# --- auto ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "capability", "wanted"),
    [
        ("Tesla P100-PCIE-16GB", (6, 0), "fp32"),
        ("NVIDIA GeForce GTX 1080", (6, 1), "fp32"),
        ("Tesla V100-SXM2-16GB", (7, 0), "fp16"),
        ("Tesla T4", (7, 5), "fp16"),
        ("NVIDIA GeForce RTX 2080 Ti", (7, 5), "fp16"),
        ("NVIDIA TITAN RTX", (7, 5), "fp16"),
        ("NVIDIA GeForce GTX 1660 Ti", (7, 5), "fp32"),
        ("NVIDIA T1000 8GB", (7, 5), "fp32"),
        ("NVIDIA GeForce MX450", (7, 5), "fp32"),
        ("NVIDIA A100-SXM4-40GB", (8, 0), "bf16"),
        ("NVIDIA L4", (8, 9), "bf16"),
        ("NVIDIA T1000", (8, 9), "bf16"),
        ("NVIDIA H200", (9, 0), "bf16"),
        ("NVIDIA GeForce RTX 5090", (12, 0), "bf16"),
    ],
)
def test_auto_is_what_a_gpu_has_units_for(gpu: Make, name: str, capability: tuple[int, int], wanted: str) -> None:
    gpu(capability, name)
    assert resolved_precision("auto", GPU) == wanted
    assert f"{capability[0]}.{capability[1]}" in best_precision(GPU)[1]


@pytest.mark.parametrize(
    ("device", "tiles", "wanted"), [(CPU, True, "bf16"), (CPU, False, "fp32"), (MPS, True, "fp32")]
)
def test_auto_is_bf16_on_a_processor_with_tiles_alone(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, tiles: bool, wanted: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    assert resolved_precision("auto", device) == wanted


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
def test_a_precision_that_was_named_is_kept(name: str, gpu: Make) -> None:
    gpu((7, 5))
    assert {resolved_precision(name, device) for device in (CPU, GPU, MPS)} == {name}


@pytest.mark.parametrize(
    ("capability", "slow"), [((6, 0), ["bf16", "fp16"]), ((7, 5), ["bf16"]), ((8, 0), []), ((9, 0), [])]
)
def test_a_precision_that_a_gpu_has_no_units_for_is_told_with_what_auto_takes(
    gpu: Make, capability: tuple[int, int], slow: list[str]
) -> None:
    gpu(capability)
    said = {name: slow_precision(name, GPU) for name in ("auto", "fp32", "bf16", "fp16")}
    assert [name for name, words in said.items() if words] == slow
    assert all(words.endswith(f"--precision auto takes {best_precision(GPU)[0]}") for words in said.values() if words)


# --- fp32 ---------------------------------------------------------------------------------------------------


def switches() -> list[str]:
    backends: Any = torch.backends
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    every = (backends, cudnn, mkldnn, cudnn.conv, cudnn.rnn, backends.cuda.matmul, mkldnn.conv, mkldnn.matmul)
    return [each.fp32_precision for each in every]


def nothing() -> None:
    """As torch comes."""


def old_way() -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True


def medium() -> None:
    torch.set_float32_matmul_precision("medium")  # bf16 on a CPU


def by_hand() -> None:
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]


@pytest.fixture
def switches_put_back() -> Any:
    """Whatever a test switches, the next one finds torch as it comes."""
    yield
    backends: Any = torch.backends
    backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    for each in (backends.cuda.matmul, backends.mkldnn.matmul, backends.cudnn, backends.mkldnn):
        each.fp32_precision = "none"
    backends.cudnn.allow_tf32 = True


@pytest.mark.usefixtures("switches_put_back")
@pytest.mark.parametrize("switched", [nothing, old_way, medium, by_hand])
def test_fp32_is_ieee_within_and_every_switch_as_before_afterwards(switched: Callable[[], None], gpu: Make) -> None:
    gpu((8, 0))
    switched()
    before, kinds = switches(), [fp32_of(GPU), fp32_of(CPU)]
    assert switched is nothing or "tf32" in before
    with pytest.raises(KeyError), ieee():
        assert set(switches()) == {"ieee"}
        assert {*fp32_of(GPU).values(), *fp32_of(CPU).values()} == {"ieee"}
        with ieee():
            pass
        assert set(switches()) == {"ieee"}
        raise KeyError
    assert switches() == before and [fp32_of(GPU), fp32_of(CPU)] == kinds


def test_a_thread_that_is_done_takes_ieee_fp32_from_no_other() -> None:
    before, inside, done = switches(), Event(), Event()

    def other() -> None:
        with ieee():
            inside.set()
            done.wait()

    thread = Thread(target=other, daemon=True)
    with ieee():
        thread.start()
        assert inside.wait(60)
    assert set(switches()) == {"ieee"}
    done.set()
    thread.join()
    assert switches() == before and "tf32" in before


class Switch:
    """As torch has them: one that nobody set follows the one above it."""

    def __init__(self, own: str, above: "Switch | None" = None) -> None:
        self.own, self.above = own, above

    @property
    def fp32_precision(self) -> str:
        return self.own if self.above is None or self.own else self.above.fp32_precision

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        self.own = value


def test_a_switch_that_nobody_set_follows_the_one_above_it_afterwards_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    above = Switch("none")
    follows, is_set = Switch("", above), Switch("tf32", above)
    monkeypatch.setattr("bench.precision._switches", lambda: (above, follows, is_set))
    with ieee():
        assert {each.fp32_precision for each in (above, follows, is_set)} == {"ieee"}
    above.fp32_precision = "bf16"
    assert (follows.fp32_precision, is_set.fp32_precision) == ("bf16", "tf32")


class Watched(nn.Module):
    """Logits (N, 2) of the mean colour; notes how fp32 is multiplied when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(2)), []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(set(switches()))
        return x.mean(dim=(1, 2, 3))[:, None] * self.weight


def asks(model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
    return {"input": model(images)[:, :1, None, None].detach().expand(*targets.shape, 4, 4).clone()}


def test_whoever_asks_for_the_truth_asks_in_ieee_fp32() -> None:
    net, images = Watched().eval(), torch.zeros(2, 3, 4, 4)
    statistics, spec = ((0.5,) * 3, (0.5,) * 3), spec_of(asks, output="input")
    predict(net, images.byte(), statistics, device=CPU, progress=Silence())
    explained(spec, net, ("input",), images, torch.zeros(2, 1, dtype=torch.int64))
    list(answers_to(net, images, rows=np.arange(2), sets=np.zeros(2, np.uint64), grid=(2, 2), room=Room(Silence())))
    assert len(net.seen) == 3 and net.seen == [{"ieee"}] * 3
    net(images)
    assert "tf32" in net.seen[-1]


def test_tf32_is_where_a_gpu_has_units_for_it(gpu: Make) -> None:
    gpu((7, 5))
    assert set(fp32_of(GPU).values()) == {"ieee"} == set(fp32_of(MPS).values()) == set(fp32_of(CPU).values())
    gpu((8, 0))
    assert fp32_of(GPU) == {"convolution": "tf32", "matrix product": "ieee"}


@pytest.mark.parametrize(("device", "said"), [("cpu", None), ("mps", None), ("cuda", "ieee")])
def test_answers_of_a_gpu_that_do_not_say_how_fp32_was_multiplied_are_asked_for_again(
    device: str, said: str | None
) -> None:
    trained: Any = SimpleNamespace(checkpoint="c" * 64, device=torch.device(device))
    heads = occluded_answers._head(trained, (2, 2)), json.loads(randomization._head(trained, spec_of(asks)))
    assert [head.get("fp32") for head in heads] == [said, said]
