"""Checkpoints of other programs: opened without running them, unwrapped, their keys renamed, poor matches refused."""

import argparse
import pickle
import re
import struct
import zipfile
from argparse import Namespace
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classic_train import Net
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.contracts import ModelSpec
from bench.errors import BenchError, MissingError, StoreError, UsageError
from bench.nets.foreign_files import USUAL, Foreign, chosen_sets, convert_pickle, read_foreign
from bench.nets.foreign_weights import best_matches, checked_match, fits
from bench.nets.weights import Match
from bench.registry.registry import Registry, discover


@pytest.fixture(scope="module")
def models() -> Registry[ModelSpec]:
    return discover("model", ModelSpec)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Of the classic script's net, with every entry its own values."""
    torch.manual_seed(0)
    net = Net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return dict(net.state_dict())


SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def only(found: Foreign) -> dict[str, Tensor]:
    """The first set of a file, which is the one that is taken."""
    return next(iter(found.sets.values()))


def best_match(model: nn.Module, state: dict[str, Tensor]) -> Match:
    return next(iter(best_matches(model, {"": state}).values()))


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


# --- reading -------------------------------------------------------------------------------------------------

WRAPPED: dict[str, Any] = {
    "plain": SMALL,
    "ordered": OrderedDict(SMALL),
    "state_dict": {"state_dict": SMALL, "epoch": 3},
    "net": {"net": SMALL, "acc": 93.5, "epoch": 199},
    "model in a model": {"model": {"state_dict": SMALL}, "lr": 0.1},
    "another name": {"my_weights": SMALL, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "a value beside the tensors": {**SMALL, "b": torch.zeros(1), "epoch": 3},
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_in_any_of_the_usual_wrappers(tmp_path: Path, content: object) -> None:
    found = only(read_foreign(saved(tmp_path / "w.pth", content)))
    assert equal({key: found[key] for key in SMALL}, SMALL)


def test_what_the_file_says_beside_its_weights_is_kept(tmp_path: Path) -> None:
    found = read_foreign(saved(tmp_path / "w.pth", WRAPPED["net"]))
    assert dict(found.said) == {"acc": 93.5, "epoch": 199}


@dataclass
class Trap:
    """Writes a file when it is unpickled the usual way."""

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "run")


def truncated(path: Path) -> Path:
    path.write_bytes(saved(path, SMALL).read_bytes()[:-300])
    return path


def script(path: Path) -> Path:
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def one_disk_of_two(path: Path) -> Path:
    """A zip file that says it is one of two, as is_zipfile does not like to hear."""
    end = b"PK\x05\x06"
    content = archive(path, **{"a.npy": b"a"}).read_bytes()
    return written(path, content.replace(end, struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2) + end))


def folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).touch()
    return path


def numbers(path: Path) -> Path:
    with path.open("wb") as file:
        np.savez(file, weight=np.ones(3))
    return path


