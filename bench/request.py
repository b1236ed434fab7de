"""What was wanted, as one frozen value a verb. Standard library and plain values only.

Each field is written once, with its help, panel and metavar. The options of the command line, the keywords of the
public functions, the keys of bench.toml, the BENCH_ variables, what a run's record stores of the call, and every line
that offers a call to repeat, are derived from it.
"""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, MISSING, dataclass, field, fields, replace
from functools import cache
from itertools import product
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from bench.contracts import ExplainerSpec, ModelSpec
from bench.errors import UsageError
from bench.registry.from_python import is_from_python, name_of, source_hash
from bench.registry.model_names import with_options
from bench.workspace import Workspace

Names = str | Sequence[str]
Numbers = float | Sequence[float]
Paths = Path | str | Sequence[Path | str]
Model = str | ModelSpec | Callable[..., object]  # a class, or a function that builds one, may be given from Python
Explainer = str | ExplainerSpec | Callable[..., object]
Models = Model | Sequence[Model]
Explainers = Explainer | Sequence[Explainer]

ALL = "all"
LATEST = "latest"
IN_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "True or False", Path: "a path", NoneType: "None",
    Callable: "a class or function", Sequence: "a list",
}  # fmt: skip
RECIPE = "Instead of the recipe's"  # the panel of what replaces a recipe's values
START, LOOK, TRUST, AROUND = "Start", "Look", "Trust", "Around"  # the panels of the verbs
TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?")
SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
COUNTED = ("seeds", "stem", "image_size")  # what a single training says by its seed and its model's name
ALONE = ("flag", "call")  # origins that speak of one call alone; variables and files speak of every call


@dataclass(frozen=True)
class Option:
    """How a field is typed on the command line.

    Attributes:
        help: one line.
        flag: where the field's own name will not do; `--on/--off` for a yes or no.
        panel: the heading under which `--help` lists it.
        metavar: what stands for the value.
        argument: it may stand without its flag.
        flagless: it has no flag.
        many: it repeats, and takes a list with commas.
        commas: False where a comma belongs to a value.
        read: from a word to the value; UsageError for a word that means nothing.
        write: back to a word.
        least: the smallest number.
        complete: what the shell offers: `models`, `explainers` or `runs`.
        variable: whether a BENCH_ variable may set it; not what speaks of one run or file.
        stored: whether a run's record keeps it.
    """

    help: str
    flag: str = ""
    panel: str | None = None
    metavar: str | None = None
    argument: bool = False
    flagless: bool = False
    many: bool = False
    commas: bool = True
    read: Callable[[str], Any] | None = None
    write: Callable[[Any], str] = str
    least: int | None = None
    complete: str = ""
    variable: bool = True
    stored: bool = True


@dataclass(frozen=True)
class Typed:
    """A field that can be typed: its name, the type of its value, its option and its default in its one form."""

    name: str
    hint: Any
    option: Option
    default: Any

    @property
    def flags(self) -> list[str]:
        """How it is typed: the long flag, with `/` and the one that says no where there is one, then others."""
        if self.option.flag:
            return self.option.flag.split(",")
        name = self.name.strip("_").replace("_", "-")
        with_off = bool in _alternatives(self.hint) and self.default is not False
        return [f"--{name}/--no-{name}" if with_off else f"--{name}"]

    @property
    def flag(self) -> str:
        """The long flag."""
        return self.flags[0].partition("/")[0]

    def form(self, value: Any) -> Any:  # noqa: ANN401 (the value of any field)
        """A value in its one form, however it was given.

        Raises:
            UsageError: a value that the field cannot hold.
        """
        kinds = _alternatives(self.hint)
        if self.option.many:
            kinds = [kind for kind in kinds if get_origin(kind) is not Sequence]
            found = tuple(self._one(each, kinds) for each in _several(value))
            if not found and self.default not in ((), MISSING):
                raise UsageError(f"{self.flag} names nothing", try_=" ".join(self.words(self.default)))
            return found
        return self._one(value, kinds)

    def words(self, value: Any) -> list[str]:  # noqa: ANN401
        """What to type for a value."""
        if isinstance(value, bool):
            yes, _, no = self.flags[0].partition("/")
            return [yes] if value else [no] if no else []
        values = [self.option.write(each) for each in (value if self.option.many else (value,)) if each is not None]
        if self.option.flagless or self.option.argument:
            return values
        if self.option.many and self.option.commas:
            values = [",".join(values)] if values else []
        return [word for each in values for word in (self.flag, each)]

    def stored(self, value: Any) -> Any:  # noqa: ANN401
        """A value as JSON holds it: one of several as one."""
        return _as_json(value[0] if self.option.many and len(value) == 1 else value)

    def _one(self, value: Any, kinds: Sequence[Any]) -> Any:  # noqa: ANN401
        found = self.option.read(value) if isinstance(value, str) and self.option.read is not None else value
        try:
            found = _fitted(found, kinds)
        except TypeError:
            words = " or ".join(dict.fromkeys(map(_in_words, kinds)))
            raise UsageError(f"{self.name.strip('_')} is {value!r:.60}, must be {words}") from None
        if self.option.least is not None and found is not None and found < self.option.least:
            words = f"{self.flag} {found} is too few: {self.option.least} or more"
            raise UsageError(words, try_=f"{self.flag} {self.default or self.option.least}")
        return found


