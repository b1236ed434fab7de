"""What was wanted, as one frozen value a verb. Standard library and plain values only.

Each field is written once, with its help, panel and metavar. The options of the command line, the keywords of the
public functions, the keys of bench.toml, the BENCH_ variables, what a run's record stores of the call, and every line
that offers a call to repeat, are derived from it.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Self

from bench.errors import UsageError
from bench.fields import (
    LOOK,
    START,
    TRUST,
    Explainers,
    Model,
    Models,
    Names,
    Numbers,
    Option,
    Paths,
    Request,
    Words,
    names,
    numbers,
)
from bench.registry.model_names import with_options
from bench.thresholds import read_threshold
from bench.whole_file import read_text

ALL = "all"
LIST_BYTES = 16 * 2**20  # of a file of ids or classes
LATEST = "latest"
MORE, RECIPE = "More options", "In place of the recipe's values"  # panels behind what most people need
SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
COUNTED = ("seeds", "stem", "image_size")  # what a single training says by its seed and its model's name
WHICH = ("wrong", "all")  # images
INITS = ("native", "shared")
WHATS = ("forward", "train", "explain")
CLASS_ORDERS = ("byte", "natural")
FORMATS = ("markdown", "csv", "latex")
TARGETS = ("predicted", "true", "both")  # classes that maps speak for
FIGURES = ("curves", "confusion", "classes", "calibration", "gallery", "compare")
OF_MAPS = "Pictures with maps"  # a panel
WIDTHS = ("one", "two")  # columns of a paper
COLOURS = ("viridis", "magma", "inferno", "plasma", "cividis", "gray", "jet")


# --- words to values ----------------------------------------------------------------------------------------


def _count(word: str) -> int | str:
    if word != ALL and (not word.isdecimal() or int(word) < 1):
        raise ValueError
    return word if word == ALL else int(word)


def _ids(word: str) -> tuple[int, ...]:
    words = _or_file(word).replace(",", " ").split()
    if not words or not all(each.isdecimal() for each in words):
        raise ValueError
    return tuple(map(int, words))


def _classes(word: str) -> tuple[str, ...]:
    lines = _or_file(word)
    words = lines.split(",") if lines == word else lines.splitlines()
    found = tuple(each.strip() for each in words if each.strip())
    if len(found) < 2:
        raise ValueError
    return found


def _or_file(word: str) -> str:
    # Path.is_file raises for a list that is longer than a name may be.
    return read_text(Path(word), LIST_BYTES, "replace") if os.path.isfile(word) else word  # noqa: PTH113


def _seconds(word: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?", word.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError
    return float(found[1]) * SECONDS[found[2]]


def _sizes(word: str) -> tuple[tuple[int, float], ...]:
    pairs = [] if word == "full" else [part.split(":") for part in word.split(",")]
    return tuple((int(edge), float(share)) for edge, share in pairs)


def _with_commas(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


COUNT = Words(_count, "neither a count nor 'all'", "300")
IDS = Words(_ids, "neither a list of test ids nor a file of them", "3,17 or a file of numbers", _with_commas)
CLASSES = Words(_classes, "not a list of two or more classes", "cat,dog or a file of names", _with_commas)
CHANNELS = Words(
    lambda word: tuple(map(float, word.split(","))),
    "not made of numbers",
    "0.5, or one value each of R,G,B",
    _with_commas,
)
RATE = Words(float, "no number", "0.1, or --lr 0.1,0.2 for two runs")
TIME = Words(_seconds, "no time", "5m", lambda seconds: f"{seconds / 60:.0f}m" if seconds % 60 == 0 else f"{seconds}s")
SIZES = Words(
    _sizes,
    "not a list of edge:share",
    "16:0.5,24:0.25, or --sizes full",
    lambda sizes: ",".join(f"{edge}:{share}" for edge, share in sizes) or "full",
)


# --- what several verbs share -------------------------------------------------------------------------------

LAYER = Option("Module such as layer3 or layer4.1.bn2. Can be repeated.", many=True, names="layers")
LAYERS = replace(LAYER, help="Module such as layer3 or layer4.1.bn2, or all. Can be repeated.")


@dataclass(frozen=True, kw_only=True)
class OnDevice(Request):
    """Where it is computed."""

    device: Annotated[str, Option("Where to compute: auto, cpu, cuda or mps.")] = "auto"


@dataclass(frozen=True, kw_only=True)
class OnEngine(OnDevice):
    """A verb whose work may be shared among workers."""

    on: Annotated[
        str,
        Option(
            "Where the work runs: local, local:N (processes), dask:ADDRESS or slurm:PARTITION.",
            panel=MORE,
            stored=False,
            names="engines",
        ),
    ] = "local"
    slurm: Annotated[str | None, Option("Options of SLURM jobs, such as gpus=1,time=2h.", panel=MORE, stored=False)] = (
        None
    )

    @property
    def shared(self) -> bool:
        """Whether workers are asked for."""
        return self.on != "local" or self.slurm is not None

    @property
    def own_device(self) -> str:
        """Where this process computes: with workers it only plans, which needs no GPU."""
        return "cpu" if self.shared else self.device


@dataclass(frozen=True, kw_only=True)
class OfRunsData(Request):
    """A verb that needs the images a run was made on."""

    data: Annotated[
        str | None, Option("Where the run's data set is now, if you moved it.", variable=False, names="data")
    ] = None


@dataclass(frozen=True, kw_only=True)
class OfData(Request):
    """A verb that takes a data set of any kind."""

    data: Annotated[
        str,
        Option("cifar10, digits, or a folder or archive of train/CLASS/* and test/CLASS/*.", names="data"),
    ] = "cifar10"


@dataclass(frozen=True, kw_only=True)
class Sized(Request):
    """A verb whose models may be given another size of pictures and another stem."""

    stem: Annotated[
        str | None,
        Option("cifar: first convolution 3x3, no max-pool; for ResNets of timm and torchvision.", panel=MORE),
    ] = None
    image_size: Annotated[int | None, Option("Edge in pixels of the images that the model gets.", panel=MORE)] = None

    def whole_name(self, model: object) -> str:
        """A model's name with the size and the stem asked for, as a run stores it."""
        return with_options(str(model), size=self.image_size, stem=self.stem)