DAMAGED: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "truncated": (truncated, "cut off or damaged", "complete copy"),
    "text": (lambda path: written(path, b"Not Found\n"), "is a text, which begins with 'Not Found'", "complete copy"),
    "page": (lambda path: written(path, b"\n<!DOCTYPE html><title>Virus scan warning"), "web page", "address of the"),
    "pointer": (lambda path: written(path, b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs", "git lfs pull"),
    "keras": (lambda path: written(path, b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5", "torch.save"),
    "gzip": (lambda path: written(path, b"\x1f\x8b\x08" + bytes(99)), "packed by gzip", "gunzip"),
    "zip": (lambda path: archive(path, a=b"a"), r"is a zip archive \(a\)", "unzip .*w.pth"),
    "bomb": (lambda path: archive(path, **{"data.pkl": bytes(10**6)}), "would unpack to 1,000,000 bytes", "as it was"),
    "a zip of odd names": (
        lambda path: written(path, archive(path, **{"a\u00e9b": b"a"}).read_bytes().replace(b"\xc3\xa9", b"\xe1b")),
        "cut off or damaged", "complete copy",
    ),
    "a zip on two disks": (one_disk_of_two, "cut off or damaged", "complete copy"),
    "numpy": (numbers, "archive of numpy", "numpy.load"),
    "pickle": (lambda path: written(path, pickle.dumps(SMALL)), "plain pickle", "pickle.load"),
    "numpy's pickle": (lambda path: written(path, pickle.dumps(np.ones(3))), "plain pickle", "pickle.load"),
    "onnx": (lambda path: written(path.with_suffix(".onnx"), b"\x08\x07pytorch" + bytes(9)), "onnx", "torch.save"),
    "empty": (lambda path: written(path, b""), "is empty", "complete copy"),
    "missing": (lambda path: path, "no file", "--weights"),
    "TorchScript": (script, "TorchScript archive", "torch.jit.load"),
    "folder": (lambda path: folder(path, "config.json", "model.safetensors"), "Hugging Face", "model.safetensors$"),
    "pieces": (lambda path: folder(path, "a.safetensors", "b.safetensors", "w.index.json"), "2 pieces", "save_pretr"),
    "sharded": (lambda path: folder(path, ".metadata", "__0_0.distcp"), "torch.distributed", "dcp_to_torch"),
    "no weights": (lambda path: folder(path, "notes.txt"), r"no weights \(notes.txt\)", "--weights"),
    "no tensors": (lambda path: saved(path, {"epoch": 3, "lr": 0.1}), "holds no weights: epoch, lr", "state_dict"),
    "no names": (lambda path: saved(path, [torch.ones(2)] * 3), "3 tensors without names", "state_dict"),
    "a number": (lambda path: saved(path, 3), "holds no weights: a int", "state_dict"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "words", "advice"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_without_whole_weights_is_called_what_it_is(
    tmp_path: Path, make: Callable[[Path], Path], words: str, advice: str
) -> None:
    path = make(tmp_path / "w.pth")
    with pytest.raises(MissingError, match=words) as error:
        read_foreign(path)
    assert str(path) in error.value.message and re.search(advice, error.value.try_)


def test_a_file_is_read_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    save_file(SMALL, tmp_path / "w.pth")
    torch.save(SMALL, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        assert sorted(only(read_foreign(tmp_path / name))) == sorted(SMALL)


def test_safetensors_are_read_and_refused_where_truncated(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(SMALL, path)
    assert sorted(only(read_foreign(path))) == sorted(SMALL)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StoreError, match="not a complete safetensors file"):
        read_foreign(path)


# --- full pickles --------------------------------------------------------------------------------------------


def full_pickle(path: Path, **more: object) -> tuple[Path, nn.Module]:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    net[1].running_mean.normal_()
    torch.save({"model": net, **more} if more else net, path)
    return path, net


def test_a_full_pickle_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    path, _ = full_pickle(tmp_path / "full.pth")
    with pytest.raises(StoreError, match=r"contains more than tensors \(torch\.nn\.modules") as error:
        read_foreign(path)
    assert error.value.try_.startswith(f"bench adopt --weights {path} --convert ")
    assert error.value.try_.split()[5].removesuffix(",").endswith("full-weights.safetensors")


@pytest.mark.parametrize("more", [{}, {"args": argparse.Namespace(lr=0.1), "best": object, "epoch": 3}])
def test_converting_takes_out_the_state_dict_of_a_pickled_module(tmp_path: Path, more: dict[str, object]) -> None:
    path, net = full_pickle(tmp_path / "full.pth", **more)
    out, wanted = tmp_path / "out.safetensors", dict(sorted(net.state_dict().items()))
    assert convert_pickle(path, out)[0] == len(wanted)
    assert equal(dict(sorted(load_file(out).items())), wanted)


class Settings(dict[str, Any]):
    """A dict of a kind of its own, as many programs keep their settings."""


@dataclass
class Stored:
    """A record with weights in it."""

    model: dict[str, Tensor]


class Learner:
    """Holds a net."""

    def __init__(self, model: object) -> None:
        self.model = model


class Slotted:
    """Keeps what it has without a dict."""

    __slots__ = ("model",)

    def __init__(self, model: object) -> None:
        self.model = model


class Marked(Tensor):
    """A tensor of a kind of its own."""


HELD: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "dict of a kind": lambda state: Settings(model=state), "inner dict": lambda state: {"model": Settings(state)},
    "defaultdict": lambda state: defaultdict(dict, {"model": state}), "dataclass": Stored, "attribute": Learner,
    "slots": Slotted, "objects in objects": lambda state: Learner(Settings(best=Stored(state))),
    "tensors of a kind": lambda state: {"model": {key: each.as_subclass(Marked) for key, each in state.items()},
                                        "more": Namespace(lr=1)},
    "parameters": lambda state: {"model": {key: nn.Parameter(each) for key, each in state.items()}, "x": Namespace()},
}  # fmt: skip


@pytest.mark.parametrize("kind", HELD)
def test_converting_finds_weights_in_whatever_object_holds_them(kind: str, tmp_path: Path) -> None:
    path, out = saved(tmp_path / "w.pth", HELD[kind](SMALL)), tmp_path / "out.safetensors"
    with pytest.raises(StoreError, match="contains more than tensors"):
        read_foreign(path)
    assert convert_pickle(path, out)[0] == len(SMALL)
    assert equal(only(read_foreign(out)), dict(sorted(SMALL.items())))


def test_a_parameter_with_attributes_is_not_lost(tmp_path: Path) -> None:
    """As nets with parts that want another learning rate have them."""
    net = nn.Linear(3, 2)
    net.weight._optim = {"lr": 0.1}  # type: ignore[attr-defined]
    torch.save(net, tmp_path / "w.pth")
    assert convert_pickle(tmp_path / "w.pth", tmp_path / "out.safetensors")[0] == 2
    assert torch.equal(load_file(tmp_path / "out.safetensors")["weight"], net.weight)


def test_the_wrappers_of_sharded_training_are_taken_off_anywhere_in_a_key() -> None:
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 2)), nn.Linear(2, 2))
    state = {
        key.replace("0.0.", "0._fsdp_wrapped_module.0.").replace("1.", "1._checkpoint_wrapped_module.", 1): each
        for key, each in net.state_dict().items()
    }
    assert equal(best_match(net, state).state, net.state_dict())


@pytest.mark.parametrize("legacy", [False, True])
def test_converting_runs_nothing_of_the_file(tmp_path: Path, legacy: bool) -> None:
    trap, out = tmp_path / "ran", tmp_path / "out.safetensors"
    value = {"state_dict": SMALL, "trap": Trap(trap), "more": [Trap(trap)]}
    torch.save(value, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(StoreError, match="contains more than tensors"):
        read_foreign(tmp_path / "evil.pth")
    assert convert_pickle(tmp_path / "evil.pth", out)[0] == len(SMALL)
    assert equal(dict(sorted(load_file(out).items())), dict(sorted(SMALL.items())))
    assert not trap.exists()


def test_the_trap_of_these_tests_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "ran")))
    assert (tmp_path / "ran").read_text() == "run"


