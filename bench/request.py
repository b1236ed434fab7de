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
    Explainer,
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
from bench.whole_file import read_text

ALL = "all"
LIST_BYTES = 16 * 2**20  # of a file of ids or classes
LATEST = "latest"
THE_NET, THE_DATA, THE_RUN = "The net", "The data", "The run"  # panels, as is the next
RECIPE = "Instead of the recipe's: "  # panels of what replaces a recipe's values
STEPS, INGREDIENTS, IMAGES = f"{RECIPE}steps and rates", f"{RECIPE}ingredients", f"{RECIPE}images"
SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
COUNTED = ("seeds", "stem", "image_size")  # what a single training says by its seed and its model's name
WHICH = ("wrong", "all")  # images
INITS = ("native", "shared")
WHATS = ("forward", "train", "explain")
CLASS_ORDERS = ("byte", "natural")
TARGETS = ("predicted", "true", "both")  # classes that maps speak for


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
IDS = Words(_ids, "no list of test ids and no file of them", "3,17 or a file of numbers", _with_commas)
CLASSES = Words(_classes, "no list of two classes or more", "cat,dog or a file of names", _with_commas)
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
    "no list of edge:share",
    "16:0.5,24:0.25, or --sizes full",
    lambda sizes: ",".join(f"{edge}:{share}" for edge, share in sizes) or "full",
)


# --- what several verbs share -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OnDevice(Request):
    """Where it is computed."""

    device: Annotated[str, Option("auto, cpu, cuda or mps.")] = "auto"


@dataclass(frozen=True, kw_only=True)
class OfRunsData(Request):
    """A verb that needs the images a run was made on."""

    data: Annotated[
        str | None, Option("Where the run's data set lies now, if it was moved.", variable=False, names="data")
    ] = None


@dataclass(frozen=True, kw_only=True)
class OfData(Request):
    """A verb that takes a data set of any kind."""

    data: Annotated[
        str,
        Option(
            "cifar10, digits, or a folder or archive of train/CLASS/* and test/CLASS/*.", panel=THE_DATA, names="data"
        ),
    ] = "cifar10"


@dataclass(frozen=True, kw_only=True)
class Sized(Request):
    """A verb whose models may be given another size of pictures and another stem."""

    stem: Annotated[
        str | None, Option("cifar: 3x3 stem without max-pool, for ResNets of timm and torchvision.", panel=THE_NET)
    ] = None
    image_size: Annotated[int | None, Option("Pixels an edge of what the model is given.", panel=THE_NET)] = None

    def whole_name(self, model: object) -> str:
        """A model's name with the size and the stem asked for, as a run stores it."""
        return with_options(str(model), size=self.image_size, stem=self.stem)


@dataclass(frozen=True, kw_only=True)
class OfExplainers(Request):
    """A verb that takes explainers at layers."""

    explainer: Annotated[Explainers, Option("Name, FILE.py:NAME, or all. Repeats.", many=True, names="explainers")] = ()
    layer: Annotated[Names, Option("Dotted module name, or all. Repeats.", many=True)] = ()


@dataclass(frozen=True, kw_only=True)
class Costly(OfExplainers):
    """The same, where `all` explainers may be too many."""

    slow: Annotated[bool, Option("Let all explainers take in what costs over 200 forward passes.")] = False


@dataclass(frozen=True, kw_only=True)
class Paged(Request):
    """A verb whose page has one form or the other."""

    single_file: Annotated[bool, Option("One file however large; else up to 10 MB.")] = False
    folder: Annotated[bool, Option("index.html with its files beside it, however small.")] = False
    max_images: Annotated[int | None, Option("Most images of the gallery; tables cover all.", least=1)] = None

    @property
    def form(self) -> str:
        """`single`, `folder` or `auto`."""
        if self.single_file and self.folder:
            raise UsageError("--single-file and --folder exclude each other", try_="neither: one file up to 10 MB")
        return "single" if self.single_file else "folder" if self.folder else "auto"


@dataclass(frozen=True, kw_only=True)
class Planned(Request):
    """A verb that can say beforehand what it would do."""

    dry_run: Annotated[bool, Option("Say what would be done, and how long it takes.", stored=False)] = False


MODEL = Option("Registered name, FILE.py:NAME (runs that file), timm:NAME or torchvision:NAME.", names="models")
RUN = Option("Name, latest, or path.", argument=True, names="runs")
RUNS = Option("Name, latest, or path. Repeats.", argument=True, many=True, names="runs")
LIMIT = Option("First N images of one fixed order, or all.", words=COUNT, least=1)