@dataclass(frozen=True, kw_only=True)
class OfExplainers(Request):
    """A verb that takes explainers at layers."""

    explainer: Annotated[
        Explainers, Option("Name, FILE.py:NAME, or all. Can be repeated.", many=True, names="explainers")
    ] = ()
    layer: Annotated[Names, LAYERS] = ()


@dataclass(frozen=True, kw_only=True)
class Costly(OfExplainers):
    """The same, where `all` explainers may be too many."""

    slow: Annotated[bool, Option("With --explainer all: include those that cost over 200 forward passes.")] = False


@dataclass(frozen=True, kw_only=True)
class Paged(Request):
    """A verb whose page has one form or the other."""

    single_file: Annotated[bool, Option("Write one file, even above 10 MB.")] = False
    folder: Annotated[bool, Option("Write a folder: index.html and its files, even below 10 MB.")] = False
    max_images: Annotated[
        int | None,
        Option("Show at most N images in the gallery; else 2000, or 500 large ones. Tables cover all.", least=1),
    ] = None

    @property
    def form(self) -> str:
        """`single`, `folder` or `auto`."""
        if self.single_file and self.folder:
            raise UsageError("--single-file and --folder cannot be used together", try_="neither: one file up to 10 MB")
        return "single" if self.single_file else "folder" if self.folder else "auto"


def gate(example: str) -> Option:
    """The option of thresholds, which are refused here where they cannot be read."""

    def checked(text: str) -> str:
        read_threshold(text, example)
        return text

    shown = example.replace("[", "\\[")
    words = Words(checked, "", example)
    return Option(f'"{shown}": exit 3 if this is so. Can be repeated.', many=True, commas=False, words=words)


@dataclass(frozen=True, kw_only=True)
class Gated(Request):
    """A verb that may fail by what it found."""

    fail_if: Annotated[Names, gate("accuracy < 0.92")] = ()
    strict: Annotated[bool, Option("A --fail-if that is undecided fails, too.")] = False


def only_table(*names: str) -> Option:
    """The option that chooses one table."""
    return Option(f"Only this one: {', '.join(names[:-1])} or {names[-1]}.", choices=names, variable=False)