def test_converting_takes_no_file_that_is_there_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    path, _ = full_pickle(tmp_path / "full.pth")
    (tmp_path / "out.safetensors").write_text("mine")
    for given, out, says in (
        (path, "out", "exists already"),
        (script(tmp_path / "s.pt"), "t", "TorchScript archive"),
        (truncated(tmp_path / "t.pth"), "t", "cut off or damaged"),
    ):
        with pytest.raises(BenchError, match=says):
            convert_pickle(given, tmp_path / f"{out}.safetensors")
    assert (tmp_path / "out.safetensors").read_text() == "mine" and not (tmp_path / "t.safetensors").exists()


# --- keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("cifar_resnet18", ""),
        ("torchvision_resnet18", ""),
        ("timm:resnet18@cifar", ""),
        *(("timm_resnet18", prefix) for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "backbone.")),
    ],
)
def test_the_classic_keys_fit_every_resnet18_and_give_the_classic_logits(
    models: Registry[ModelSpec], state: dict[str, Tensor], name: str, prefix: str
) -> None:
    model = models[name].build(10)
    match = best_match(model, {prefix + key: value for key, value in state.items()})
    checked_match(match, name, model)
    model.load_state_dict(match.state)
    classic = Net()
    classic.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        there, here = classic.eval()(images), model.eval()(images)
    assert torch.allclose(there, here, rtol=1e-5, atol=1e-5 * float(there.abs().max()))


def test_the_keys_of_the_libraries_fit_the_hand_written_net(models: Registry[ModelSpec]) -> None:
    state = models["timm_resnet18"].build(10).state_dict()
    net = models["cifar_resnet18"].build(10)
    match = best_match(net, state)
    assert "downsample is shortcut" in checked_match(match, "cifar_resnet18", net)[0]
    assert torch.equal(match.state["linear.weight"], state["fc.weight"])
    assert torch.equal(match.state["layer2.0.shortcut.1.running_var"], state["layer2.0.downsample.1.running_var"])


def test_counters_may_be_missing_and_a_few_entries_unexpected(state: dict[str, Tensor]) -> None:
    given = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    lines = checked_match(best_match(Net(), {**given, "total_ops": torch.zeros(1)}), "net", Net())
    assert any("1 unexpected (total_ops); left alone" in line for line in lines)
    assert any("20 missing" in line and "not needed" in line for line in lines)


