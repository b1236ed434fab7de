"""The folder to hand in: all that course projects show is in it, names stay text, and it is whole or not there."""

import csv
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from command_line import SHORT, call, done, names_in
from markdown_it import MarkdownIt
from PIL import Image
from tiny import RESIDUAL_FILE, tiny_data, write_images

from bench.reports.figures import paper, plots

HOSTILE = ("<img src=x onerror=alert(1)>", "=cmd|calc!A0", "| a | $x$ ![b](c) `", "four")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run on pictures whose classes have hostile names, and the folder of it to hand in."""
    folder = tmp_path_factory.mktemp("place")
    data = tiny_data(train=16, test=8)
    write_images(folder / "pictures", data, tuple(name.replace("/", "-") for name in HOSTILE))
    train = ("--model", RESIDUAL_FILE, "--data", str(folder / "pictures"), "--run", "a", *SHORT, "--val", "0.25")
    done("train", *train, "--translate", "2", "--flip", "random", runs=folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "DPI", 60)
        done("export", "a", "--to", str(folder / "handin"), "--n", "6", runs=folder / "runs")
    return folder


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of few pixels are drawn sooner."""
    monkeypatch.setattr(paper, "DPI", 60)


def text_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def table_of(folder: Path, name: str) -> list[list[str]]:
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def figure(name: str) -> Callable[[Path], bool]:
    """Whether a figure is there twice, not empty, and shown."""

    def holds(folder: Path) -> bool:
        with Image.open(folder / "figures" / f"{name}.png") as picture:
            colours = len(picture.convert("RGB").getcolors(2**24) or ())
        svg = (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        return colours > 20 and "<svg" in svg and f"](figures/{name}.png)" in text_of(folder)

    return holds


def says(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: re.search(pattern, text_of(folder)) is not None


# What the five course projects of this kind show, from their READMEs, notebooks and code.
SHOWN: dict[str, Callable[[Path], bool]] = {
    "model and parameters": says(r"\| model \| .*, [\d,]+ parameters"),
    "summary, layer by layer": lambda folder: len(table_of(folder, "layers")) > 8 and says("layer4.3.conv1 ")(folder),
    "sizes of outputs and parameters": says(r"MB of outputs forward and back, \d+\.\d\d MB of parameters"),
    "epochs and batch size": says(r"1 epoch in batches of 16"),
    "optimiser": says("sgd with momentum 0"),
    "schedule of the learning rate": says("learning rate rises from .* to .* and falls to"),
    "range test of the learning rate": says("range test .* `bench lr-find .*` makes one"),
    "loss": says("loss is the cross entropy of the logits"),
    "normalisation": says(r"Normalised by mean 0\.\d+, .* standard deviation 0\.\d+"),
    "train transforms": says("What the model sees: translate 2: .*, each image mirrored with probability one half"),
    "accuracy with its interval": says(r"\*\*\d+\.\d\d.% of 32 test images are right\*\* \(95 % interval"),
    "gap between training and test": says(r"\| training accuracy \| .* points to test"),
    "validation split": says("25 % of the training images were held out"),
    "accuracy by class": lambda folder: len(table_of(folder, "classes")) == 5 and figure("classes")(folder),
    "curves of loss and accuracy": figure("curves"),
    "log by epoch": lambda folder: len(table_of(folder, "log")) == 2 and "| epoch | training loss |" in text_of(folder),
    "confusion": lambda folder: len(table_of(folder, "confusion")) == 5 and figure("confusion")(folder),
    "misclassified pictures": lambda folder: len(table_of(folder, "errors")) == 7 and figure("errors")(folder),
    "maps at each layer": figure("maps"),
    "how fine they are": says(r"Maps of gradcam .*layer4 8x8, layer3 16x16"),
    "which class maps speak for": says("for the predicted class"),
    "a second method beside the first": figure("explainers"),
    "pictures of each class": figure("data"),
    "augmented pictures": figure("augmentation"),
    "weights and what makes them again": says(r"```sh\nbench train [^`]*\nbench export a .*--n 6"),
    "what to conclude and what not": says("What these figures do not say"),
}  # fmt: skip


@pytest.mark.parametrize("what", SHOWN)
def test_what_course_projects_show_is_in_the_folder(place: Path, what: str) -> None:
    assert SHOWN[what](place / "handin")


class Tags(HTMLParser):
    """What a page consists of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_renders_whole_and_names_of_classes_stay_text(place: Path) -> None:
    folder = place / "handin"
    page = Tags(MarkdownIt("commonmark", {"html": True}).enable("table").render(text_of(folder)))
    for name in HOSTILE:
        assert page.text.count(name) > 3, name
    images = [attributes for tag, attributes in page.found if tag == "img"]
    assert {tag for tag, _ in page.found} <= {
        "h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "img", "a", "ul", "li", "code", "pre",
        "details", "summary",
    }  # fmt: skip
    links = [
        str(attributes.get("src") or attributes.get("href")) for tag, attributes in page.found if tag in ("img", "a")
    ]
    named = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()} - {"README.md"}
    assert set(links) <= named and len(images) == len(list((folder / "figures").glob("*.png")))
    assert named - set(links) <= {f"tables/{name}.csv" for name in ("layers", "settings")}
    rows = [row for row in text_of(folder).splitlines() if row.startswith("| ")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) > 2 for row in rows)


def test_no_cell_of_a_table_starts_a_formula(place: Path) -> None:
    folder = place / "handin"
    rows = [row for path in (folder / "tables").glob("*.csv") for row in table_of(folder, path.stem)]
    cells = [cell for row in rows for cell in row]
    assert "'=cmd|calc!A0" in cells and not [cell for cell in cells if cell.startswith(("=", "@"))]


# --- whole or not there -----------------------------------------------------------------------------------------


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "runs", tmp_path / "runs"))


def test_a_folder_that_holds_something_is_left_alone_and_another_name_is_offered(copy: Path, tmp_path: Path) -> None:
    taken = tmp_path / "handin"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    result = call("export", "a", "--to", str(taken), runs=copy)
    assert result.exit_code == 2 and [each.name for each in taken.iterdir()] == ["mine.txt"]
    assert f"--to {taken}-2" in result.stderr.splitlines()[-1]


def test_nothing_is_left_of_a_folder_that_could_not_be_finished(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "handin").mkdir()
    monkeypatch.setattr(plots, "curves", fails)
    result = call("export", "a", "--to", str(tmp_path / "handin"), "--n", "6", runs=copy)
    assert (result.exit_code, f"{tmp_path}/handin cannot be written" in result.stderr) == (1, True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["handin", "runs"]
    assert not any((tmp_path / "handin").iterdir())


# --- what is missing is said ------------------------------------------------------------------------------------


def test_without_the_data_set_the_rest_is_written_and_what_is_missing_is_said_with_its_command(
    copy: Path, place: Path, tmp_path: Path
) -> None:
    shutil.rmtree(copy / "a" / "explain")
    shutil.move(place / "pictures", tmp_path / "moved")
    try:
        result = done("export", "a", "--to", str(tmp_path / "handin"), "--n", "6", runs=copy)
        text, said = text_of(tmp_path / "handin"), " ".join(result.stderr.split())
        for words in ("Maps of gradcam are missing", "Pictures of the training images are missing"):
            assert words in text and words in said, words
        assert "bench explain" in text and "--data DATA" in text
        there = {each.stem for each in (tmp_path / "handin" / "figures").glob("*.png")}
        assert there == {"curves", "classes", "confusion", "calibration", "errors"}
    finally:
        shutil.move(tmp_path / "moved", place / "pictures")


@pytest.mark.slow
def test_weights_from_elsewhere_have_no_curves_and_say_so(place: Path, tmp_path: Path) -> None:
    words = ("--weights", str(place / "runs" / "a" / "checkpoint.safetensors"), "--model", RESIDUAL_FILE)
    done("adopt", *words, "--data", str(place / "pictures"), runs=tmp_path / "runs")
    run = names_in(tmp_path / "runs")[0]
    done("export", run, "--to", str(tmp_path / "handin"), "--n", "2", runs=tmp_path / "runs")
    assert "The weights were trained elsewhere." in text_of(tmp_path / "handin")
    assert not (tmp_path / "handin" / "figures" / "curves.png").exists()
    result = call("export", run, "--figure", "curves", "--to", str(tmp_path / "a.png"), runs=tmp_path / "runs")
    assert result.exit_code == 2 and "was trained elsewhere" in result.stderr