@dataclass(frozen=True, kw_only=True)
class Tabled(Request):
    """A verb whose tables can be printed to paste, or for programs."""

    format: Annotated[
        str | None,
        Option("Print tables to paste: markdown, csv (one table) or latex.", choices=FORMATS, variable=False),
    ] = None
    table: Annotated[str | None, only_table("runs", "classes")] = None

    @property
    def form_of_tables(self) -> str:
        """The format that was asked for; empty for none."""
        return self.format or ("markdown" if self.table else "")


@dataclass(frozen=True, kw_only=True)
class Planned(Request):
    """A verb that can say before what it would do."""

    dry_run: Annotated[bool, Option("Only say what would be done, and how long it would take.", stored=False)] = False


MODEL = Option("Name, timm:NAME, torchvision:NAME, or FILE.py:NAME (runs that file).", names="models")
RUN = Option("A run's name, latest, or its path.", argument=True, names="runs")
RUNS = Option("A run's name, latest, or its path. Can be repeated.", argument=True, many=True, names="runs")
LIMIT = Option("Take only N images (the same ones each time), or all.", words=COUNT, least=1)


def one_run(run: Names) -> str:
    """The only run of several; UsageError where there is not exactly one."""
    asked = names(run)
    if len(asked) != 1:
        raise UsageError(f"one run in each call, not {', '.join(asked) or 'none'}", try_="a call for each run")
    return asked[0]


# --- start --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DemoRequest(OnDevice):
    """Train three models on handwritten digits, find a wrong map, compare all. Offline, in minutes."""

    verb, panel = "demo", START


def _instead(help: str, panel: str | None = RECIPE, **more: Any) -> Option:  # noqa: ANN401
    return Option(help, panel=panel, of_recipe=True, **more)