def one_run(run: Names) -> str:
    """The only run of several; UsageError where there is not exactly one."""
    asked = names(run)
    if len(asked) != 1:
        raise UsageError(f"one run a call, not {', '.join(asked) or 'none'}", try_="a call for each run")
    return asked[0]


# --- start --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DemoRequest(OnDevice):
    """Digits, offline, minutes on two cores: train three models, explain their errors, compare them."""

    verb, panel = "demo", START


def _instead(help: str, panel: str = STEPS, **more: Any) -> Option:  # noqa: ANN401
    return Option(help, panel=panel, **more)


@dataclass(frozen=True)
class TrainRequest(Sized, OfData, Planned, OnDevice):
    """Train a model, test it once at the end, and keep everything in a run folder. Or several: see --seeds."""

    verb, panel, example = "train", START, "bench train --model cifar_resnet18 --limit 10000 --recipe cpu"

    model: Annotated[Models, replace(MODEL, help=f"{MODEL.help} Repeats.", many=True)] = "cifar_resnet18"
    _: KW_ONLY
    recipe: Annotated[str, Option("One of `bench list recipes`, or FILE.toml.", names="recipes")] = "course"
    seed: Annotated[int, Option("Of weights, order, augmentation and split.")] = 0
    seeds: Annotated[int, Option("Train N runs, of consecutive seeds.", panel=THE_RUN, least=1)] = 1
    val: Annotated[float, Option("Share of the training images kept for the curves; 0: none.", panel=THE_DATA)] = 0.1
    limit: Annotated[int | None, Option("Train on N images, balanced by class.", panel=THE_DATA)] = None
    init: Annotated[
        str, Option("native, or shared: one initialisation for all models.", panel=THE_NET, choices=INITS)
    ] = "native"
    pretrained: Annotated[str | None, Option("imagenet, a run, or a checkpoint.safetensors.", panel=THE_NET)] = None
    compile: Annotated[bool, Option("Through torch.compile.", panel=THE_NET, flag="--compile/--no-compile")] = False
    deterministic: Annotated[
        bool,
        Option(
            "The same bits each time on a GPU, too, at some of its speed.",
            panel=THE_RUN,
            flag="--deterministic/--no-deterministic",
        ),
    ] = False
    run: Annotated[str | None, Option("Name of the new run.", panel=THE_RUN, stored=False)] = None
    resume: Annotated[
        str | None,
        Option(
            "Go on with an unfinished run: its name, or latest.",
            panel=THE_RUN,
            variable=False,
            stored=False,
            names="runs",
        ),
    ] = None
    skip_bad: Annotated[bool, Option("Leave out images that cannot be read, and count them.", panel=THE_DATA)] = False
    epochs: Annotated[int | None, _instead("Passes over the training images.")] = None
    batch_size: Annotated[int | None, _instead("Images a step.")] = None
    optimizer: Annotated[Names, _instead("sgd or adamw. Repeats.", many=True)] = ()
    lr: Annotated[Numbers, _instead("Peak learning rate. Repeats.", many=True, words=RATE, metavar="<float>")] = ()
    lr_start: Annotated[float | None, _instead("First rate, as a share of the peak.")] = None
    lr_end: Annotated[float | None, _instead("Last rate, as a share of the peak.")] = None
    warm_up: Annotated[float | None, _instead("Share of the steps until the peak.")] = None
    momentum: Annotated[float | None, _instead("Of SGD.")] = None
    weight_decay: Annotated[float | None, _instead("On all parameters.")] = None
    norm_decay: Annotated[bool | None, _instead("Weight decay on the scales of batch norms, too.", INGREDIENTS)] = None
    bias_scale: Annotated[
        float | None, _instead("Rate of norm and head biases, in multiples; their decay divided.", INGREDIENTS)
    ] = None
    label_smoothing: Annotated[float | None, _instead("Share of a label spread over all classes.", INGREDIENTS)] = None
    bn_momentum: Annotated[float | None, _instead("Share of a new batch in running statistics.", INGREDIENTS)] = None
    lookahead: Annotated[int | None, _instead("Steps between looks of the slow weights; 0: none.", INGREDIENTS)] = None
    whiten: Annotated[bool | None, _instead("Start the stem from the images' patches.", INGREDIENTS)] = None
    zero_init: Annotated[bool | None, _instead("Start residual branches at 0.", INGREDIENTS)] = None
    sizes: Annotated[
        str | Sequence[tuple[int, float]] | None,
        _instead("Smaller images first: EDGE:SHARE,... of the epochs, or full.", IMAGES, words=SIZES),
    ] = None
    flip: Annotated[str | None, _instead("none, random or alternating.", IMAGES)] = None
    translate: Annotated[int | None, _instead("Most pixels to move an image by, its border reflected.", IMAGES)] = None
    cutout: Annotated[int | None, _instead("Edge in pixels of the square left out.", IMAGES)] = None
    precision: Annotated[str | None, _instead("auto, fp32, bf16 or fp16.")] = None

    def changes(self) -> dict[str, Any]:
        """What was given in place of the recipe's values, by their names."""
        values = {
            each.name: getattr(self, each.name) for each in self.typed() if (each.option.panel or "").startswith(RECIPE)
        }
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
    """Make a run of weights that were trained elsewhere, and test it. Nothing of the file is run."""

    verb, panel = "adopt", START
    example = "bench adopt --weights ckpt.pth --model cifar_resnet18 --data cifar10"

    weights: Annotated[Path, Option("A .pt, .pth or .safetensors file.", variable=False, names="files")]
    _: KW_ONLY
    model: Annotated[Model, MODEL] = "cifar_resnet18"
    weights_key: Annotated[
        str | None, Option("Which weights of a file that holds several: the key that leads to them.", variable=False)
    ] = None
    class_order: Annotated[
        str | None, Option("byte or natural (2 before 10): the order of the outputs.", choices=CLASS_ORDERS)
    ] = None
    channels: Annotated[str, Option("rgb or bgr: what the model was trained on.", choices=("rgb", "bgr"))] = "rgb"
    outputs: Annotated[
        str, Option("logits, or probabilities: what the model ends in.", choices=("logits", "probabilities"))
    ] = "logits"
    classes: Annotated[
        str | Sequence[str] | None,
        Option(
            "Names of the outputs in their order, with commas, or a file, one a line.",
            words=CLASSES,
        ),
    ] = None
    mean: Annotated[
        str | Sequence[float] | None,
        Option("What the images were normalised with, one value or R,G,B.", words=CHANNELS),
    ] = None
    std: Annotated[
        str | Sequence[float] | None,
        Option("The same for the deviation.", words=CHANNELS),
    ] = None
    run: Annotated[str | None, Option("Name of the new run.", stored=False)] = None
    skip_bad: Annotated[bool, Option("Leave out images that cannot be read, and count them.")] = False
    convert: Annotated[
        Path | None,
        Option("Only take the tensors out of a full pickle into this .safetensors file.", variable=False, stored=False),
    ] = None