POOR: dict[str, Any] = {
    "missing": (lambda state: {key: state[key] for key in state if key != "layer1.0.conv1.weight"}, "1 missing",
                "--model"),
    "another net": (lambda state: SMALL, "0 of 122 entries do", "--model"),
    "another head": (lambda state: {**state, "linear.weight": torch.zeros(100, 512), "linear.bias": torch.zeros(100)},
                     r"2 of another shape \(linear.weight \(100, 512\)", "all 100 outputs"),
    "another stem": (lambda state: {**state, "conv1.weight": torch.zeros(64, 3, 7, 7)}, r"\(64, 3, 7, 7\)",
                     "without --stem cifar"),
    "many more": (lambda state: {**state, **{f"x{each}": torch.zeros(1) for each in range(20)}}, "20 unexpected",
                  "--model"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words", "advice"), POOR.values(), ids=POOR)
def test_a_poor_match_is_refused_with_what_differs(
    state: dict[str, Tensor], change: Callable[[dict[str, Tensor]], dict[str, Tensor]], words: str, advice: str
) -> None:
    with pytest.raises(MissingError, match=words) as error:
        checked_match(best_match(Net(), change(state)), "net", Net())
    assert advice in error.value.try_


def test_two_keys_that_would_become_one_are_no_renaming() -> None:
    net = nn.Sequential(OrderedDict(fc=nn.Linear(2, 2)))
    state = {"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2), "linear.weight": torch.ones(2, 2)}
    assert float(best_match(net, state).state["fc.weight"].sum()) == 0


# --- several sets, and values that are no weights -------------------------------------------------------------

HALF = {key: value / 2 for key, value in SMALL.items()}


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def small_net() -> nn.Module:
    return nn.Sequential(OrderedDict(a=nn.Linear(3, 2)))


SEVERAL: dict[str, tuple[Any, list[str]]] = {
    "timm": ({"state_dict_ema": HALF, "epoch": 9, "state_dict": SMALL}, ["state_dict", "state_dict_ema"]),
    "EMA callback": ({"model": SMALL, "ema": {"module": HALF}}, ["model", "ema"]),
    "teacher and student": ({**prefixed("student.", SMALL), **prefixed("teacher.", HALF)}, ["student", "teacher"]),
    "Lightning with a criterion": (
        {"state_dict": {**prefixed("model._orig_mod.", SMALL), "criterion.weight": torch.ones(2)}}, ["state_dict.model"]
    ),
    "a backbone and its head": ({"backbone.a.weight": SMALL["a.weight"], "head.a.bias": SMALL["a.bias"]}, [""]),
    "a list": ([SMALL, {"lr": 0.1}], ["0"]),
    "an average with its count": ({**prefixed("module.", SMALL), "n_averaged": torch.tensor(3)}, [""]),
    "a part in DataParallel": ({key.replace("a.", "a.module."): value for key, value in SMALL.items()}, [""]),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_every_set_of_weights_is_found_and_the_usual_one_is_first(name: str, tmp_path: Path) -> None:
    content, labels = SEVERAL[name]
    foreign = read_foreign(saved(tmp_path / "w.pth", content))
    found = {label: match for label, match in best_matches(small_net(), foreign.sets).items() if fits(match)}
    assert [re.sub(r"\.?\b(_orig_mod|module)$", "", label) for label in found] == labels
    assert equal(next(iter(found.values())).state, SMALL)
    if len(labels) > 1:
        last = best_matches(small_net(), chosen_sets(foreign, labels[-1]))
        assert equal(next(iter(last.values())).state, HALF)
        with pytest.raises(UsageError, match="'nothing' leads to no weights"):
            chosen_sets(foreign, "nothing")


def test_sparse_and_pruned_weights_are_made_whole(tmp_path: Path) -> None:
    mask = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    state = {"a.weight_orig": SMALL["a.weight"], "a.weight_mask": mask, "a.bias": SMALL["a.bias"].to_sparse()}
    found = only(read_foreign(saved(tmp_path / "w.pth", state)))
    assert {*found} == {*SMALL}
    assert torch.equal(found["a.weight"], SMALL["a.weight"] * mask) and torch.equal(found["a.bias"], SMALL["a.bias"])


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        (torch.ones(2, dtype=torch.int8), "a.bias is int8"),
        (torch.ones(2, dtype=torch.bool), "a.bias is bool"),
        (torch.ones(2, dtype=torch.complex64), "a.bias is complex64"),
        (torch.tensor([1.0, torch.nan]), "a.bias holds values that are not finite"),
        (torch.ones(2, device="meta"), "a.bias has a shape but no values"),
        (torch.tensor([1.0, torch.nan]).to(torch.float8_e4m3fn), "a.bias holds values that are not finite"),
        (torch.tensor([1.0, torch.inf]).half(), "a.bias holds values that are not finite"),
    ],
    ids=str,
)
def test_values_that_no_model_computes_with_are_refused_by_name(bias: Tensor, words: str) -> None:
    with pytest.raises(MissingError, match=words):
        checked_match(best_match(small_net(), {**SMALL, "a.bias": bias}), "net", small_net())
    assert (
        checked_match(best_match(small_net(), {**SMALL, "a.bias": torch.ones(2).bfloat16()}), "net", small_net()) == ()
    )


def test_what_one_of_several_sets_says_is_not_said_of_another(tmp_path: Path) -> None:
    sets = {"best": {"model": SMALL, "acc": 0.9}, "last": {"model": SMALL, "acc": 0.5, "step": 3}, "epoch": 7}
    assert dict(read_foreign(saved(tmp_path / "w.pth", sets)).said) == {"epoch": 7, "step": 3}


def test_files_say_the_names_of_their_outputs(tmp_path: Path) -> None:
    for more in (
        {"class_to_idx": {"b": 0, "a": 1}}, {"classes": ["b", "a"]}, {"id2label": {0: "b", 1: "a"}},
        {"idx_to_class": {"1": "a", "0": "b"}}, {"meta": {"CLASSES": ("b", "a")}},
    ):  # fmt: skip
        assert read_foreign(saved(tmp_path / "w.pth", {"state_dict": SMALL, **more})).classes == ("b", "a")
    assert read_foreign(saved(tmp_path / "w.pth", {"state_dict": SMALL, "class_to_idx": {"b": 7}})).classes == ()


class Empty:
    """An object without attributes."""


Conf = namedtuple("Conf", "lr")


def knot() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = found
    for _ in range(40):
        found = {"a": found, "b": found}
    return found


ODD: dict[str, Any] = {
    "no attributes": Empty(), "named tuple": Conf(0.1), "Namespace": Namespace(lr=0.1, path=Path("x")), "set": {1, 2},
    "numpy": [np.float64(0.9), np.ones(3), np.dtype("f4")], "device": torch.device("cpu"),
    "defaultdict": defaultdict(list, x=[1]), "shared and endless": knot(),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_tensors_are_taken_out_from_beside_whatever_objects(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"more": ODD[name], USUAL[0]: SMALL, "trap": Trap(tmp_path / "sprung")})
    assert convert_pickle(path, tmp_path / "out.safetensors")[0] == len(SMALL)
    assert equal(only(read_foreign(tmp_path / "out.safetensors")), dict(sorted(SMALL.items())))
    assert not (tmp_path / "sprung").exists()


def test_arrays_are_tensors_too_and_of_several_sets_all_are_kept_apart(tmp_path: Path) -> None:
    arrays = {key: each.numpy() for key, each in SMALL.items()}
    moments = {"state": {0: {"exp_avg": torch.ones(2)}}, "args": Namespace(lr=0.1)}
    path = saved(tmp_path / "w.pth", {"model": arrays, "ema": {"module": SMALL}, "optimizer": moments})
    assert convert_pickle(path, tmp_path / "out.safetensors") == (4, ("model", "ema.module"))
    found = best_matches(small_net(), read_foreign(tmp_path / "out.safetensors").sets)
    assert [label for label, match in found.items() if fits(match)] == ["ema.module", "model"]


def test_converting_writes_no_more_than_a_file_can_hold(tmp_path: Path) -> None:
    value = {"a.weight": torch.ones(1).expand(2**40), "args": Namespace(lr=0.1)}
    with pytest.raises(StoreError, match="claims 4,398,046,511,104 bytes of weights"):
        convert_pickle(saved(tmp_path / "w.pth", value), tmp_path / "out.safetensors")


def test_a_sparse_tensor_that_claims_any_size_is_not_made_dense(tmp_path: Path) -> None:
    claim = torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.int64), torch.ones(1), (2**20, 2**20))
    found = only(read_foreign(saved(tmp_path / "w.pth", {"a.weight": claim, "a.bias": torch.ones(2)})))
    with pytest.raises(MissingError, match="of another shape"):
        checked_match(best_match(small_net(), found), "net", small_net())


def test_keys_that_would_become_one_without_their_wrappers_are_left_as_they_are() -> None:
    with pytest.raises(MissingError, match="do not fit"):
        twice = {"b.weight": torch.ones(1), "module.b.weight": torch.ones(1)}
        checked_match(best_match(small_net(), twice), "net", small_net())