@dataclass(frozen=True)
class TrainRequest(Sized, OfData, Planned, OnEngine):
    """Train a model and test it once, at the end. A run folder keeps everything."""

    verb, panel, example = "train", START, "bench train --model cifar_resnet18 --limit 10000 --recipe cpu"

    model: Annotated[Models, replace(MODEL, help=f"{MODEL.help} Can be repeated.", many=True)] = "cifar_resnet18"
    _: KW_ONLY
    recipe: Annotated[str, Option("Name from `bench list recipes`, or a TOML file.", names="recipes")] = "course"
    epochs: Annotated[int | None, _instead("Passes over the training images; else the recipe's.", None)] = None
    seed: Annotated[int, Option("Seed of weights, order, augmentation and validation split.")] = 0
    seeds: Annotated[int, Option("Train N runs with consecutive seeds.", least=1)] = 1
    limit: Annotated[int | None, Option("Train on only N images, balanced by class.")] = None
    resume: Annotated[
        str | None,
        Option("Continue an unfinished run: its name, or latest.", variable=False, stored=False, names="runs"),
    ] = None
    val: Annotated[float, Option("Share of the training images kept for validation; 0: none.", panel=MORE)] = 0.1
    init: Annotated[
        str,
        Option("Start weights: native (each model its own) or shared (the same in all).", panel=MORE, choices=INITS),
    ] = "native"
    pretrained: Annotated[
        str | None, Option("Start from existing weights: imagenet, a run, or a checkpoint.safetensors.", panel=MORE)
    ] = None
    run: Annotated[str | None, Option("Name of the new run.", panel=MORE, stored=False)] = None
    average: Annotated[bool, Option("At the end also test the mean over mirrored and shifted views.", panel=MORE)] = (
        True
    )
    skip_bad: Annotated[bool, Option("Skip images that cannot be read, and count them.", panel=MORE)] = False
    compile: Annotated[
        bool | None,
        Option("Use torch.compile; by default where it saves time.", panel=MORE, flag="--compile/--no-compile"),
    ] = None
    deterministic: Annotated[
        bool,
        Option(
            "Give the same bits each time on a GPU, too; slower.",
            panel=MORE,
            flag="--deterministic/--no-deterministic",
        ),
    ] = False
    batch_size: Annotated[int | None, _instead("Images in each step.")] = None
    optimizer: Annotated[Names, _instead("sgd or adamw. Can be repeated.", many=True)] = ()
    lr: Annotated[
        Numbers, _instead("Highest learning rate. Can be repeated.", many=True, words=RATE, metavar="<float>")
    ] = ()
    lr_start: Annotated[float | None, _instead("First learning rate, as a share of the highest.")] = None
    lr_end: Annotated[float | None, _instead("Last learning rate, as a share of the highest.")] = None
    warm_up: Annotated[float | None, _instead("Share of the steps in which the learning rate rises.")] = None
    momentum: Annotated[float | None, _instead("Momentum of SGD.")] = None
    weight_decay: Annotated[float | None, _instead("Weight decay of all parameters.")] = None
    precision: Annotated[str | None, _instead("auto, fp32, bf16 or fp16.")] = None
    norm_decay: Annotated[bool | None, _instead("Weight decay also of the scales of batch norms.")] = None
    bias_scale: Annotated[
        float | None, _instead("Learning rate of the biases of norms, as a multiple; divides their decay.")
    ] = None
    label_smoothing: Annotated[float | None, _instead("Share of each label that is spread over all classes.")] = None
    bn_momentum: Annotated[float | None, _instead("Weight of a new batch in running statistics.")] = None
    lookahead: Annotated[int | None, _instead("Steps between updates of the slow weights; 0: off.")] = None
    whiten: Annotated[bool | None, _instead("Start the first convolution from image patches.")] = None
    zero_init: Annotated[bool | None, _instead("Start each residual branch at zero.")] = None
    sizes: Annotated[
        str | Sequence[tuple[int, float]] | None,
        _instead("Smaller images first: EDGE:SHARE,... of the epochs, or full.", words=SIZES),
    ] = None
    flip: Annotated[str | None, _instead("Mirror images: none, random or alternating.")] = None
    translate: Annotated[int | None, _instead("Move images by up to N pixels; the border is reflected.")] = None
    cutout: Annotated[int | None, _instead("Edge in pixels of the square that is covered; 0: none.")] = None

    def changes(self) -> dict[str, Any]:
        """What was given in place of the recipe's values, by their names."""
        values = {each.name: getattr(self, each.name) for each in self.typed() if each.option.of_recipe}
        several = ("optimizer", "lr")
        return {
            **{name: value for name, value in values.items() if name not in several},
            **{name: next(iter(values[name]), None) for name in several},
        }

    def trainings(self) -> tuple[Self, ...]:
        """One request for each training: every model with every optimiser at every peak rate, from every seed."""
        models = [self.whole_name(name) for name in names(self.model)]
        every = list(product(models, names(self.optimizer) or [None], numbers(self.lr) or [None], range(self.seeds)))
        origins = self.every_origin()
        counted = {"seed": origins["seeds"]} if origins["seeds"] != "default" else {}
        return tuple(
            replace(
                self,
                model=model,
                stem=None,
                image_size=None,
                optimizer=optimizer or (),
                lr=() if lr is None else lr,
                seed=self.seed + number,
                seeds=1,
                run=self.run if self.run is None or len(every) == 1 else f"{self.run}-{index}",
                origins={**counted, **{name: one for name, one in self.origins.items() if name not in COUNTED}},
            )
            for index, (model, optimizer, lr, number) in enumerate(every, 1)
        )


@dataclass(frozen=True)
class AdoptRequest(Sized, OfData, OnDevice):
    """Make a run from weights that were trained elsewhere, and test it. No code of the file is run."""

    verb, panel = "adopt", START
    example = "bench adopt --weights ckpt.pth --model cifar_resnet18 --data cifar10"

    weights: Annotated[Path, Option("A .pt, .pth or .safetensors file.", variable=False, names="files")]
    _: KW_ONLY
    model: Annotated[Model, MODEL] = "cifar_resnet18"
    weights_key: Annotated[
        str | None, Option("In a file with several sets of weights: the key of the set to take.", variable=False)
    ] = None
    class_order: Annotated[
        str | None, Option("Order of the outputs: byte (10 before 2) or natural (2 before 10).", choices=CLASS_ORDERS)
    ] = None
    channels: Annotated[
        str, Option("Channel order that the model was trained on: rgb or bgr.", choices=("rgb", "bgr"))
    ] = "rgb"
    outputs: Annotated[
        str, Option("What the model returns: logits or probabilities.", choices=("logits", "probabilities"))
    ] = "logits"
    classes: Annotated[
        str | Sequence[str] | None,
        Option(
            "Class names in the order of the outputs: with commas, or a file with one a line.",
            words=CLASSES,
        ),
    ] = None
    mean: Annotated[
        str | Sequence[float] | None,
        Option("Mean that the images were normalised with: one value, or R,G,B.", words=CHANNELS),
    ] = None
    std: Annotated[
        str | Sequence[float] | None,
        Option("Standard deviation that they were normalised with.", words=CHANNELS),
    ] = None
    run: Annotated[str | None, Option("Name of the new run.", stored=False)] = None
    skip_bad: Annotated[bool, Option("Skip images that cannot be read, and count them.")] = False
    convert: Annotated[
        Path | None,
        Option("Only copy the tensors of a full pickle into this .safetensors file.", variable=False, stored=False),
    ] = None