# --- look ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExplainRequest(Costly, OfRunsData, Planned, OnDevice):
    """Explain the misclassified test images; rows that are there are not computed again."""

    verb, panel, example = "explain", LOOK, "bench explain --explainer captum --layer layer3"

    run: Annotated[Names, RUNS] = LATEST
    _: KW_ONLY
    model: Annotated[Models, Option("The newest run of this model. Repeats.", many=True, names="models")] = ()
    which: Annotated[str, Option("wrong, or all test images.", choices=WHICH)] = "wrong"
    ids: Annotated[
        str | Sequence[int] | None,
        Option("3,17 or a file of test ids, instead of --which.", words=IDS),
    ] = None
    target: Annotated[str, Option("predicted, true or both.", choices=TARGETS)] = "both"
    limit: Annotated[int | str | None, LIMIT] = None


@dataclass(frozen=True)
class ExplainPicturesRequest(Costly, OnDevice):
    """Explain what a run's model sees in pictures of one's own."""

    verb, panel, example = "explain", LOOK, "bench explain --image cat.png --class dog"

    image: Annotated[
        Paths,
        Option(
            "A picture of your own, on a page of its own. Repeats.",
            many=True,
            commas=False,
            variable=False,
            names="files",
        ),
    ] = ()
    run: Annotated[Names, RUNS] = LATEST
    _: KW_ONLY
    class_: Annotated[Names, Option("Explain this class, too. Repeats.", many=True, commas=False)] = ()
    out: Annotated[Path | None, Option("Folder of the page; else in the run's folder.")] = None


@dataclass(frozen=True)
class CompareRequest(Costly, Paged, OfRunsData, Planned, OnDevice):
    """One page of many runs, on the images that any of them got wrong."""

    verb, panel, example = "compare", LOOK, "bench compare RUN RUN --open"

    run: Annotated[Names, RUNS] = ()
    _: KW_ONLY
    limit: Annotated[int | str | None, LIMIT] = None
    compute: Annotated[bool, Option("Make the rows that are missing.")] = True
    time: Annotated[
        str | float | None,
        Option("Time for speeds, such as 5m, with the training step; else 60s, without it.", words=TIME),
    ] = None
    no_time: Annotated[bool, Option("Measure no speeds.")] = False
    out: Annotated[Path | None, Option("Folder of the page; else runs/compare/N.")] = None

    @property
    def timed(self) -> bool:
        """Whether speeds are measured when the page is there."""
        if self.time and (self.no_time or not self.compute):
            off = "--no-time" if self.no_time else "--no-compute"
            raise UsageError(f"--time and {off} exclude each other", try_="one of them")
        return self.compute and not self.no_time


