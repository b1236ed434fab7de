"""What the scores of explanations are, as plain values. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.schema.page import Estimate

SCORES_SCHEMA = 2  # 1 called the patches of a flip cells


@dataclass(frozen=True)
class Likeness:
    """How alike two maps of one image are, beside what maps of different images reach.

    Attributes:
        value: mean over images, with a 95 % bootstrap interval over images; None below ten images.
        null: the same for maps of different images.
        images: how many images the value is of.
        verdict: `above` or `below` the null where the two intervals lie apart, else `no evidence`.
    """

    value: Estimate | None
    null: Estimate | None
    images: int
    verdict: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", apart(self.value, self.null))


def apart(value: Estimate | None, null: Estimate | None) -> str:
    """On which side of the other an interval lies; `no evidence` where they touch or one is not known."""
    if value is None or null is None:
        return "no evidence"
    if value.low > null.high:
        return "above"
    return "below" if value.high < null.low else "no evidence"


@dataclass(frozen=True)
class Gain:
    """How much better an order of patches does than other orders, in points of probability (-1..1); above 0 is better.

    Attributes:
        over_random: than the mean of random orders of the same image.
        over_centre: than patches taken from the middle outwards.
    """

    over_random: Estimate | None
    over_centre: Estimate | None


@dataclass(frozen=True)
class Flip:
    """Errors that turn to the true class when patches of the difference map go.

    Attributes:
        patches: how many patches go: those that speak most for the predicted and against the true class.
        turned: share of the images.
        random: share when as many random patches go, the mean of several draws.
        gain: `turned` minus `random`, image by image.
    """

    patches: int
    turned: Estimate | None
    random: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class Health:
    """The maps of an explainer at a layer, on its own grid; a map that is not `ok` is in no mean.

    Attributes:
        maps: all there are, of predicted and true classes.
        tied: mean share of a map's values that stand at another position, too, after the ReLU.
        kappa: median of max |raw| / (max - min of the map after the ReLU): how much an error of the raw map grows
            in the picture.
        kappa_largest: the largest of all maps.
    """

    maps: int
    dead: int
    constant: int
    non_finite: int
    tied: float | None
    kappa: float | None
    kappa_largest: float | None


@dataclass(frozen=True)
class ExplainerScores:
    """One explainer, or a baseline, at one layer.

    Attributes:
        height, width: the grid of patches that are covered; finer maps are summed to it.
        images: scored; the others' maps for the predicted class are not `ok`.
        logit: rank correlation of the predicted class's map with the drop of its logit, patch by patch.
        margin: of the map of the predicted minus that of the true class with the drop of the margin between them.
        deletion, insertion: gain of the area under the curve of the predicted class's probability.
        contrast: rank correlation of the maps of predicted and true class; None for what has but one map.
        alike: an earlier row whose patches come in the same order in `alike_images` images; empty for none.
        health: None for a baseline.
    """

    explainer: str
    layer: str
    height: int
    width: int
    images: int
    logit: Likeness
    margin: Likeness
    deletion: Gain
    insertion: Gain
    flips: tuple[Flip, ...]
    contrast: Likeness | None
    health: Health | None
    alike: str = ""
    alike_images: int = 0


@dataclass(frozen=True)
class PairScores:
    """Two explainers at one layer, on the native grid where they share one.

    Attributes:
        spearman: rank correlation.
        overlap: intersection over union of the top eighth of their values.
    """

    layer: str
    first: str
    second: str
    spearman: Likeness
    overlap: Likeness


@dataclass(frozen=True)
class SanityScores:
    """Maps of a model whose last stages were scrambled, against the maps of the trained one.

    Attributes:
        stage: the last stage that was scrambled, and with it all behind it.
        spearman: rank correlation with the map of the same image; its null is that of other images' maps.
    """

    explainer: str
    layer: str
    stage: str
    spearman: Likeness


@dataclass(frozen=True)
class Cost:
    """What the scores take.

    Attributes:
        images: explained errors.
        explanations: forward passes' worth of explaining, for maps that are not there yet.
        forwards: images with covered patches that the model has not answered yet; at most, where maps are missing.
        sanity: forward passes' worth of the sanity check.
        rate: forward passes a second.
    """

    images: int
    explanations: float
    forwards: int
    sanity: float
    rate: float

    @property
    def per_image(self) -> float:
        """Forward passes an image, all together."""
        return (self.explanations + self.forwards + self.sanity) / max(1, self.images)

    @property
    def seconds(self) -> float:
        """How long that takes at the rate."""
        return (self.explanations + self.forwards + self.sanity) / self.rate


@dataclass(frozen=True)
class FaithfulnessScores:
    """All scores of one run.

    Attributes:
        images: errors that were looked at, of `wrong` there are.
        answers: images with covered patches that the scores rest on; `new` of them were computed by this call in
            `seconds`.
    """

    schema: int
    run: str
    checkpoint: str
    model: str
    device: str
    versions: Mapping[str, str]
    images: int
    wrong: int
    cost: Cost
    answers: int = 0
    new: int = 0
    seconds: float = 0.0
    rows: tuple[ExplainerScores, ...] = ()
    pairs: tuple[PairScores, ...] = ()
    sanity: tuple[SanityScores, ...] = field(default=())
