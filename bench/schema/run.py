"""What run.json and a cell hold."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

from bench.contracts import SIZE, Floats, Integers
from bench.fields import Request, names
from bench.request import AdoptRequest, TrainRequest

MOST = 2**53  # beyond it a number is none that was counted or measured
ADOPTED = "adopted"  # in the place of a recipe's name

# How a raw map came out. A dead map has no positive value, so its ReLU is zero everywhere.
STATUSES = ("ok", "dead", "constant", "non-finite")

Status = Literal["ok", "dead", "constant", "non-finite"]


MOST_LABELS = 2**20  # classes of a model, at most


def keys_of(ids: Integers, classes: Integers) -> Integers:
    """One number for each (test id, class), which orders rows as they stand in a cell."""
    return ids * MOST_LABELS + classes


class Rows(Protocol):
    """(R, ...) values: an array, or what reads its rows from disk when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(R, ...)."""
        ...

    @property
    def dtype(self) -> Any:  # noqa: ANN401 (numpy's own)
        """Of the values."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any:  # noqa: ANN401
        """Rows as an array."""
        ...


@dataclass(frozen=True)
class Cell:
    """One explainer at one layer of one checkpoint.

    Attributes:
        schema: version of the file.
        checkpoint: sha256 of the checkpoint file.
        explainer, revision, layer: which cell it is.
        versions: backend and torch versions.
        device, dtype: where and in what the maps were computed.
        timing: id of the timing that holds the rate, empty for none.
        ids: (R,) int64 test ids, ascending, then by class.
        classes: (R,) int64, the class each map speaks for.
        raw: (R, h, w) maps; of a large cell those that are asked for are read from disk.
        status: (R,) uint8, index into STATUSES.
        output: what `raw` holds, as in `ExplainerSpec`: raw maps, or a library's finished `picture` in 0..1.
        steps: of a `picture`: how the library made it, in words.
        seeding: what the random draws behind the maps start from; empty where there are none.
        fp32: how float32 was multiplied: `ieee`, or `tf32` as on CUDA in cells that do not say so.
        promise: whether a map's sum is the difference of two logits, as in `ExplainerSpec.complete`.
        due: (R,) that difference: the logit of the image less that of the mean colour; NaN where it is not known.
    """

    schema: int
    checkpoint: str
    explainer: str
    revision: int
    layer: str
    versions: Mapping[str, str]
    device: str
    dtype: str
    timing: str
    ids: Integers
    classes: Integers
    raw: Rows
    status: Integers
    output: str = "layer"
    steps: tuple[str, ...] = ()
    seeding: str = ""
    promise: str = ""
    due: "Floats | None" = None
    fp32: str = "ieee"

    @property
    def keys(self) -> Integers:
        """(R,) what tells each row from the others."""
        return keys_of(self.ids, self.classes)


# --- run.json -----------------------------------------------------------------------------------------------


class OneOf:
    """How JSON is read as one of several requests: by its verb, the values checked by the types of its fields."""

    def __init__(self, *kinds: type[Request]) -> None:
        self.kinds = kinds

    def __get_pydantic_core_schema__(self, source: object, handler: Any) -> Any:  # noqa: ANN401 (pydantic's own)
        from pydantic_core import core_schema

        def branch(kind: type[Request]) -> Any:  # noqa: ANN401
            values = {each.name: _json_type(each.hint) for each in kind.typed() if each.option.stored}
            about = {"verb": Literal[kind.verb], "origins": dict[str, str], "objects": dict[str, str]}
            form = {
                name: core_schema.typed_dict_field(handler.generate_schema(type_), required=name == "verb")
                for name, type_ in {**about, **values}.items()
            }
            return core_schema.no_info_after_validator_function(kind.read, core_schema.typed_dict_schema(form))

        return core_schema.tagged_union_schema({kind.verb: branch(kind) for kind in self.kinds}, discriminator="verb")


