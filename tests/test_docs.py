"""What README and docs say can be typed, followed and run."""

import inspect
import os
import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch
from command_line import application
from docs_commands import DOCS, ROOT, Line, bench_lines, fenced, make_targets, parse
from torch import Tensor, nn

import bench
from bench.contracts import ExplainerSpec, ModelSpec
from bench.explaining.guard import guarded
from bench.registry.registry import NAME, discover

LINES = sorted(
    {(path.name, line.text, line.in_fence) for path in DOCS for line in bench_lines(path.read_text(encoding="utf-8"))}
)
MODEL = f"{ROOT}/examples/my_model.py:TINY"
EXPLAINER = f"{ROOT}/examples/my_explainer.py:HIRESCAM"
LINK = re.compile(r"\]\(([^)\s]*?)(?:#([^)\s]*))?\)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root|tmp|mnt|Users|opt)\b")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bench.toml and no BENCH_ variable has a say."""
    monkeypatch.chdir(tmp_path)
    for variable in [each for each in os.environ if each.startswith("BENCH_")]:
        monkeypatch.delenv(variable)


# --- what can be typed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "text", "in_fence"), LINES)
def test_command_of_the_docs_parses(file: str, text: str, in_fence: bool) -> None:
    parse(Line(text, in_fence))


def test_docs_name_every_command() -> None:
    assert set(application().commands) <= {text.split()[0] for _, text, _ in LINES}


@pytest.mark.parametrize(
    "wrong",
    [
        "trian",
        "train --modle x",
        "train --model",
        "train --model cifar_resnet19",
        "train --model examples/no_such_file.py:TINY",
        "train --recipe examples/no_such_file.toml",
        "train --recipe corse",
        "train --epochs twenty",
        "explain --explainer captum,gradcamm",
        "show run RUN extra",
        "list model",
        "export RUN --figur gallery",
        "--vresion",
    ],
)
def test_checker_refuses(wrong: str) -> None:
    with pytest.raises(Exception, match=r".*"):
        parse(Line(wrong, in_fence=True))


def test_checker_finds_what_a_reader_would_type() -> None:
    fence = "```sh\n$ bench list runs  # all\n.venv/bin/bench train \\\n  --epochs 2 > log\n```\n"
    text = fence + "and `bench rm RUN`, `bench`.\n"
    found = [line.text.split("#")[0].split() for line in bench_lines(text)]
    assert found == [["list", "runs"], ["train", "--epochs", "2", ">", "log"], ["rm", "RUN"]]
    assert parse(bench_lines(text)[1])["epochs"] == 2


def test_parsing_runs_no_command(tmp_path: Path) -> None:
    for command in ("demo", "report"):
        parse(Line(command, in_fence=True))
    assert list(tmp_path.iterdir()) == []


def test_make_targets_of_the_docs_exist() -> None:
    there = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set().union(*(make_targets(path.read_text(encoding="utf-8")) for path in DOCS))
    assert {"demo", "test", "lint"} <= named <= there


def test_settings_of_the_readme_are_accepted(tmp_path: Path) -> None:
    (settings,) = fenced((ROOT / "README.md").read_text(encoding="utf-8"), "toml")
    (tmp_path / "bench.toml").write_text(settings, encoding="utf-8")
    found = parse(Line("train", in_fence=True))
    assert (found["epochs"], str(found["runs_dir"])) == (5, "results")


def test_first_screen_of_the_readme_holds_picture_commands_and_what_comes_out() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:32])
    wanted = ["docs/one-image.png", "make demo", "make test", "one HTML file", "offline", "no account", "bench train"]
    assert [each for each in [*wanted, "bench explain", "bench compare"] if each not in first_screen] == []


def test_python_of_the_readme_uses_what_there_is() -> None:
    (code,) = fenced((ROOT / "README.md").read_text(encoding="utf-8"), "python")
    asked: list[tuple[str, tuple[object, ...], dict[str, object]]] = []

    def stand_in(name: str) -> object:
        def call(*values: object, **options: object) -> Path:
            inspect.signature(getattr(bench, name)).bind(*values, **options)
            asked.append((name, values, options))
            return Path("runs") / f"{name}-{len(asked)}"

        return call

    exec(re.sub(".*import.*", "", code), {name: stand_in(name) for name in ("train", "explain", "compare")})
    assert [name for name, _, _ in asked] == ["train", "train", "explain", "compare"]
    assert asked[-1][1] == ("train-1", "train-2")


# --- what can be followed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    links = {link for link in LINK.findall(path.read_text(encoding="utf-8")) if not link[0].startswith("http")}
    there = {link: (path.parent / link[0]).resolve() if link[0] else path for link in links}
    assert [link for link, file in there.items() if not file.is_file()] == []
    assert [link for link, file in there.items() if link[1] and link[1] not in anchors(file)] == []


def anchors(path: Path) -> set[str]:
    """The anchors that a Markdown file's headings have on GitHub."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_docs_name_no_path_of_any_machine() -> None:
    files = [*DOCS, *(ROOT / "docs").glob("*.ipynb"), *(ROOT / "examples").glob("*.*")]
    assert [path.name for path in files if MACHINE_PATH.search(path.read_text(encoding="utf-8"))] == []