def _in_words(kind: Any) -> str:  # noqa: ANN401 (types)
    return IN_WORDS.get(get_origin(kind) or kind) or f"a {kind.__name__}"


def _alternatives(hint: Any) -> list[Any]:  # noqa: ANN401 (types)
    return list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]


def _fitted(value: Any, kinds: Iterable[Any]) -> Any:  # noqa: ANN401
    """A value as one of several types has it, the first that can; TypeError where none can."""
    for kind in kinds:
        with suppress(TypeError):
            return _as(value, kind)
    raise TypeError


def _as(value: Any, kind: Any) -> Any:  # noqa: ANN401
    """A value as a type has it: names of what Python gave, tuples for lists, Python's numbers for any library's."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is Sequence and value is not None:
        return tuple(_fitted(each, _alternatives(parts[0])) for each in _several(value))
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(parts):
        return tuple(map(_as, value, parts))
    if origin is int and not isinstance(value, bool):
        return operator.index(value)
    if origin is float and not isinstance(value, bool) and isinstance(value, Real):
        return float(value)
    if (origin is Path and isinstance(value, str)) or (origin is str and isinstance(value, Path)):
        return origin(value)
    if not isinstance(value, origin) or origin in (int, float, tuple):
        raise TypeError
    return name_of(value) if origin in (ModelSpec, ExplainerSpec, Callable) else value


@dataclass(frozen=True, kw_only=True)
class Request:
    """What every verb may be asked with.

    Attributes:
        origins: where values came from: `flag`, `env`, `file` or `recipe`; see `origin` for those it does not name.
        objects: of what Python gave the sha256 of its source, by its name, as a record holds it.
        workspace: where a call from Python works; the command line makes its own.
    """

    verb: ClassVar[str] = ""
    panel: ClassVar[str] = AROUND
    example: ClassVar[str] = ""
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    objects: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    workspace: Workspace | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Give every value its one form."""
        for each in self.typed():
            object.__setattr__(self, each.name, each.form(getattr(self, each.name)))

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """The request that `stored` made this of; ValueError for values that it cannot have made."""
        try:
            return cls(**{name: value for name, value in stored.items() if name != "verb"})
        except UsageError as reason:
            raise ValueError(reason.message) from reason

    @classmethod
    @cache  # the types of a class are read once: that takes milliseconds
    def typed(cls) -> tuple[Typed, ...]:
        """Every field that can be typed, a verb's own before those that it shares with others."""
        hints = get_type_hints(cls, include_extras=True)
        order = [name for one in cls.__mro__ for name in vars(one).get("__annotations__", ())]
        found = {
            each.name: Typed(each.name, hints[each.name].__origin__, option, MISSING)
            for each in fields(cls)
            for option in getattr(hints[each.name], "__metadata__", ())
            if isinstance(option, Option)
        }
        defaults = {each.name: each.default for each in fields(cls)}
        return tuple(
            found[name] if defaults[name] is MISSING else replace(found[name], default=found[name].form(defaults[name]))
            for name in dict.fromkeys(order)
            if name in found
        )

    def every_origin(self) -> dict[str, str]:
        """Where each value came from; `call` for one that Python gave, `default` for one that nobody gave."""
        unsaid = {each.name: "default" if getattr(self, each.name) == each.default else "call" for each in self.typed()}
        return {name: self.origins.get(name, origin) for name, origin in unsaid.items()}

    def given(self) -> dict[str, Any]:
        """What somebody gave: all but defaults and what a recipe says."""
        said = {name for name, origin in self.every_origin().items() if origin not in ("default", "recipe")}
        return {each.name: getattr(self, each.name) for each in self.typed() if each.name in said}

    def given_alone(self) -> tuple[str, ...]:
        """The names of what this call itself gave; variables and bench.toml speak of other calls, too."""
        return tuple(name for name, origin in self.every_origin().items() if origin in ALONE)

    def command(self, runs: Path = Path("runs"), **changes: Any) -> str:  # noqa: ANN401 (values of fields)
        """What to type so that another call wants the same, with some values replaced."""
        wanted = replace(self, **changes, origins={**self.origins, **dict.fromkeys(changes, "flag")})
        given = wanted.given()
        words = [word for each in self.typed() if each.name in given for word in each.words(given[each.name])]
        where = [] if runs == Path("runs") else ["--runs-dir", str(runs)]
        from_python = any(map(is_from_python, _flat(given.values())))
        return shlex.join(["bench", *self.verb.split(), *words, *where]) + (
            "  # not repeatable from the shell: something in it was given from Python" if from_python else ""
        )

    def stored(self) -> dict[str, Any]:
        """What a record keeps: every value and where it came from; of what Python gave the hash of its source."""
        values = {each.name: each.stored(getattr(self, each.name)) for each in self.typed() if each.option.stored}
        origins, names = self.every_origin(), filter(is_from_python, _flat(values.values()))
        objects = {name: self.objects[name] if name in self.objects else source_hash(name) for name in names}
        return {"verb": self.verb, **values, "origins": {name: origins[name] for name in values}, "objects": objects}