@dataclass(frozen=True)
class ReportRequest(Paged):
    """Render the runs' own pages again; computes nothing. Without names: of all finished runs."""

    verb, panel = "report", LOOK

    run: Annotated[Names, RUNS] = ()


@dataclass(frozen=True)
class ExportRequest(Request):
    """The figure of a student's report: misclassified pictures, maps beneath."""

    verb, panel, example = "export", LOOK, "bench export latest --figure gallery.png --layer layer3"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    figure: Annotated[Path, Option("File to write: .png or .pdf.", variable=False)]
    ids: Annotated[str | Sequence[int] | None, Option("3,17 or a file of test ids.", words=IDS)] = None
    n: Annotated[int, Option("How many pictures.", least=1)] = 20
    layer: Annotated[Names, Option("Dotted module name. Repeats.", many=True)] = ()
    explainer: Annotated[Explainer | None, Option("Whose maps; else those that fewest pictures lack.")] = None
    target: Annotated[str, Option("predicted, true or both.", choices=TARGETS)] = "predicted"
    captions: Annotated[bool, Option("Classes above the pictures.")] = True


# --- trust --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeRequest(OfExplainers, OfRunsData, OnDevice):
    """Hold every cell against Grad-CAM in float64: same, another recipe, another method, or wrong, and why."""

    verb, panel, example = "judge", TRUST, "bench judge latest --explainer gradcam --layer layer4.1.bn2"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[
        int | None, Option("Images; none for 8, with --faithfulness 200, with --known-answers 100 or 50.", least=1)
    ] = None
    strict: Annotated[bool, Option("Exit 3 when a map is wrong or an explainer fails.")] = False


@dataclass(frozen=True)
class FaithfulnessRequest(OfExplainers, OfRunsData, Planned, OnDevice):
    """What happens when parts of the image are covered: scores of every explainer, not verdicts."""

    verb, panel, example = "judge --faithfulness", TRUST, "bench judge latest --faithfulness"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[int | None, Option("Images of the sample; none for 200.", least=1)] = None
    sanity: Annotated[int, Option("Images explained again with scrambled weights, five draws.", least=0)] = 30
    black: Annotated[bool, Option("Cover patches with black, too.")] = False


@dataclass(frozen=True)
class KnownAnswersRequest(OfExplainers, OfRunsData, Planned, OnDevice):
    """Tests whose right answer is known: does a map find a sticker that decides, and the right image of four?"""

    verb, panel, example = "judge --known-answers", TRUST, "bench judge latest --known-answers"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[
        int | None,
        Option("Images with a sticker, half as many mosaics; none for 100, on a slow processor 50.", least=1),
    ] = None


@dataclass(frozen=True)
class TimeRequest(OfExplainers, OnDevice):
    """Time models and explainers in turns: rates with intervals, paired ratios, the machine's own limit."""

    verb, panel = "time", TRUST
    example = "bench time --model cifar_resnet18,timm_resnet18 --what forward --rounds 12"

    model: Annotated[
        Models,
        Option("Registered name, or FILE.py:NAME; weights from a seed. Repeats.", many=True, names="models"),
    ] = ()
    _: KW_ONLY
    run: Annotated[Names, RUNS] = ()
    what: Annotated[Names, Option("forward, train or explain. Repeats.", many=True, choices=WHATS)] = WHATS
    batch_size: Annotated[int, Option("Images a call.", least=1)] = 64
    rounds: Annotated[int, Option("Rounds; each gives one figure an arm.", least=1)] = 12
    budget: Annotated[
        str | float,
        Option("Time for all of it: 90s, 5m, 1h. Fewer rounds, never under 6.", words=TIME),
    ] = "5m"
    baseline: Annotated[Names, Option("Model or explainer to compare with; else the first. Repeats.", many=True)] = ()
    memory: Annotated[bool, Option("Measure peak memory too.")] = True
    fail_if: Annotated[
        Names, Option('"forward\\[a] < 0.9 * forward\\[b]": exit 3. Repeats.', many=True, commas=False)
    ] = ()
    strict: Annotated[bool, Option("A threshold that is undecided fails, too.")] = False


