"""Models of timm and torchvision that are no ResNet18: trained, explained, and refused where they have no grid."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from command_line import call, done

from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import UsageError
from bench.explaining.guard import guarded
from bench.explaining.plan import check_layers
from bench.nets.trained import Trained
from bench.nets.weights import build_seeded
from bench.registry.registry import discover
from bench.store.runs import read_record


@pytest.mark.parametrize(
    "name", ["timm:mobilenetv3_small_050@64", "timm:vit_tiny_patch16_224@64", "timm:efficientnet_b0@64"]
)
def test_two_libraries_agree_on_the_maps_of_a_net_that_is_no_resnet(name: str) -> None:
    spec = discover("model", ModelSpec)[name]
    net = build_seeded(spec, 10, 0).eval().requires_grad_(False)
    layers, explainers = spec.layers[-2:], discover("explainer", ExplainerSpec)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2], [3, 4]])
    first, second = (guarded(explainers[one], net, layers, images, targets) for one in ("gradcam", "captum"))
    for layer in layers:
        largest = float(first[layer].abs().max())
        assert first[layer].shape[:2] == (2, 2) and min(first[layer].shape[2:]) > 1 and largest > 0
        assert float((first[layer] - second[layer]).abs().max()) <= 1e-5 * largest


def test_a_layer_that_holds_no_positions_is_refused_with_the_layers_that_do() -> None:
    spec = discover("model", ModelSpec)["timm:vit_tiny_patch16_224@64"]
    record = SimpleNamespace(model="vit", size=64)
    run = cast("Trained", SimpleNamespace(model=build_seeded(spec, 10, 0), spec=spec, record=record))
    check_layers(run, [*spec.layers, "blocks.11", "patch_embed.proj"])
    with pytest.raises(UsageError, match=r"'head_drop' gives \(N, 192\).*with a grid: blocks\.11\.norm1"):
        check_layers(run, ["head_drop"])


@pytest.mark.slow
def test_a_resnet_of_timm_with_the_cifar_stem_is_trained_and_explained_at_its_last_stage(tmp_path: Path) -> None:
    done("train", "--model", "timm:resnet10t", "--stem", "cifar", "--data", "digits", "--epochs", "1",
         "--limit", "64", "--batch-size", "32", "--val", "0", "--run", "ten", runs=tmp_path)  # fmt: skip
    record = read_record(tmp_path / "ten")
    assert (record.model, record.data.size) == ("timm:resnet10t@cifar", 32)
    done("explain", "--model", "timm:resnet10t", "--layer", "layer4", "--limit", "2", runs=tmp_path)
    assert sorted(path.stem for path in (tmp_path / "ten" / "explain").glob("*/*.npz")) == ["layer4", "layer4"]


def test_libraries_stand_in_the_list_of_models_and_layers_are_found_by_a_forward() -> None:
    assert "timm:NAME" in call("list", "models").stdout and "torchvision:NAME" in call("list", "models").stdout
    rows = json.loads(call("list", "layers", "--model", "timm:vit_tiny_patch16_224", "--json").stdout)["layers"]
    assert rows[0] == {"name": "patch_embed.proj", "map": "2x2", "channels": 192, "default": ""}
    assert [row["name"] for row in rows if row["default"]] == ["blocks.11.norm1"]
    assert {"blocks.0", "norm"} <= {row["name"] for row in rows if row["map"] == "2x2"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "timm:resnet4"), "did you mean"),
        (("--model", "timm:mobilenetv3_small_050", "--stem", "cifar"), "no conv1 and maxpool"),
        (("--model", "cifar_resnet18", "--stem", "cifar"), "is for ResNets of timm and torchvision"),
        (("--model", "timm:resnet18", "--stem", "small"), "there is no stem 'small'"),
    ],
)
def test_a_model_that_cannot_be_meant_leaves_no_run(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = call("train", *words, "--data", "digits", runs=tmp_path / "runs")
    assert result.exit_code in (2, 4), result.stdout
    assert said in result.stderr and result.stderr.splitlines()[0].startswith("error: ")
    assert not (tmp_path / "runs").exists()