# --- look ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExplainRequest(Costly, OfRunsData, Planned, OnEngine):
    """Make maps of the misclassified test images. Maps that exist are not made again."""

    verb, panel, example = "explain", LOOK, "bench explain --explainer captum --layer layer3"

    run: Annotated[Names, RUNS] = LATEST
    _: KW_ONLY
    model: Annotated[
        Models, Option("Take the newest run of this model. Can be repeated.", many=True, names="models")
    ] = ()
    which: Annotated[str, Option("Which test images: wrong or all.", choices=WHICH)] = "wrong"
    ids: Annotated[
        str | Sequence[int] | None,
        Option("Test ids instead of --which: 3,17 or a file.", words=IDS),
    ] = None
    target: Annotated[str, Option("Class to explain: predicted, true or both.", choices=TARGETS)] = "both"
    limit: Annotated[int | str | None, LIMIT] = None


@dataclass(frozen=True)
class ExplainPicturesRequest(Costly, OnDevice):
    """Explain what a run's model sees in your own pictures."""

    verb, panel, example = "explain", LOOK, "bench explain --image cat.png --class dog"

    image: Annotated[
        Paths,
        Option(
            "Explain your own picture, on a page of its own. Can be repeated.",
            many=True,
            commas=False,
            variable=False,
            names="files",
        ),
    ] = ()
    run: Annotated[Names, RUNS] = LATEST
    _: KW_ONLY
    class_: Annotated[Names, Option("Also explain this class. Can be repeated.", many=True, commas=False)] = ()
    out: Annotated[Path | None, Option("Folder of the page; else it is in the run's folder.")] = None


@dataclass(frozen=True)
class CompareRequest(Costly, Paged, OfRunsData, Gated, Tabled, Planned, OnEngine):
    """Show several runs on one page, with the images that any of them got wrong."""

    verb, panel, example = "compare", LOOK, "bench compare RUN RUN --open"

    run: Annotated[Names, RUNS] = ()
    _: KW_ONLY
    limit: Annotated[int | str | None, LIMIT] = None
    compute: Annotated[bool, Option("Make the maps that are missing.")] = True
    time: Annotated[
        str | float | None,
        Option("Time for speeds, such as 5m, with the training step; else 60s, without it.", words=TIME),
    ] = None
    no_time: Annotated[bool, Option("Measure no speeds.")] = False
    out: Annotated[Path | None, Option("Folder of the page; else runs/compare/N.")] = None
    fail_if: Annotated[Names, gate("accuracy[b] < accuracy[a] - 0.01")] = ()
    table: Annotated[str | None, only_table("runs", "pairs", "classes")] = None

    @property
    def timed(self) -> bool:
        """Whether speeds are measured when the page is there."""
        if self.time and (self.no_time or not self.compute):
            off = "--no-time" if self.no_time else "--no-compute"
            raise UsageError(f"--time and {off} cannot be used together", try_="one of them")
        return bool(self.time) or (self.compute and not self.no_time and not self.fail_if)


@dataclass(frozen=True)
class ReportRequest(Paged):
    """Write the pages of runs again, or of all finished runs. Computes nothing."""

    verb, panel = "report", LOOK

    run: Annotated[Names, RUNS] = ()


