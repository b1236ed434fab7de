"""Models as people build them: wrapped, lazy, with heads beside, in files that import their neighbours."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import MissingError, UsageError
from bench.nets.weights import load_weights, on_device
from bench.registry.foreign_models import ForeignBuild, contiguous
from bench.registry.registry import Registry, discover


class Pair(NamedTuple):
    logits: Tensor
    aux: Tensor


class Net(nn.Module):
    """A net whose head answers in one of the ways that people know."""

    def __init__(self, classes: int, answer: Callable[[nn.Module, Tensor], object] = lambda net, z: z) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, classes)
        self.answer = answer

    def forward(self, images: Tensor) -> object:
        return self.answer(self, self.head(self.body(images).mean((2, 3))))


class Flat(Net):
    def forward(self, images: Tensor) -> object:
        maps = self.body(images)
        return self.head(maps.view(len(maps), -1)[:, :4])


class Outer(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.module = Net(classes)

    def forward(self, images: Tensor) -> object:
        return self.module(images)


def lazy(classes: int) -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(classes))


def conv_head(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, classes, 1))


BUILDS: dict[str, Callable[[int], nn.Module]] = {
    "plain": Net,
    "DataParallel": lambda classes: nn.DataParallel(Net(classes)),
    "compiled in DataParallel": lambda classes: nn.DataParallel(torch.compile(Net(classes))),  # type: ignore[arg-type]
    "a wrapper of one's own": Outer,
    "lazy": lazy,
    "convolution as head": conv_head,
    "view": Flat,
    "pair in training": lambda classes: Net(classes, lambda net, z: (z, z * 2) if net.training else z),
    "list": lambda classes: Net(classes, lambda net, z: [z, z * 2]),
    "dict of its own words": lambda classes: Net(classes, lambda net, z: {"seen": z.mean(), "classes": z}),
    "object": lambda classes: Net(classes, lambda net, z: SimpleNamespace(hidden=z[:, :2], logits=z)),
    "features first": lambda classes: Net(classes, lambda net, z: (z[:, :2], z, z * 2)),
    "dict": lambda classes: Net(classes, lambda net, z: {"aux": z * 2, "logits": z}),
    "named tuple": lambda classes: Net(classes, lambda net, z: Pair(z, z * 2)),
    "squeezed": lambda classes: Net(classes, lambda net, z: z.squeeze()),
}


@pytest.mark.parametrize("name", BUILDS)
def test_whatever_a_build_gives_answers_with_logits_and_opens_again(name: str) -> None:
    build = ForeignBuild(BUILDS[name], name, 8)
    model, again = on_device(build(5), torch.device("cpu")), build(5)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    inner = images.contiguous(memory_format=torch.channels_last)
    for mode in (True, False):
        model.train(mode)
        assert model(inner).shape == (3, 5)
    assert model(inner[:1]).shape == (1, 5)
    load_weights(again, model.state_dict())
    on_device(again, torch.device("cpu"))
    assert torch.allclose(model(inner), again.eval()(images), atol=1e-5)
    assert not any(key.startswith(("module.module", "_orig_mod")) for key in model.state_dict())
    assert (contiguous in model._forward_pre_hooks.values()) is (name == "view")


def test_one_logit_for_two_classes_is_half_of_each_with_its_sign() -> None:
    for answer in (lambda net, z: z, lambda net, z: z.squeeze(1), lambda net, z: z.squeeze()):
        plain = Net(1, answer)
        model = ForeignBuild(lambda classes, plain=plain: plain, "one", 8)(2)  # type: ignore[misc]
        images = torch.rand(3, 3, 8, 8)
        z = plain.head(plain.eval().body(images).mean((2, 3)))
        assert torch.allclose(model(images).softmax(1)[:, 1:], z.sigmoid(), atol=1e-6)
        assert model(images[:1]).shape == (1, 2)


def test_torchscript_and_what_is_no_module_are_refused() -> None:
    scripted = torch.jit.trace(Net(3).eval(), torch.zeros(1, 3, 8, 8), check_trace=False)
    for value, words in ((scripted, "TorchScript"), ("net", "builds a str")):
        with pytest.raises(MissingError, match=words):
            ForeignBuild(lambda classes, value=value: value, "x", 8)(3)  # type: ignore[misc]


# --- files --------------------------------------------------------------------------------------------------

BODY = """
from torch import nn
class Net(nn.Module):
    def __init__(self, width, num_classes=10, names=()):
        super().__init__()
        from late import STRIDE
        self.body = nn.Conv2d(3, width * WIDER, 3, STRIDE)
        self.head = nn.Linear(width * WIDER, num_classes)
    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))
"""


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Registry[ModelSpec]:
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules})
    return discover("model", ModelSpec)


def folder(root: Path, how: str, wider: int, *, package: bool = True) -> Path:
    """A folder of nets: net.py, and beside it what it imports."""
    (root / "kit").mkdir(parents=True)
    files = {"net.py": how + BODY, "blocks.py": f"WIDER = {wider}", "late.py": "STRIDE = 2"}
    for name, text in {**files, **({"__init__.py": "from .blocks import WIDER"} if package else {})}.items():
        (root / "kit" / name).write_text(text, encoding="utf-8")
    return root / "kit" / "net.py"


@pytest.mark.parametrize("package", [True, False])
@pytest.mark.parametrize(
    "how", ["from blocks import WIDER", "from .blocks import WIDER", "from kit.blocks import WIDER"]
)
def test_a_file_finds_its_neighbours_and_not_those_of_another_folder(
    how: str, package: bool, tmp_path: Path, models: Registry[ModelSpec]
) -> None:
    for wider in (2, 3):
        path = folder(tmp_path / str(wider), how, wider, package=package)
        spec = models[f"{path}:Net(width=4)"]
        assert spec.build(7).state_dict()["head.weight"].shape == (7, 4 * wider)
        assert spec.layers == ("body",)


def test_a_neighbour_called_bench_does_not_take_the_place_of_bench(tmp_path: Path, models: Registry[ModelSpec]) -> None:
    path = folder(tmp_path, "from bench.contracts import ModelSpec\nfrom blocks import WIDER", 1)
    (path.parent / "bench").mkdir()
    (path.parent / "bench" / "contracts.py").write_text("")
    assert models[f"{path}:Net(width=4)"].layers == ("body",)


def test_arguments_are_plain_values_given_by_name_and_never_guessed(
    tmp_path: Path, models: Registry[ModelSpec]
) -> None:
    net = f"{folder(tmp_path, 'from blocks import WIDER', 1)}:Net"
    assert models[f"{net}(width=6, names=('a', 'b@64'))@16"].input_size == 16
    wrong: dict[str, tuple[type[Exception], str]] = {
        "": (MissingError, "needs width"),
        "(depth=3, width=1)": (MissingError, "takes no depth"),
        "(6)": (UsageError, "no arguments with plain values"),
        "(width=__import__('os').getpid())": (UsageError, "no arguments with plain values"),
        "(width=6": (UsageError, "no arguments with plain values"),
    }
    for call, (kind, words) in wrong.items():
        with pytest.raises(kind, match=words) as error:
            models[net + call]
        assert getattr(error.value, "try_", "")


def test_commas_inside_of_brackets_part_nothing() -> None:
    from command_line import asked

    found: Any = asked("time", "--model", "a.py:N(width=1, names=(1,2)),timm:resnet18,b.py:M(x=[1,2])@64")
    assert found.model == ("a.py:N(width=1, names=(1,2))", "timm:resnet18", "b.py:M(x=[1,2])@64")