def names(value: Models | Explainers | None) -> tuple[str, ...]:
    """One name or several as several, each once."""
    return tuple(dict.fromkeys(_several(value)))


def numbers(value: Numbers | None) -> tuple[float, ...]:
    """The same of numbers."""
    return tuple(dict.fromkeys(_several(value)))


def paths(value: Paths | None) -> tuple[Path, ...]:
    """The same of files."""
    return tuple(dict.fromkeys(map(Path, _several(value))))


def _several(value: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if value is None:
        return ()
    return (value,) if isinstance(value, str | Path) or not isinstance(value, Iterable) else tuple(value)


def _flat(values: Iterable[Any]) -> list[Any]:
    return [each for value in values for each in (value if isinstance(value, tuple | list) else [value])]


def _as_json(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return [_as_json(each) for each in value]
    return str(value) if isinstance(value, Path) else value


# --- words to values ----------------------------------------------------------------------------------------


def read_limit(word: str) -> int | str:
    """A count, or `all`."""
    if word == ALL:
        return word
    if not word.isdecimal() or int(word) < 1:
        raise UsageError(f"--limit {word} is neither a count nor 'all'", try_="--limit 300")
    return int(word)


def read_ids(word: str) -> tuple[int, ...]:
    """Test ids from "3,17" or from a file of numbers."""
    words = _or_file(word).replace(",", " ").split()
    bad = next((each for each in words if not each.isdecimal()), None)
    if bad is not None or not words:
        raise UsageError(f"--ids: '{bad or word}' is no test id", try_="--ids 3,17 or a file of numbers")
    return tuple(int(each) for each in words)


def read_classes(word: str) -> tuple[str, ...]:
    """Names with commas between them, or a file with one a line."""
    lines = _or_file(word)
    words = lines.split(",") if lines == word else lines.splitlines()
    names = tuple(each.strip() for each in words if each.strip())
    if len(names) < 2:
        raise UsageError(
            f"--classes '{word}' names fewer than two classes", try_="--classes cat,dog or a file of names"
        )
    return names


def _or_file(word: str) -> str:
    path = Path(word)
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else word


def read_values(flag: str) -> Callable[[str], tuple[float, ...]]:
    """Numbers with commas between them."""

    def read(word: str) -> tuple[float, ...]:
        try:
            return tuple(float(each) for each in word.split(","))
        except ValueError:
            raise UsageError(f"{flag} '{word}' is not made of numbers", try_=f"{flag} 0.5, or {flag} R,G,B") from None

    return read


def read_rate(word: str) -> float:
    """A learning rate."""
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"--lr '{word}' is no number", try_="--lr 0.1, or --lr 0.1,0.2 for two runs") from None


def read_time(word: str) -> float:
    """Seconds of `300`, `300s`, `5m` or `0.5h`."""
    found = TIME.fullmatch(word.strip())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"--budget {word} is no time", try_="--budget 5m")
    return float(found[1]) * SECONDS[found[2]]