@dataclass(frozen=True)
class ExportRequest(OfRunsData, OnDevice):
    """Write a folder to hand in: README, figures, tables. With --figure: one figure for a report or a paper."""

    verb, panel, example = "export", LOOK, "bench export latest --to handin"

    run: Annotated[Names, RUNS] = LATEST
    _: KW_ONLY
    to: Annotated[
        Path | None, Option("New folder. With --figure: file that ends in .png, .pdf or .svg.", variable=False)
    ] = None
    figure: Annotated[str | None, Option(f"Draw one figure only: {', '.join(FIGURES)}.", variable=False)] = None
    width: Annotated[str, Option("Columns of a paper: one (3.5 inches) or two (7.2).", choices=WIDTHS)] = "two"
    captions: Annotated[bool, Option("Say below each figure what it shows.")] = True
    explainer: Annotated[
        Explainers, Option("Explainer to show. Can be repeated.", many=True, names="explainers", panel=OF_MAPS)
    ] = ()
    layer: Annotated[Names, replace(LAYER, panel=OF_MAPS)] = ()
    target: Annotated[
        str, Option("Class that the maps are for: predicted, true or both.", choices=TARGETS, panel=OF_MAPS)
    ] = "predicted"
    n: Annotated[int | None, Option("Number of pictures.", least=1, panel=OF_MAPS)] = None
    ids: Annotated[
        str | Sequence[int] | None, Option("Test ids of the pictures: 3,17 or a file.", words=IDS, panel=OF_MAPS)
    ] = None
    colours: Annotated[str, Option(f"Colours of maps: {', '.join(COLOURS)}.", choices=COLOURS, panel=OF_MAPS)] = (
        COLOURS[0]
    )


# --- trust --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeRequest(OfExplainers, OfRunsData, OnEngine):
    """Compare each explainer with Grad-CAM in float64: is it the same, another method, or wrong? Why?"""

    verb, panel, example = "judge", TRUST, "bench judge latest --explainer gradcam --layer layer4.1.bn2"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[
        int | None, Option("Images; else 8, with --faithfulness 200, with --known-answers 100 or 50.", least=1)
    ] = None
    strict: Annotated[
        bool, Option("Exit with 3 if a map is wrong or an explainer fails, or if a --fail-if is undecided.")
    ] = False


@dataclass(frozen=True)
class FaithfulnessRequest(OfExplainers, OfRunsData, Planned, OnEngine):
    """Hide parts of the image and check whether the maps predicted the effect. Gives scores, not verdicts."""

    verb, panel, example = "judge --faithfulness", TRUST, "bench judge latest --faithfulness"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[int | None, Option("Images; else 200.", least=1)] = None
    sanity: Annotated[int, Option("Images to explain again with shuffled weights, five times.", least=0)] = 30
    black: Annotated[bool, Option("Also hide patches with black.")] = False


@dataclass(frozen=True)
class KnownAnswersRequest(OfExplainers, OfRunsData, Gated, Planned, OnEngine):
    """Test with known answers: does a map find a planted sticker, and the right one of four images?"""

    verb, panel, example = "judge --known-answers", TRUST, "bench judge latest --known-answers"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[
        int | None,
        Option("Images with a sticker, and half as many mosaics; else 100, on a slow processor 50.", least=1),
    ] = None
    fail_if: Annotated[Names, gate("sticker[gradcam,layer4] < 0.5")] = ()


@dataclass(frozen=True)
class TimeRequest(OfExplainers, Gated, OnDevice):
    """Measure the speed of models and explainers in turns: rates and ratios with intervals."""

    verb, panel = "time", TRUST
    example = "bench time --model cifar_resnet18,timm_resnet18 --what forward --rounds 12"

    model: Annotated[
        Models,
        Option("Name, or FILE.py:NAME; with random weights. Can be repeated.", many=True, names="models"),
    ] = ()
    _: KW_ONLY
    run: Annotated[Names, RUNS] = ()
    what: Annotated[Names, Option("forward, train or explain. Can be repeated.", many=True, choices=WHATS)] = WHATS
    batch_size: Annotated[int, Option("Images in each call.", least=1)] = 64
    rounds: Annotated[int, Option("Number of rounds. Each round measures everything once.", least=1)] = 12
    budget: Annotated[
        str | float,
        Option("Time for everything: 90s, 5m, 1h. Takes fewer rounds, but at least 6.", words=TIME),
    ] = "5m"
    baseline: Annotated[
        Names, Option("Model or explainer to compare with; else the first. Can be repeated.", many=True)
    ] = ()
    memory: Annotated[bool, Option("Also measure peak memory.")] = True
    fail_if: Annotated[Names, gate("forward[a] < 0.9 * forward[b]")] = ()