# --- what can be run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doc", "example"), [("add-a-model.md", "my_model.py"), ("add-an-explainer.md", "my_explainer.py")]
)
def test_doc_shows_the_whole_example(doc: str, example: str) -> None:
    shown = fenced((ROOT / "docs" / doc).read_text(encoding="utf-8"), "python")
    assert shown == [(ROOT / "examples" / example).read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    ("kind", "value_type", "doc"),
    [("model", ModelSpec, "add-a-model.md"), ("explainer", ExplainerSpec, "add-an-explainer.md")],
)
def test_plug_in_of_the_doc_is_found_by_its_name(
    kind: str, value_type: type, doc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = fenced((ROOT / "docs" / doc).read_text(encoding="utf-8"), "toml")
    ((group, points),) = tomllib.loads(settings)["project"]["entry-points"].items()
    about = tmp_path / "my_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    assert any(each.name == "my-package" for each in distributions())
    (name,) = points
    registry = discover(kind, value_type)
    assert NAME.fullmatch(name) and registry.entry(name).owner == "my-package"
    assert registry[name].name == name


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    """The example's net, frozen and in eval mode, as explainers get it."""
    torch.manual_seed(0)
    return discover("model", ModelSpec)[MODEL].build(4).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """(3, 3, 32, 32)."""
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_example_model_gives_logits_and_a_grid_at_every_layer(tiny: nn.Module, images: Tensor) -> None:
    spec = discover("model", ModelSpec)[MODEL]
    grids: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> None:
        tiny.get_submodule(name).register_forward_hook(
            lambda module, inputs, output: grids.update({name: tuple(output.shape)})
        )

    for name in spec.layers:
        note(name)
    assert tiny(images).shape == (3, 4)
    assert grids == {
        "layer1": (3, 16, 32, 32),
        "layer2": (3, 32, 16, 16),
        "layer3": (3, 64, 8, 8),
        "layer4": (3, 128, 4, 4),
    }


def test_example_explainer_keeps_the_contract(tiny: nn.Module, images: Tensor) -> None:
    spec = discover("explainer", ExplainerSpec)[EXPLAINER]
    targets = torch.tensor([[0, 1], [2, 2], [3, 0]])
    with torch.no_grad():
        maps = guarded(spec, tiny, ("layer4", "layer2"), images, targets)
    assert {name: tuple(raw.shape) for name, raw in maps.items()} == {
        "layer4": (3, 2, 4, 4),
        "layer2": (3, 2, 16, 16),
    }
    assert torch.equal(maps["layer4"][1, 0], maps["layer4"][1, 1])
    assert any(float(raw.min()) < 0 for raw in maps.values())


def test_example_map_at_the_last_stage_is_head_weight_times_activation(tiny: nn.Module, images: Tensor) -> None:
    spec = discover("explainer", ExplainerSpec)[EXPLAINER]
    targets = torch.tensor([[0, 1], [2, 2], [3, 0]])
    maps = guarded(spec, tiny, ("layer4",), images, targets)["layer4"]
    grid = tiny.layer4(tiny.layer3(tiny.layer2(tiny.layer1(images))))
    for image, row in enumerate(targets.tolist()):
        for column, target in enumerate(row):
            by_hand = sum(
                weight * channel for weight, channel in zip(tiny.head.weight[target], grid[image], strict=True)
            )
            assert torch.allclose(maps[image, column], by_hand / 16, rtol=1e-5, atol=1e-7)


def test_example_differs_from_grad_cam_below_the_last_stage(tiny: nn.Module, images: Tensor) -> None:
    registry = discover("explainer", ExplainerSpec)
    targets = torch.tensor([[0], [1], [2]])
    maps = {
        name: guarded(registry[name], tiny, ("layer3", "layer4"), images, targets) for name in (EXPLAINER, "captum")
    }
    gap = {layer: float((maps[EXPLAINER][layer] - maps["captum"][layer]).abs().max()) for layer in maps["captum"]}
    top = {layer: float(maps["captum"][layer].abs().max()) for layer in maps["captum"]}
    assert gap["layer4"] <= 1e-5 * top["layer4"] and gap["layer3"] > 0.1 * top["layer3"]
