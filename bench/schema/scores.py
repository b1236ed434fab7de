"""What the scores of explanations are, as plain values. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.schema.page import Estimate

SCORES_SCHEMA = 3  # 1 called the patches of a flip cells; 2 held maps against other images of any class
NO_EVIDENCE, TRUTH_ITSELF = "no evidence", "the truth itself"
FEWEST_IMAGES = 30  # of fewer nothing is claimed: the interval of a mean is not yet to be relied on
IMPUTED_A_SECOND = 100.0  # images of 32 to 64 pixels on one core


@dataclass(frozen=True)
class Likeness:
    """How alike two maps of one image are, beside what maps of other images of its class reach.

    Attributes:
        value: mean over images, with a 95 % bootstrap interval over images; None where there are too few.
        null: the same for maps of other images of the same class.
        images: how many images the value is of.
        alone: images of which no other has the class, so that they are in the value and not in the null.
        gain: value minus null, image by image, at the level of the table's claims.
        over: value minus the same figure of `rival`, image by image, at that level.
        rival: the row that knows no model which the value exceeds least clearly; empty where there is no such row.
        verdict: `above` where gain and over are above 0, `below` where the gain is below 0, else `no evidence`;
            empty for a row that knows no model, and `the truth itself` where the map is what it is held against.
    """

    value: Estimate | None
    null: Estimate | None
    images: int
    alone: int = 0
    gain: Estimate | None = None
    over: Estimate | None = None
    rival: str = ""
    verdict: str = NO_EVIDENCE


@dataclass(frozen=True)
class ByFill(Likeness):
    """The likeness of maps with the drops when a covered patch takes `fill`."""

    fill: str = ""


@dataclass(frozen=True)
class Gain:
    """How much better an order of patches does than other orders, in points of probability (-1..1); above 0 is better.

    Attributes:
        area: under the curve itself, 0 to 1.
        over_random: the gain over the mean of random orders of the same image.
        over: the gain over `rival`, image by image, at the level of the table's claims.
        rival: the row that knows no model over which the gain is least clear.
        verdict: `above` where the gain over random and over every row that knows no model is above 0.
    """

    area: Estimate | None
    over_random: Estimate | None
    over: Estimate | None = None
    rival: str = ""
    verdict: str = NO_EVIDENCE


@dataclass(frozen=True)
class Flip:
    """Errors that turn to the true class when patches of the difference map go.

    Attributes:
        patches: how many patches go: those that speak most for the predicted and against the true class.
        turned: share of the images.
        random: share when as many random patches go, the mean of several draws.
        gain: `turned` minus `random`, image by image.
        over, rival, verdict: as of a Gain.
    """

    patches: int
    turned: Estimate | None
    random: Estimate | None
    gain: Estimate | None
    over: Estimate | None = None
    rival: str = ""
    verdict: str = NO_EVIDENCE


@dataclass(frozen=True)
class Road:
    """The probability of the predicted class while patches are filled from what is around them.

    Attributes:
        morf, lerf: mean over the steps while the map's largest patches go first, and while they go last.
        gain: `area` is half of `lerf` minus `morf`, and is held against the random map and the other rows.
        images: that it is of, the first ones.
    """

    morf: Estimate | None
    lerf: Estimate | None
    gain: Gain
    images: int


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
        logit: rank correlation of the predicted class's map with the drop of its logit, patch by patch, when the
            patch takes the mean colour.
        fills: the same when the patch takes something else.
        margin: of the map of the predicted minus that of the true class with the drop of the margin between them.
        deletion, insertion: gain of the area under the curve of the predicted class's probability.
        contrast: rank correlation of the maps of predicted and true class; None for what has but one map.
        sparseness: Gini's index of the map's sizes, 0 where all are alike, near 1 where one is all there is.
        sensitivity: the farthest a map gets from its own while each pixel moves by 0.02, in lengths of the map.
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
    fills: tuple[ByFill, ...] = ()
    road: Road | None = None
    sparseness: Estimate | None = None
    sensitivity: Estimate | None = None


@dataclass(frozen=True)
class Ceiling:
    """How alike the drops by one fill are to those by another: more than that no map can be asked for.

    Attributes:
        fill, other: what the covered patches take.
        value: mean rank correlation over images.
    """

    layer: str
    fill: str
    other: str
    value: Estimate | None


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
        rho: rank correlation with the map of the same image, over draws of the scrambling and images.
        absolute: the same without its sign, for a map that turned round is no less the old one.
        null: `absolute` of maps of other images of the class.
        excess: `absolute` minus `null`, image by image.
        images, draws: that the figures are of.
        verdict: what may be said of them, see `left_of`.
    """

    explainer: str
    layer: str
    stage: str
    rho: Estimate | None
    absolute: Estimate | None = None
    null: Estimate | None = None
    excess: Estimate | None = None
    images: int = 0
    draws: int = 1
    verdict: str = "undecided"


@dataclass(frozen=True)
class Difference:
    """Two explainers at one layer by one score, image by image.

    Attributes:
        value: the first's minus the second's, the larger the better, at the level of all that is said of the two; None
            where it is the same on every image, or there are too few.
        missed: a difference that so many images would not show in one of five samples, at that level.
        images: that both have a figure for.
        verdict: `first` or `second` for the better one, `equal` where all figures are the same, else `no evidence`.
    """

    layer: str
    first: str
    second: str
    score: str
    value: Estimate | None
    missed: float | None
    images: int
    verdict: str


@dataclass(frozen=True)
class ScoresAlike:
    """Whether two scores put explainers in the same order, over explainers and layers.

    Attributes:
        value: rank correlation; None where one of them is the same for all.
        rows: explainers at layers; those whose figures are all the same count once.
    """

    first: str
    second: str
    value: float | None
    rows: int


@dataclass(frozen=True)
class Cost:
    """What the scores take.

    Attributes:
        images: explained errors.
        explanations: forward passes' worth of explaining, for maps that are not there yet.
        forwards: images with covered patches that the model has not answered yet; at most, where maps are missing.
        sanity: forward passes' worth of the sanity check and of moving images a little.
        rate: forward passes a second.
        imputed: of `forwards`, those whose patches are filled from what is around them, which takes its own time.
    """

    images: int
    explanations: float
    forwards: int
    sanity: float
    rate: float
    imputed: int = 0

    @property
    def per_image(self) -> float:
        """Forward passes an image, all together."""
        return (self.explanations + self.forwards + self.sanity) / max(1, self.images)

    @property
    def seconds(self) -> float:
        """How long that takes at the rate."""
        return (self.explanations + self.forwards + self.sanity) / self.rate + self.imputed / IMPUTED_A_SECOND


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
    sanity: tuple[SanityScores, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    differences: tuple[Difference, ...] = ()
    alike: tuple[ScoresAlike, ...] = ()
