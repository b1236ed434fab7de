"""What the judge says of an explainer at a layer, as plain values. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

VERDICTS_SCHEMA = 1
SEEN = 5e-4  # on the scale from 0 to 1: a smaller step is not shown
Word = Literal["same", "same up to rounding", "other recipe", "another method", "wrong", "failed"]

# Every cause of a wrong map that can be told, in words, and what to do instead.
CAUSES: Mapping[str, tuple[str, str]] = {
    "overwritten": (
        "the activation was overwritten in place by what follows this layer before it was read",
        "name the end of the block, or use an explainer that clones the layer's output",
    ),
    "first call": (
        "the module runs more than once a pass, and the first run was taken instead of the last",
        "name a module that runs once, such as the block",
    ),
    "mixed calls": (
        "the module runs more than once a pass, and activation and gradient are of different runs",
        "name a module that runs once, such as the block",
    ),
    "softmax": ("the probability was differentiated, not the logit", "differentiate the target's logit"),
    "log-softmax": (
        "the log probability (the loss) was differentiated, not the logit",
        "differentiate the target's logit",
    ),
    "elementwise": (
        "gradients were multiplied position by position, as HiResCAM does, not averaged first",
        "average the gradient over the grid first, or do not claim Grad-CAM",
    ),
    "training mode": (
        "the model was run in training mode, so batch statistics took the place of the stored ones",
        "put the model into eval mode for the time of the call",
    ),
    "predicted class": ("the predicted class was explained, whichever was asked for", "use the targets that are given"),
    "first class": ("the first of the classes asked for was explained for all", "use every column of the targets"),
    "other class": ("another class was explained than was asked for", "use the targets that are given"),
    "zero rows": (
        "maps are zero everywhere where Grad-CAM's are not, as when fewer targets than images are given",
        "give each image its own target",
    ),
    "all zero": ("every map is zero everywhere where Grad-CAM's are not", "use another explainer"),
    "not finite": ("values are not finite where Grad-CAM's are", "use another explainer"),
    "relu": ("ReLU was applied to the raw map", "give the map before ReLU"),
    "scaled": ("the raw map was scaled", "give the map before scaling"),
    "resized": ("the raw map was resized", "give the map on the layer's own grid"),
    "sum": ("gradients were added up over the grid, not averaged", "divide by the number of positions"),
    "sign": ("the sign is reversed", "use another explainer"),
    "factor": ("all maps are multiplied by one constant", "use another explainer"),
    "unknown": ("cause not found", "do not trust it here; use another explainer"),
}


COMPLETE = 0.01  # of the difference of the logits: what the sum of a map may be off by


@dataclass(frozen=True)
class Completeness:
    """How far the sums of maps are from the difference of the logits of image and baseline, which they promise.

    Attributes:
        promise: `always`, or `expected` over random draws, of which no single map is held to it.
        median, largest: |sum - difference| over the size of the difference, or over its median where that is larger.
        maps: that it is known of.
        verdict: `complete`, or by how much not; of what holds in expectation only the figure.
    """

    promise: str
    median: float
    largest: float
    maps: int
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        figures = f"{percent_off(self.median)}, at most {percent_off(self.largest)}"
        words = f"sum off by {figures}" + ("" if self.promise == "always" else " (right in expectation)")
        complete = self.promise == "always" and self.largest <= COMPLETE
        object.__setattr__(self, "verdict", "complete" if complete else words)


def percent_off(share: float) -> str:
    """A share of any size in per cent."""
    return f"{100 * share:,.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


@dataclass(frozen=True)
class Step:
    """One thing that a finished picture has otherwise than ours.

    Attributes:
        words: what is done otherwise.
        difference: the largest change of a pixel, on the scale from 0 to 1, when this step joins those before it.
    """

    words: str
    difference: float


@dataclass(frozen=True)
class Verdict:
    """One explainer at one layer, held against Grad-CAM in float64.

    Attributes:
        revision: of the explainer's entry.
        verdict: how it came out.
        causes: keys of CAUSES, of a `wrong` one.
        words: why, in words.
        instead: what to do instead, of a `wrong` or `failed` one.
        steps: what a picture has otherwise than ours, each with its size.
        difference: largest difference to Grad-CAM in float64, of a map's largest value; of a picture largest
            difference to our picture, on the scale from 0 to 1. None where there is nothing to compare: other methods
            have units of their own.
        correlation: median rank correlation with Grad-CAM's maps, of a `wrong` one; None where no map has one.
        moved: largest difference between fp32 and the same explainer's float64, of a map's largest value.
        equal_to: explainers that give the same bits in float64 at this layer.
        images, maps: what was looked at.
        dead, constant, non_finite: how many of Grad-CAM's own maps carry nothing here.
        complete: how its maps add up in float64, of a method that promises it.
    """

    explainer: str
    layer: str
    revision: int
    verdict: Word
    causes: tuple[str, ...] = ()
    words: str = ""
    instead: str = ""
    steps: tuple[Step, ...] = ()
    difference: float | None = None
    correlation: float | None = None
    moved: float | None = None
    equal_to: tuple[str, ...] = ()
    images: int = 0
    maps: int = 0
    dead: int = 0
    constant: int = 0
    non_finite: int = 0
    complete: Completeness | None = None


@dataclass(frozen=True)
class Judgement:
    """runs/NAME/judge/verdicts.json: what was judged, on which images, and how it came out.

    Attributes:
        schema: version of the file.
        run, checkpoint: whose maps; the checkpoint by its sha256.
        created: ISO time, UTC.
        device: where it was judged.
        versions: of torch and all distributions that may change a map.
        ids: test ids of the images that the newest of the verdicts were made on.
    """

    schema: int
    run: str
    checkpoint: str
    created: str
    device: str
    versions: Mapping[str, str]
    ids: tuple[int, ...]
    verdicts: tuple[Verdict, ...] = field(default=())


def why(one: Verdict) -> str:
    """The cause, the steps that make a difference with their sizes, and whose bits are the same."""
    steps = "; ".join(f"{step.words} ({step.difference:.2f})" for step in one.steps if step.difference >= SEEN)
    if one.verdict == "wrong":
        return f"{one.words}. Its recipe besides: {steps}" if steps else one.words
    equal = f"bit for bit as {', '.join(one.equal_to)}" if one.verdict == "same" else ""
    adds_up = one.complete.verdict if one.complete else ""
    return ". ".join(filter(None, (equal, steps, one.words, adds_up)))