@dataclass(frozen=True)
class VerifyRequest(OfRunsData):
    """Check an explainer: does it return, change and claim what it should?"""

    verb, panel, example = "verify", TRUST, "bench verify captum"

    explainer: Annotated[
        Explainers,
        Option("Names, FILE.py:NAME, or all.", many=True, flagless=True, names="explainers"),
    ] = ()
    _: KW_ONLY
    run: Annotated[str | None, Option("Use this run's model and images; else a small network.", names="runs")] = None
    layer: Annotated[Names, LAYER] = ()


@dataclass(frozen=True)
class EvaluateRequest(OfRunsData, Gated, OnDevice):
    """Test a run again: accuracy with its interval, accuracy by class, most confused pairs."""

    verb, panel, example = "evaluate", TRUST, 'bench evaluate latest --fail-if "accuracy < 0.92"'

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    average: Annotated[bool, Option("Also test the mean over mirrored and shifted views.")] = True


# --- around -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LrFindRequest(Sized, OfData, OnDevice):
    """Find a learning rate: draw the loss while the rate rises. Keeps no weights."""

    verb, example = "lr-find", "bench lr-find --model cifar_resnet18 --recipe course"

    model: Annotated[Model, MODEL] = "cifar_resnet18"
    _: KW_ONLY
    recipe: Annotated[str, Option("Recipe that gives optimiser and batch size.", names="recipes")] = "course"
    batch_size: Annotated[int | None, Option("Images in each step; else the recipe's.")] = None
    optimizer: Annotated[str | None, Option("sgd or adamw; else the recipe's.")] = None
    steps: Annotated[int, Option("Number of rates to try, from 1e-7 up.")] = 100
    highest: Annotated[float, Option("Highest rate to try.")] = 10.0
    seed: Annotated[int, Option("Seed of weights, order and augmentation.")] = 0
    out: Annotated[Path | None, Option("File of the curve, .png, .pdf or .svg; else in runs/show/.")] = None


@dataclass(frozen=True)
class ListRequest(Sized):
    """Show what there is to choose from."""

    verb, example = "list", "bench list explainers"

    what: Annotated[str, Option("models, explainers, engines, layers, recipes, data or runs.", flagless=True)] = ""
    _: KW_ONLY
    model: Annotated[Model, MODEL] = "cifar_resnet18"
    library: Annotated[str, Option("Try every class of a library: captum or pytorch_grad_cam.", variable=False)] = ""


@dataclass(frozen=True)
class ShowRequest(Tabled):
    """Show a run's result, a model's layers, a data set's images, or what augmentation does to them."""

    verb, example = "show", "bench show model cifar_resnet18"

    what: Annotated[str, Option("run, model, data or augment; or a run's name.", flagless=True)] = "run"
    name: Annotated[str | None, Option("Its name; for augment and data a data set.", flagless=True)] = None
    _: KW_ONLY
    run: Annotated[str | None, Option("run: name, latest, or path.", names="runs")] = None
    all_: Annotated[bool, Option("model: show every module.")] = False
    table: Annotated[str | None, only_table("classes", "confusion", "runs")] = None
    classes: Annotated[int, Option("model: number of classes.", least=2)] = 10
    recipe: Annotated[str, Option("augment: recipe that says how.", names="recipes")] = "course"
    seed: Annotated[int, Option("augment: seed of the images and their changes.")] = 0
    out: Annotated[Path | None, Option("data, augment: PNG file; else in runs/show/.")] = None


@dataclass(frozen=True)
class DoctorRequest(Request):
    """Check the installation: versions, devices, folders, and whether every name loads."""

    verb = "doctor"


@dataclass(frozen=True)
class SchemaRequest(Request):
    """Print the JSON schema of a file that bench writes."""

    verb = "schema"

    what: Annotated[str, Option("run, page, judge or timing.", flagless=True)] = "run"


@dataclass(frozen=True)
class RmRequest(Request):
    """Delete a run's folder."""

    verb, example = "rm", "bench list runs"

    run: Annotated[str, Option("Name of the run.", argument=True, variable=False, names="runs")]
    _: KW_ONLY
    known_answers: Annotated[bool, Option("Delete only the networks and maps of judge --known-answers.")] = False
    yes: Annotated[bool, Option("Do not ask first.", flag="--yes,-y")] = False
