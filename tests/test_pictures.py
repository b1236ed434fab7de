"""Own pictures on a page of their own, and everything that can be wrong with what a user brings."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import call, done
from foreign_nets import Two
from PIL import Image
from tiny import TinyNet, tiny_data, write_images

from bench.contracts import ExplainerSpec
from bench.data.pictures import read_picture
from bench.data.transforms import prepare
from bench.explaining.guard import guarded
from bench.nets.trained import open_run
from bench.registry.registry import discover
from bench.store.files import read_npz
from bench.store.folder import RunFolder
from bench.workspace import Workspace

NETS = Path(__file__).with_name("foreign_nets.py")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adopted run of the net with layers `a` and `b`, made for 20x20 pictures of four classes."""
    folder = tmp_path_factory.mktemp("own")
    write_images(folder / "data", tiny_data(train=4, test=4), ("cat", "dog", "<b>owl", "eel"))
    torch.manual_seed(0)
    torch.save(Two(4).state_dict(), folder / "w.pth")
    done("adopt", "--weights", str(folder / "w.pth"), "--model", f"{NETS}:build", "--image-size", "20",
         "--data", str(folder / "data"), "--mean", "0.5", "--std", "0.25", "--run", "two",
         runs=folder / "runs")  # fmt: skip
    return folder / "runs"


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (50, 30)) -> Path:
    levels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    plain = Image.fromarray(levels[..., 0].astype(np.uint16) * 257 if mode == "I;16" else levels)
    (plain if mode in ("I;16", "RGBA") else plain.convert("RGB").convert(mode)).save(path)
    return path


def animated(path: Path) -> Path:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


# --- the page ------------------------------------------------------------------------------------------------


def test_own_pictures_get_a_page_of_their_own_and_no_data_set_is_read(runs: Path, tmp_path: Path) -> None:
    first, second = picture(tmp_path / "<i>cat.png"), picture(tmp_path / "b.jpg", size=(20, 20))
    result = done("explain", "--image", str(first), "--image", str(second), "--class", "dog", "--layer", "b", runs=runs)
    assert "resized from 50x30 to 20x20 (bilinear, antialiased, proportions not kept)" in result.stdout
    page = Path(result.stdout.splitlines()[-1])
    assert page.parent.parent == (runs / "two" / "images").resolve()
    text = page.read_text()
    assert "<i>cat" not in text and "&lt;i&gt;cat.png" in text and "no true class" in text
    twin = json.loads(page.with_name("page.json").read_text())
    assert [one["file"] for one in twin["pictures"]] == ["<i>cat.png", "b.jpg"]
    for one in twin["pictures"]:
        assert {(each["explainer"], each["layer"], each["target"]) for each in one["maps"]} == {
            (name, "b", target) for name in ("gradcam", "captum") for target in (one["top"][0][0], "dog")
        }


def test_maps_of_own_pictures_are_those_of_the_explainer_on_the_same_pixels(runs: Path, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    result = done("explain", "--image", str(path), "--class", "eel", "--explainer", "captum", "--layer", "a", runs=runs)
    arrays = read_npz(Path(result.stdout.splitlines()[-1]).with_name("maps.npz"), ("captum a", "targets", "logits"))
    trained = open_run(RunFolder(runs / "two"), "cpu", Workspace())
    small = Image.open(path).resize((20, 20), Image.Resampling.BILINEAR)
    inputs = prepare(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None], ((0.5,) * 3, (0.25,) * 3))
    captum = discover("explainer", ExplainerSpec)["captum"]
    raw = guarded(captum, trained.model, ("a",), inputs, torch.from_numpy(arrays["targets"]))["a"]
    assert arrays["captum a"].shape == (1, 2, 10, 10) and np.allclose(arrays["captum a"], raw.numpy(), atol=1e-6)
    assert arrays["targets"][0].tolist() == [int(arrays["logits"].argmax()), list(trained.classes).index("eel")]


def test_a_second_call_gets_a_folder_of_its_own(runs: Path, tmp_path: Path) -> None:
    words = ("explain", "--image", str(picture(tmp_path / "a.png")), "--layer", "b", "--explainer", "captum")
    first, second = (Path(call(*words, runs=runs).stdout.splitlines()[-1]) for _ in range(2))
    assert int(second.parent.name) == int(first.parent.name) + 1 and first.is_file() and second.is_file()


# --- conversions are stated ----------------------------------------------------------------------------------

STATED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "one pixel": (lambda path: picture(path / "p.png", size=(1, 1)), "enlarged from 1x1 to 20x20"),
    "12,000 pixels wide": (lambda path: picture(path / "p.png", size=(12_000, 10)), "resized from 12000x10 to 20x20"),
    "CMYK": (lambda path: picture(path / "p.jpg", "CMYK"), "converted to RGB from CMYK"),
    "16 bits": (lambda path: picture(path / "p.png", "I;16"), "16 bits a pixel scaled to 8"),
    "transparent": (lambda path: picture(path / "p.png", "RGBA"), "transparency dropped (RGBA)"),
    "grey": (lambda path: picture(path / "p.png", "L"), "converted to RGB from L"),
    "animated": (lambda path: animated(path / "p.gif"), "the first of 3 frames"),
}


@pytest.mark.parametrize("what", STATED)
def test_an_odd_picture_is_converted_and_that_is_said(what: str, runs: Path, tmp_path: Path) -> None:
    make, words = STATED[what]
    result = done("explain", "--image", str(make(tmp_path)), "--explainer", "captum", "--layer", "b", runs=runs)
    assert words in result.stdout and words in Path(result.stdout.splitlines()[-1]).read_text()


