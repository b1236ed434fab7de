"""The values that all layers of bench share. Standard library only at import time.

Shapes: N images, T targets an image, K classes, (H, W) pixels, (h, w) a layer's own grid, R rows of a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

# In quotes, so that whoever imports them imports no numpy.
Floats: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.floating]]"
Integers: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.integer]]"
Booleans: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]"

SIZE = 32  # pixels an edge of a picture, unless a model asks for another
RESNET_LAYERS = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class ModelSpec:
    """One implementation of a classifier.

    Attributes:
        name: the registered name, `[a-z][a-z0-9_+]*`.
        build: `build(num_classes)` gives a module from (N, 3, H, W) to logits (N, K), natively initialised.
        source: where the architecture and the code come from.
        input_size: pixels an edge.
        layers: the modules CAM methods use by default, in forward order.
        backend: the distribution the code comes from.
        key_map: pairs (own, common) of substrings of state-dict keys; replacing own by common gives the
            family's common names (torchvision's), which is how weights travel between implementations.
        imagenet: gives the ImageNet weights under this model's own keys; None when there are none.
    """

    name: str
    build: Callable[[int], nn.Module]
    source: str
    input_size: int = SIZE
    layers: tuple[str, ...] = RESNET_LAYERS
    backend: str = "torch"
    key_map: tuple[tuple[str, str], ...] = ()
    imagenet: Callable[[], dict[str, Tensor]] | None = None


class Explainer(Protocol):
    """The one signature that every explainer has."""

    def __call__(self, model: nn.Module, layers: Sequence[str], images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Raw maps of every image, layer and target.

        Args:
            model: gives logits (N, K); in eval mode. Left as found.
            layers: dotted module names, or ("input",) for an input method.
            images: (N, 3, H, W), normalised as in training.
            targets: (N, T) int64, the classes each map speaks for.

        Returns:
            {layer: (N, T, h, w)} in the dtype of `images`, signed, before ReLU, scaling and resizing, detached.
        """
        ...


class Layer(str):
    """A layer's dotted name, which knows what one pass of one image has shown of it.

    Attributes:
        channels, height, width: of its output; of the image itself at `input`.
        pixels: an edge of the image.
        behind: the share of a forward pass's multiplications that come after it.
        work: multiplications of a forward pass of one image.
    """

    channels: int
    height: int
    width: int
    pixels: int
    behind: float
    work: float

    def __new__(cls, name: str, shape: Sequence[int] = (512, SIZE, SIZE), **facts: float) -> Layer:
        """A layer (C, h, w); what is not known of it is that of a small ResNet18, and rather too much."""
        layer = super().__new__(cls, name)
        layer.channels, layer.height, layer.width = shape
        vars(layer).update({"pixels": SIZE, "behind": 1.0, "work": 5.6e8, **facts})
        return layer


@dataclass(frozen=True)
class ExplainerSpec:
    """One explainer of one library, with one set of parameters.

    Attributes:
        name: the registered name, `[a-z][a-z0-9_+]*`.
        explain: the function itself.
        source: paper and library.
        backend: the distribution the code comes from.
        revision: raised when the output changes, so that old cells are not mixed with new ones.
        output: `layer` (own grid), `input` (pixels), `pixels` (of a layer, but in pixels) or `picture` (the library's
            finished 0..1 picture).
        signed: raw values below zero mean something.
        stochastic: two calls may differ; then one image and one class are given a call, and torch's generators are
            seeded by the image, so that it has the same map in every call.
        class_specific: the map depends on the target.
        complete: a map's sum is logit(image) - logit(mean colour), which normalisation makes 0: `always`, and it gets a
            verdict; `expected` over random draws, and it gets a figure; else empty.
        claims: `grad-cam` when the raw map must equal Grad-CAM's, else empty.
        steps: of a `picture`: what the library does to the raw map, in order, in words.
        joint: layers asked for together cost what the dearest of them does; else each is asked for alone.
        cost: `cost(layer)` in forward passes an image and target; the layer is a `Layer`, which knows its channels.
        max_batch: most images a call.
    """

    name: str
    explain: Explainer
    source: str
    backend: str
    revision: int = 1
    output: Literal["layer", "input", "pixels", "picture"] = "layer"
    signed: bool = True
    stochastic: bool = False
    class_specific: bool = True
    claims: Literal["grad-cam", ""] = ""
    steps: tuple[str, ...] = ()
    joint: bool = True
    cost: Callable[[str], float] = field(default=lambda layer: 3.0)
    max_batch: int = 64
    complete: Literal["always", "expected", ""] = ""