def _json_type(hint: Any) -> Any:  # noqa: ANN401 (types)
    """The type that JSON has of a field's type; None for what only Python can give."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(each for each in map(_json_type, parts) if each is not None)]  # noqa: UP007
    if hint is Path:
        return str
    if get_origin(hint) is Sequence:
        return list[_json_type(parts[0])]  # type: ignore[misc]
    return hint if hint in (str, int, float, bool, NoneType) or get_origin(hint) is tuple else None


@dataclass(frozen=True)
class DataFacts:
    """The data set a run was made on.

    Attributes:
        name, source, digest, notes, inventory, levels: as in `bench.contracts.Dataset`.
        mirror: whether a mirrored image is still of its class.
        classes: the names of the model's outputs, in their order.
        mean, std: of the training split, which the images are normalised with.
        train, test: images of the splits.
        size: pixels an edge; 0 in runs that are older than the choice.
        files: sha256 of the test images' names and classes, the same for every size.
    """

    name: str = ""
    source: str = ""
    digest: str = ""
    mirror: bool = False
    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    train: int = 0
    test: int = 0
    size: int = 0
    files: str = ""
    inventory: str = ""
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class Code:
    """The git commit the code was at, and whether its files differed from it; empty where git knows nothing of it."""

    commit: str = ""
    dirty: bool = False

    @property
    def short(self) -> str:
        """Twelve digits of the commit, with a + where files differed."""
        return f"{self.commit[:12]}{'+' if self.dirty else ''}"


@dataclass(frozen=True)
class Environment:
    """The machine and the versions a run was made with; empty what is not known, or not there.

    Attributes:
        capability, gpu_memory, cuda, cudnn, driver: of a CUDA GPU; CUDA is the version that torch was built with.
        flags: torch's switches that decide about values and speed, as training begins.
        processes: how many trained it together.
        norms: of several processes, what batch norms saw of a batch: `synchronised` (the whole), `local` (the part of
            their process), `own` (the same, of somebody's own class) or `none` (there are none).
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    system: str = ""
    cpu: str = ""
    cores: int = 0
    threads: int = 0
    device: str = ""
    device_type: str = ""
    code: Code = Code()
    capability: str = ""
    gpu_memory: str = ""
    cuda: str = ""
    cudnn: str = ""
    driver: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    norms: str = ""


@dataclass(frozen=True)
class AverageResult:
    """What is right by the mean logits of several views of an image."""

    accuracy: float
    correct: int
    views: int


@dataclass(frozen=True)
class Results:
    """What came out of a run; None for what is not known of it.

    Attributes:
        accuracy, correct, total, loss: of the test split by the plain forward; the loss in nats.
        forward_images_per_second, train_images_per_second: rates on the run's own machine.
        averages: by name, see `bench.evaluation.VIEWS`.
        train_seconds, compile_seconds: of all epochs, and of torch.compile before the first.
        resumed: how often the run was continued.
        weights_sha256: of the file that was adopted.
    """

    accuracy: float | None = None
    correct: int | None = None
    total: int | None = None
    loss: float | None = None
    forward_images_per_second: float | None = None
    averages: Mapping[str, AverageResult] = field(default_factory=dict)
    epochs_run: int | None = None
    train_images: int | None = None
    train_images_per_second: float | None = None
    train_seconds: float | None = None
    compile_seconds: float | None = None
    parameters: int | None = None
    resumed: int | None = None
    weights_sha256: str | None = None

    def known(self) -> dict[str, object]:
        """What is known, by name."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}

    @property
    def impossible(self) -> tuple[str, ...]:
        """Names of figures that no run can have: below 0, without end, a share above 1, more right than there are."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        found = [name for name, value in numbers.items() if not 0 <= value < (1 if name == "accuracy" else MOST)]
        found = [name for name in found if numbers[name] != 1]
        right, total, share = self.correct, self.total, self.accuracy
        if not found and right is not None and total is not None and share is not None:
            found += ["accuracy", "correct"] if right > total or abs(share * total - right) > 0.5 else []
        counted = all(0 <= each.accuracy <= 1 and each.correct >= 0 for each in self.averages.values())
        return (*found, *(() if counted else ("averages",)))

    @property
    def possible(self) -> "Results":
        """The same without those figures."""
        nothing: dict[str, Any] = {name: {} if name == "averages" else None for name in self.impossible}
        return replace(self, **nothing)


@dataclass(frozen=True)
class RunRecord:
    """run.json: what was asked for, on which data, where, and with which result.

    Attributes:
        schema: version of the file.
        name: folder name.
        status: `created`, `training`, `done`, `failed` or `interrupted`.
        created: ISO time of the start, UTC.
        command: the command line.
        request: what was asked for, with every value that it was trained with and where each came from.
        artefacts: sha256 by file name.
        message: why it failed; empty otherwise.
        fingerprint: of the settings in a run that an earlier version began; its resume files bear it.
        notes: what of other weights was left alone or left as it was, and what there is to doubt of them.
        swept: combinations of model, optimiser and rate that the same call trained, where these were several.
        unit: of a training that a worker did the hash of what decides about its weights; its rates are the worker's.
    """

    schema: int
    name: str
    status: str
    created: str
    command: str
    request: Annotated[TrainRequest | AdoptRequest, OneOf(TrainRequest, AdoptRequest)]
    data: DataFacts = DataFacts()
    environment: Environment = Environment()
    results: Results = Results()
    artefacts: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    swept: int = 0
    unit: str = ""

    @property
    def model(self) -> str:
        """The model's name, as the registry finds it."""
        return names(self.request.model)[0]

    @property
    def recipe(self) -> str:
        """The recipe's name, or the path of its file."""
        return self.request.recipe if isinstance(self.request, TrainRequest) else ADOPTED

    @property
    def size(self) -> int:
        """Pixels an edge of the pictures that it was made on; runs that do not say so are older than the choice."""
        return self.data.size if self.data.size > 0 else SIZE

    @property
    def settings(self) -> dict[str, Any]:
        """Every value that was asked for, by name, as JSON holds it."""
        about = ("verb", "origins", "objects")
        return {name: value for name, value in self.request.stored().items() if name not in about}

    def as_json(self) -> dict[str, Any]:
        """What run.json holds."""
        parts: dict[str, Any] = {"data": self.data, "environment": self.environment, "results": self.results.possible}
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "request": self.request.stored(),
            **{name: asdict(part) for name, part in parts.items()},
        }