@dataclass(frozen=True)
class VerifyRequest(OfRunsData):
    """Hold plug-ins to the contract of an explainer: what they return, what they leave behind, what they claim."""

    verb, panel, example = "verify", TRUST, "bench verify captum"

    explainer: Annotated[
        Explainers,
        Option("Registered names, FILE.py:NAME, or all.", many=True, flagless=True, names="explainers"),
    ] = ()
    _: KW_ONLY
    run: Annotated[str | None, Option("On this run's model and images; else on a small net.", names="runs")] = None
    layer: Annotated[Names, Option("Dotted module name. Repeats.", many=True)] = ()


@dataclass(frozen=True)
class EvaluateRequest(OfRunsData, OnDevice):
    """Test a run's weights again: accuracy with its interval, classes, most confused pairs."""

    verb, panel, example = "evaluate", TRUST, 'bench evaluate latest --fail-if "accuracy < 0.92"'

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    average: Annotated[bool, Option("Also by the mean of mirrored and shifted views.")] = True
    fail_if: Annotated[Names, Option('"accuracy < 0.92": exit 3. Repeats.', many=True, commas=False)] = ()


# --- around -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LrFindRequest(Sized, OfData, OnDevice):
    """A learning-rate range test: where the loss falls fastest, as a curve. Trains nothing that is kept."""

    verb, example = "lr-find", "bench lr-find --model cifar_resnet18 --recipe course"

    model: Annotated[Model, MODEL] = "cifar_resnet18"
    _: KW_ONLY
    recipe: Annotated[str, Option("Whose optimiser and batch size; one of `bench list recipes`.", names="recipes")] = (
        "course"
    )
    batch_size: Annotated[int | None, Option("Instead of the recipe's.")] = None
    optimizer: Annotated[str | None, Option("sgd or adamw, instead of the recipe's.")] = None
    steps: Annotated[int, Option("How many rates, from 1e-7 up.")] = 100
    highest: Annotated[float, Option("The largest rate.")] = 10.0
    seed: Annotated[int, Option("Of weights, order and augmentation.")] = 0
    out: Annotated[Path | None, Option("Curve to draw, .png or .pdf; else in runs/show/.")] = None


@dataclass(frozen=True)
class ListRequest(Sized):
    """What there is to choose from."""

    verb, example = "list", "bench list explainers"

    what: Annotated[str, Option("models, explainers, layers, recipes, data or runs.", flagless=True)] = ""
    _: KW_ONLY
    model: Annotated[Model, MODEL] = "cifar_resnet18"
    library: Annotated[str, Option("Try each class of it: captum or pytorch_grad_cam.", variable=False)] = ""


@dataclass(frozen=True)
class ShowRequest(Request):
    """A run's result, a model's summary, a data set's pictures, or what augmentation does to them."""

    verb, example = "show", "bench show model cifar_resnet18"

    what: Annotated[str, Option("run, model, data or augment; or a run's name.", flagless=True)] = "run"
    name: Annotated[str | None, Option("Its name; for augment and data a data set.", flagless=True)] = None
    _: KW_ONLY
    run: Annotated[str | None, Option("run: name, latest, or path.", names="runs")] = None
    all_: Annotated[bool, Option("model: every module.")] = False
    markdown: Annotated[bool, Option("run: tables to paste.")] = False
    classes: Annotated[int, Option("model: number of classes.", least=2)] = 10
    recipe: Annotated[str, Option("augment: whose augmentation.", names="recipes")] = "course"
    seed: Annotated[int, Option("augment: of the pictures and the changes.")] = 0
    out: Annotated[Path | None, Option("data, augment: PNG to write; else runs/show/.")] = None


@dataclass(frozen=True)
class DoctorRequest(Request):
    """Versions, devices, folders, and whether every registered name loads."""

    verb = "doctor"


@dataclass(frozen=True)
class SchemaRequest(Request):
    """The JSON schema of a file that bench writes."""

    verb = "schema"

    what: Annotated[str, Option("run, page, judge or timing.", flagless=True)] = "run"


@dataclass(frozen=True)
class RmRequest(Request):
    """Delete a run's folder."""

    verb, example = "rm", "bench list runs"

    run: Annotated[str, Option("Name of the run.", argument=True, variable=False, names="runs")]
    _: KW_ONLY
    known_answers: Annotated[bool, Option("Only the nets and maps of judge --known-answers.")] = False
    yes: Annotated[bool, Option("Do not ask.", flag="--yes,-y")] = False