@dataclass(frozen=True)
class Split:
    """Images of one split; an image's id is its position.

    Attributes:
        images: (N, 3, H, W) uint8, 32x32 unless a model asked for another size.
        labels: (N,) int64.
        names: N file names, "/" between folders; for data without files, "<split>/<class>/<id>".
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A data set, decoded.

    Attributes:
        name: slug for run names, such as `cifar10` or `cifar10-jpeg`.
        classes: K names, hostile text.
        train, test: the splits.
        mean, std: of the training split, per channel, in 0..1.
        mirror: whether a mirrored image is still of its class.
        digest: sha256 of pixels, labels and classes of both splits.
        source: what the user named.
        notes: what was done to the images on the way ("resized from ...", "3 unreadable files skipped").
        inventory: files found, images taken, and what was left out and why, in one line; empty for data without files.
        levels: the two values of pictures with more than 8 bits that became 0 and 255; empty where there are none.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mirror: bool
    digest: str
    source: str
    notes: tuple[str, ...] = ()
    inventory: str = ""
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class Augmentation:
    """What a training batch goes through, in pixel space.

    Attributes:
        translate: most pixels that an image is moved by, its border reflected; 0 for none.
        flip: `none`; `random`: half of the images are mirrored, drawn anew each time; `alternating`: a random half in
            the first epoch and the other half in the next, in turn, so that every image is seen either way in any two
            epochs.
        cutout: edge in pixels of the square filled with the mean colour; 0 for none.
    """

    translate: int = 4
    flip: Literal["none", "random", "alternating"] = "random"
    cutout: int = 16


# --- telling the user what goes on -------------------------------------------------------------------------


class Task(Protocol):
    """One running piece of work."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more units are done; `note` replaces the words behind the bar."""
        ...


class Progress(Protocol):
    """What a step tells whoever watches; only the command line turns it into output."""

    def say(self, text: str) -> None:
        """One line for a reader."""
        ...

    def warn(self, text: str) -> None:
        """One line that should not be overlooked."""
        ...

    def track(self, label: str, total: int) -> AbstractContextManager[Task]:
        """A context manager that gives a Task of `total` units."""
        ...


class _SilentTask:
    def advance(self, amount: int = 1, note: str = "") -> None:
        """Nothing to tell."""


class Silence:
    """A Progress that tells nobody."""

    def say(self, text: str) -> None:
        """Nothing to tell."""

    def warn(self, text: str) -> None:
        """Nothing to tell."""

    @contextmanager
    def track(self, label: str, total: int) -> Iterator[Task]:
        """A task that tells nobody."""
        yield _SilentTask()


# --- where units of work run -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """A file that a unit of work reads.

    Attributes:
        sha256: of its content, 64 hexadecimal digits.
        path: where the driver has it, with the driver's name for it; a worker may have it elsewhere.
    """

    sha256: str
    path: Path


class Files(Protocol):
    """The files of a unit where it is worked on."""

    def path(self, need: Need) -> Path:
        """Where a file is here."""
        ...

    def folder(self, needs: Sequence[Need]) -> Path:
        """A folder that holds these files under the names that they have with the driver."""
        ...

    @property
    def cache(self) -> Path:
        """A folder for what should be there the next time."""
        ...


class Unit(Protocol):
    """A piece of work that may be done anywhere, and again: a frozen dataclass that can be pickled.

    What it reads it names by hashes, and it writes nothing: what comes of it is its answer. An equal unit has an equal
    answer, bit for bit.
    """

    @property
    def label(self) -> str:
        """What it is, in words: it is named so where it fails."""
        ...

    @property
    def threads(self) -> int:
        """Torch's threads: sums add up in another order with others."""
        ...

    @property
    def device(self) -> str:
        """On what to compute, as users name it; each process of `local:N` puts its own GPU here."""
        ...

    @property
    def needs(self) -> tuple[Need, ...]:
        """The files it reads."""
        ...

    def work(self, files: Files) -> Any:  # noqa: ANN401 (each kind of unit has its own answer)
        """Its answer, which can be pickled."""
        ...


@dataclass(frozen=True)
class Done:
    """What a unit answered."""

    answer: Any


@dataclass(frozen=True)
class Broken:
    """A unit that failed.

    Attributes:
        why: the last line of its error.
        tries: how often it failed so.
    """

    why: str
    tries: int = 1


Outcome: TypeAlias = Done | Broken


class Engine(Protocol):
    """Workers, ready for units."""

    @property
    def threads(self) -> int:
        """Torch's threads that a unit should ask for."""
        ...

    @property
    def workers(self) -> int:
        """How many units are worked on at a time, as far as is known."""
        ...

    def attempt(self, units: Sequence[Unit]) -> Iterator[tuple[int, Outcome]]:
        """Work on units, each once: places in `units` with what came of them, in the order in which they end.

        When the iterator is closed, what has not ended is cancelled.
        """
        ...


@dataclass(frozen=True)
class EngineSettings:
    """What an engine is opened with.

    Attributes:
        address: what stands behind the engine's name and a colon.
        options: of the engine, by name.
        device: as users name it, such as `auto`.
        cache: the driver's folder of data.
        versions: of the distributions that decide what is computed; a worker with others is refused.
        progress: who is told.
    """

    address: str
    options: Mapping[str, str]
    device: str
    cache: Path
    versions: Mapping[str, str]
    progress: Progress


@dataclass(frozen=True)
class EngineSpec:
    """A kind of workers.

    Attributes:
        name: the registered name, `[a-z][a-z0-9_+]*`.
        open: gives workers that are ready; they are let go at the end of the block.
        source: what does the work of distributing.
        example: what to type behind `--on`.
    """

    name: str
    open: Callable[[EngineSettings], AbstractContextManager[Engine]]
    source: str
    example: str