def write_time(seconds: float) -> str:
    """Seconds as a word again."""
    return f"{seconds / 60:.0f}m" if seconds % 60 == 0 else f"{seconds}s"


def read_sizes(word: str) -> tuple[tuple[int, float], ...]:
    """`16:0.5,24:0.25` as pairs of an edge and a share of the epochs; `full` for none."""
    try:
        pairs = [] if word == "full" else [part.split(":") for part in word.split(",")]
        return tuple((int(edge), float(share)) for edge, share in pairs)
    except ValueError:
        raise UsageError(
            f"--sizes: '{word}' is no list of edge:share", try_="--sizes 16:0.5,24:0.25, or --sizes full"
        ) from None


def write_sizes(sizes: Sequence[tuple[int, float]]) -> str:
    """The pairs as one word again."""
    return ",".join(f"{edge}:{share}" for edge, share in sizes) or "full"


def write_commas(values: Sequence[object]) -> str:
    """Values with commas between them."""
    return ",".join(map(str, values))


# --- what several verbs share -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OnDevice(Request):
    """Where it is computed."""

    device: Annotated[str, Option("auto, cpu, cuda or mps.")] = "auto"


@dataclass(frozen=True, kw_only=True)
class OfRunsData(Request):
    """A verb that needs the images a run was made on."""

    data: Annotated[str | None, Option("Where the run's data set lies now, if it was moved.", variable=False)] = None


@dataclass(frozen=True, kw_only=True)
class OfData(Request):
    """A verb that takes a data set of any kind."""

    data: Annotated[str, Option("cifar10, digits, or a folder or archive of train/CLASS/* and test/CLASS/*.")] = (
        "cifar10"
    )


@dataclass(frozen=True, kw_only=True)
class Sized(Request):
    """A verb whose models may be given another size of pictures and another stem."""

    stem: Annotated[str | None, Option("cifar: 3x3 stem without max-pool, for ResNets of timm and torchvision.")] = None
    image_size: Annotated[int | None, Option("Pixels an edge of what the model is given.")] = None

    def whole_name(self, model: object) -> str:
        """A model's name with the size and the stem asked for, as a run stores it."""
        return with_options(str(model), size=self.image_size, stem=self.stem)


@dataclass(frozen=True, kw_only=True)
class OfExplainers(Request):
    """A verb that takes explainers at layers."""

    explainer: Annotated[
        Explainers, Option("Name, FILE.py:NAME, or all. Repeats.", many=True, complete="explainers")
    ] = ()
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
    max_images: Annotated[int | None, Option("Most images of the gallery; tables cover all.")] = None

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


MODEL = Option("Registered name, FILE.py:NAME (runs that file), timm:NAME or torchvision:NAME.", complete="models")
RUN = Option("Name, latest, or path.", argument=True, complete="runs")
RUNS = Option("Name, latest, or path. Repeats.", argument=True, many=True, complete="runs")
LIMIT = Option("First N images of one fixed order, or all.", read=read_limit)


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


def _instead(help: str, **more: Any) -> Option:  # noqa: ANN401
    return Option(help, panel=RECIPE, **more)