def test_a_photograph_is_read_as_the_camera_was_held(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    image.paste("red", (0, 0, 20, 20))
    image.getexif()[0x0112] = 6  # turned by a quarter: what is left in the file is above
    image.save(tmp_path / "p.png", exif=image.getexif())
    found = read_picture(tmp_path / "p.png", 20)
    assert found.size == (20, 40)
    assert found.pixels[:, 2, 10].tolist() == [255, 0, 0] and found.pixels[:, 17, 10].tolist() == [0, 0, 0]


def test_sixteen_bits_are_shown_by_the_range_of_the_training_or_else_by_their_own(tmp_path: Path) -> None:
    levels = np.array([[100, 200, 300], [400, 500, 600], [100, 100, 600]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "p.png")
    own, trained = read_picture(tmp_path / "p.png", 3), read_picture(tmp_path / "p.png", 3, (0.0, 400.0))
    assert own.pixels[0].tolist() == [[0, 51, 102], [153, 204, 255], [0, 0, 255]]
    assert trained.pixels[2].tolist() == [[64, 128, 191], [255, 255, 255], [64, 64, 255]]
    assert "100 to 600, its own values" in own.done[0] and "0 to 400, as in training" in trained.done[0]


# --- what cannot be used -------------------------------------------------------------------------------------


def huge(path: Path) -> Path:
    Image.new("1", (12_000, 12_000)).save(path)
    return path


def text(path: Path) -> Path:
    path.write_text("this is no picture\n")
    return path


def cut(path: Path, whole: Path) -> Path:
    path.write_bytes(whole.read_bytes()[:-200])
    return path


def weights(path: Path) -> Path:
    torch.save(TinyNet(4).state_dict(), path)
    return path


BAD: dict[str, tuple[Callable[[Path], tuple[str, ...]], str]] = {
    "a file without the attribute": (
        lambda path: ("list", "layers", "--model", f"{NETS}:bulid"), "did you mean 'build'"),
    "a file that is not there": (lambda path: ("list", "layers", "--model", f"{path}/no.py:build"), "no file"),
    "an attribute that is no model": (lambda path: ("list", "layers", "--model", f"{NETS}:NUMBER"), "is of type int"),
    "a function that builds no model": (
        lambda path: ("train", "--model", f"{NETS}:of_nothing", "--data", "digits"), "builds a str"),
    "a layer with no spatial output": (lambda path: ("explain", "--layer", "head"), "with a grid: a, b"),
    "a layer that is not there": (lambda path: ("explain", "--layer", "c"), "is not a layer"),
    "a truncated checkpoint": (
        lambda path: ("adopt", "--weights", str(cut(path / "cut.pth", weights(path / "w.pth"))), "--model",
                      f"{NETS}:build", "--data", "digits"), "not a complete checkpoint"),
    "another model's checkpoint": (
        lambda path: ("adopt", "--weights", str(weights(path / "w.pth")), "--model", f"{NETS}:build", "--data",
                      "digits"), "do not fit"),
    "a picture that is a text file": (
        lambda path: ("explain", "--image", str(text(path / "cat.png"))), "cannot be read as a picture"),
    "a picture that is cut off": (
        lambda path: ("explain", "--image", str(cut(path / "cut.png", picture(path / "p.png")))),
        "cannot be read as a picture"),
    "a picture that is not there": (lambda path: ("explain", "--image", str(path / "none.png")), "no file"),
    "a picture of 12,000 x 12,000 pixels": (
        lambda path: ("explain", "--image", str(huge(path / "huge.png"))), "12000x12000 pixels, the limit is"),
    "a good picture before a bad one": (
        lambda path: ("explain", "--image", str(picture(path / "p.png")), "--image", str(text(path / "t.png"))),
        "cannot be read as a picture"),
    "a class that the run does not know": (
        lambda path: ("explain", "--image", str(picture(path / "p.png")), "--class", "dgo"), "did you mean 'dog'"),
    "a class without a picture": (lambda path: ("explain", "--class", "dog"), "--class is for --image"),
    "a stem beside --resume": (
        lambda path: ("train", "--resume", "two", "--stem", "cifar"), "--stem cannot be used with --resume"),
    "test images beside own pictures": (
        lambda path: ("explain", "--image", str(picture(path / "p.png")), "--limit", "3"),
        "--limit cannot be used with --image"),
    "statistics that are no numbers": (
        lambda path: ("adopt", "--weights", str(weights(path / "w.pth")), "--std", "x"), "not made of numbers"),
    "a size that no picture has": (
        lambda path: ("train", "--model", f"{NETS}:build", "--image-size", "0", "--data", "digits"), "pictures of 0x0"),
    "a size the model cannot take": (
        lambda path: ("train", "--model", f"{NETS}:Fixed", "--data", "digits"), "cannot take one image (3, 32, 32)"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_clear_error_and_nothing_is_written(what: str, runs: Path, tmp_path: Path) -> None:
    make, words = BAD[what]
    before, command = sorted(runs.rglob("*")), make(tmp_path)
    result = call(*command, runs=runs)
    assert result.exit_code in (2, 4), result.stdout + result.stderr
    error = [line for line in result.stderr.splitlines() if not line.startswith("running ")]
    assert len(error) == 2 and error[0].startswith("error: ") and words in error[0], result.stderr
    assert error[1].startswith("  try: ") and sorted(runs.rglob("*")) == before