@dataclass(frozen=True)
class TrainRequest(Sized, OfData, Planned, OnDevice):
    """Train a model, test it once at the end, and keep everything in a run folder. Or several: see --seeds."""

    verb, panel, example = "train", START, "bench train --model cifar_resnet18 --limit 10000 --recipe cpu"

    model: Annotated[Models, replace(MODEL, help=f"{MODEL.help} Repeats.", many=True)] = "cifar_resnet18"
    _: KW_ONLY
    recipe: Annotated[str, Option("One of `bench list recipes`, or FILE.toml.")] = "course"
    seed: Annotated[int, Option("Of weights, order, augmentation and split.")] = 0
    seeds: Annotated[int, Option("Train N runs, of consecutive seeds.")] = 1
    val: Annotated[float, Option("Share of the training images kept for the curves; 0: none.")] = 0.1
    limit: Annotated[int | None, Option("Train on N images, balanced by class.")] = None
    init: Annotated[str, Option("native, or shared: one initialisation for all models.")] = "native"
    pretrained: Annotated[str | None, Option("imagenet, a run, or a checkpoint.safetensors.")] = None
    compile: Annotated[bool, Option("Through torch.compile.", flag="--compile/--no-compile")] = False
    run: Annotated[str | None, Option("Name of the new run.", stored=False)] = None
    resume: Annotated[
        str | None,
        Option("Go on with an unfinished run: its name, or latest.", variable=False, stored=False, complete="runs"),
    ] = None
    skip_bad: Annotated[bool, Option("Leave out images that cannot be read, and count them.")] = False
    epochs: Annotated[int | None, _instead("Passes over the training images.")] = None
    batch_size: Annotated[int | None, _instead("Images a step.")] = None
    optimizer: Annotated[Names, _instead("sgd or adamw. Repeats.", many=True)] = ()
    lr: Annotated[Numbers, _instead("Peak learning rate. Repeats.", many=True, read=read_rate, metavar="<float>")] = ()
    lr_start: Annotated[float | None, _instead("First rate, as a share of the peak.")] = None
    lr_end: Annotated[float | None, _instead("Last rate, as a share of the peak.")] = None
    warm_up: Annotated[float | None, _instead("Share of the steps until the peak.")] = None
    momentum: Annotated[float | None, _instead("Of SGD.")] = None
    weight_decay: Annotated[float | None, _instead("On all parameters.")] = None
    norm_decay: Annotated[bool | None, _instead("Weight decay on the scales of batch norms, too.")] = None
    bias_scale: Annotated[
        float | None, _instead("Rate of norm and head biases, in multiples; their decay divided.")
    ] = None
    label_smoothing: Annotated[float | None, _instead("Share of a label spread over all classes.")] = None
    bn_momentum: Annotated[float | None, _instead("Share of a new batch in running statistics.")] = None
    lookahead: Annotated[int | None, _instead("Steps between looks of the slow weights; 0: none.")] = None
    whiten: Annotated[bool | None, _instead("Start the stem from the images' patches.")] = None
    zero_init: Annotated[bool | None, _instead("Start residual branches at 0.")] = None
    sizes: Annotated[
        str | Sequence[tuple[int, float]] | None,
        _instead("Smaller images first: EDGE:SHARE,... of the epochs, or full.", read=read_sizes, write=write_sizes),
    ] = None
    flip: Annotated[str | None, _instead("none, random or alternating.")] = None
    translate: Annotated[int | None, _instead("Pixels of reflected border to crop from.")] = None
    cutout: Annotated[int | None, _instead("Edge in pixels of the square left out.")] = None
    precision: Annotated[str | None, _instead("auto, fp32 or bf16.")] = None

    def changes(self) -> dict[str, Any]:
        """What was given in place of the recipe's values, by their names."""
        values = {each.name: getattr(self, each.name) for each in self.typed() if each.option.panel == RECIPE}
        several = ("optimizer", "lr")
        return {
            **{name: value for name, value in values.items() if name not in several},
            **{name: next(iter(values[name]), None) for name in several},
        }

    def trainings(self) -> tuple[Self, ...]:
        """One request for each training: every model with every optimiser at every peak rate, from every seed."""
        if self.seeds < 1:
            raise UsageError(f"--seeds {self.seeds} trains nothing, must be 1 or more", try_="--seeds 5")
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

    weights: Annotated[Path, Option("A .pt, .pth or .safetensors file.", variable=False)]
    _: KW_ONLY
    model: Annotated[Model, MODEL] = "cifar_resnet18"
    classes: Annotated[
        str | Sequence[str] | None,
        Option(
            "Names of the outputs in their order, with commas, or a file, one a line.",
            read=read_classes,
            write=write_commas,
        ),
    ] = None
    mean: Annotated[
        str | Sequence[float] | None,
        Option(
            "What the images were normalised with, one value or R,G,B.", read=read_values("--mean"), write=write_commas
        ),
    ] = None
    std: Annotated[
        str | Sequence[float] | None,
        Option("The same for the deviation.", read=read_values("--std"), write=write_commas),
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
    model: Annotated[Models, Option("The newest run of this model. Repeats.", many=True, complete="models")] = ()
    which: Annotated[str, Option("wrong, or all test images.")] = "wrong"
    ids: Annotated[
        str | Sequence[int] | None,
        Option("3,17 or a file of test ids, instead of --which.", read=read_ids, write=write_commas),
    ] = None
    target: Annotated[str, Option("predicted, true or both.")] = "both"
    limit: Annotated[int | str | None, LIMIT] = None


@dataclass(frozen=True)
class ExplainPicturesRequest(Costly, OnDevice):
    """Explain what a run's model sees in pictures of one's own."""

    verb, panel, example = "explain", LOOK, "bench explain --image cat.png --class dog"

    image: Annotated[
        Paths,
        Option("A picture of your own, on a page of its own. Repeats.", many=True, commas=False, variable=False),
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
    out: Annotated[Path | None, Option("Folder of the page; else runs/compare/N.")] = None


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
    ids: Annotated[
        str | Sequence[int] | None, Option("3,17 or a file of test ids.", read=read_ids, write=write_commas)
    ] = None
    n: Annotated[int, Option("How many pictures.", least=1)] = 20
    layer: Annotated[Names, Option("Dotted module name. Repeats.", many=True)] = ()
    explainer: Annotated[Explainer | None, Option("Whose maps; else the first there is.", complete="explainers")] = None
    target: Annotated[str, Option("predicted, true or both.")] = "predicted"
    captions: Annotated[bool, Option("Classes above the pictures.")] = True


# --- trust --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeRequest(OfExplainers, OfRunsData, OnDevice):
    """Hold every cell against Grad-CAM in float64: same, another recipe, another method, or wrong, and why."""

    verb, panel, example = "judge", TRUST, "bench judge latest --explainer gradcam --layer layer4.1.bn2"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[int | None, Option("Images of the sample; none for 8, with --faithfulness 200.", least=1)] = None
    strict: Annotated[bool, Option("Exit 3 when a map is wrong or an explainer fails.")] = False


@dataclass(frozen=True)
class FaithfulnessRequest(OfExplainers, OfRunsData, Planned, OnDevice):
    """What happens when parts of the image are covered: scores of every explainer, not verdicts."""

    verb, panel, example = "judge --faithfulness", TRUST, "bench judge latest --faithfulness"

    run: Annotated[str, RUN] = LATEST
    _: KW_ONLY
    limit: Annotated[int | None, Option("Images of the sample; none for 200.", least=1)] = None
    sanity: Annotated[int, Option("Images explained again with scrambled weights.", least=0)] = 50


@dataclass(frozen=True)
class TimeRequest(OfExplainers, OnDevice):
    """Time models and explainers in turns: rates with intervals, paired ratios, the machine's own limit."""

    verb, panel = "time", TRUST
    example = "bench time --model cifar_resnet18,timm_resnet18 --what forward --rounds 12"

    model: Annotated[
        Models,
        Option("Registered name, or FILE.py:NAME; weights from a seed. Repeats.", many=True, complete="models"),
    ] = ()
    _: KW_ONLY
    run: Annotated[Names, RUNS] = ()
    what: Annotated[Names, Option("forward, train or explain. Repeats.", many=True)] = (
        "forward",
        "train",
        "explain",
    )
    batch_size: Annotated[int, Option("Images a call.")] = 64
    rounds: Annotated[int, Option("Rounds; each gives one figure an arm.")] = 12
    budget: Annotated[
        str | float,
        Option("Time for all of it: 90s, 5m, 1h. Fewer rounds, never under 6.", read=read_time, write=write_time),
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
        Option("Registered names, FILE.py:NAME, or all.", many=True, flagless=True, complete="explainers"),
    ] = ()
    _: KW_ONLY
    run: Annotated[str | None, Option("On this run's model and images; else on a small net.", complete="runs")] = None
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
    recipe: Annotated[str, Option("Whose optimiser and batch size; one of `bench list recipes`.")] = "course"
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


@dataclass(frozen=True)
class ShowRequest(Request):
    """A run's result, a model's summary, a data set's pictures, or what augmentation does to them."""

    verb, example = "show", "bench show model cifar_resnet18"

    what: Annotated[str, Option("run, model, data or augment.", flagless=True)]
    name: Annotated[str | None, Option("Its name; for augment and data a data set.", flagless=True)] = None
    _: KW_ONLY
    run: Annotated[str | None, Option("run: name, latest, or path.", complete="runs")] = None
    all_: Annotated[bool, Option("model: every module.")] = False
    markdown: Annotated[bool, Option("run: tables to paste.")] = False
    classes: Annotated[int, Option("model: number of classes.", least=2)] = 10
    recipe: Annotated[str, Option("augment: whose augmentation.")] = "course"
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

    verb = "rm"

    run: Annotated[str, Option("Name of the run.", argument=True, variable=False, complete="runs")]
    _: KW_ONLY
    yes: Annotated[bool, Option("Do not ask.", flag="--yes,-y")] = False
