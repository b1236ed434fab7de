"""Everything a page shows, as plain values: what bench.reports renders. Standard library only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.schema.gallery import Gallery
from bench.schema.pictures import PictureMap
from bench.schema.timing import ArmTiming
from bench.schema.verdicts import Completeness, Verdict

SIGNIFICANT = 0.05
MOST_CLASSES = 40  # a larger confusion matrix is neither kept nor drawn: nobody reads 1,600 numbers
MOST_CONFUSED = 100  # pairs that are kept of it
Advice = Literal["use", "with care", "avoid", "not tested", "baseline"]
Tone = Literal["good", "warn", "bad", ""]


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval, in the unit of the figure (accuracies in 0..1).

    Attributes:
        level: of the interval; above 0.95 where it is one of several of which each could be false.
    """

    value: float
    low: float
    high: float
    level: float = 0.95


def may_be_claimed(adjusted: float, difference: Estimate) -> bool:
    """Whether test and interval both say so: p, corrected over its family, at most 0.05, and an interval without 0."""
    return adjusted <= SIGNIFICANT and not difference.low <= 0 <= difference.high


@dataclass(frozen=True)
class Badge:
    """What may be compared. `ok` False means careful."""

    ok: bool
    text: str


@dataclass(frozen=True)
class Finding:
    """One generated sentence: `before` + a link with text `link` to `anchor` + `after`, then `evidence` in soft ink.

    Attributes:
        bad: it says that something is wrong.
    """

    before: str
    link: str
    anchor: str
    after: str
    evidence: str
    bad: bool = False

    @property
    def text(self) -> str:
        """The sentence without its link."""
        return f"{self.before}{self.link}{self.after}"


@dataclass(frozen=True)
class EpochPoint:
    """One epoch of a curve; accuracies in 0..1; validation values None without a validation split.

    `skipped` steps were left out, since their gradients overflowed in fp16.
    The losses are mean cross entropies of the labels as they are, in nats, whatever smoothing was trained with.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    images_per_second: float
    learning_rate: float
    skipped: int = 0


@dataclass(frozen=True)
class ClassRow:
    """Test images of one class: how many, how many right (recall), how often it was predicted."""

    name: str
    correct: int
    total: int
    predicted: int
    recall: Estimate


@dataclass(frozen=True)
class Average:
    """Test accuracy by the mean logits of several views of each image.

    Attributes:
        name: which views, in words.
        views: forward passes an image.
    """

    name: str
    accuracy: Estimate
    correct: int
    views: int


@dataclass(frozen=True)
class RunView:
    """One run as a page shows it; all figures but `averages` are those of the plain forward.

    Attributes:
        confusion: confusion[true][predicted] counts on the test set; empty of more than MOST_CLASSES.
        only_wrong: test images that this run alone got wrong; None on a run page.
        label: what tells it from the other runs of the page, such as `lr 0.1 · seed 0`; empty on a run page.
        train_rate, forward_rate: images a second, None when never measured.
        averages: the accuracy over several views of each image; empty when never measured.
        calibration: test images by their highest probability.
        calibration_error: the expected calibration error of these bins, in 0..1.
        calibration_floor: what that comes to by chance of a model that is right just as often as it says.
        swept: combinations of model, optimiser and rate of the call that trained it, where these were several.
        confused: of more than MOST_CLASSES the most confused pairs as (true class, predicted class, how often).
    """

    run: str
    model: str
    data: str
    recipe: str
    seed: int
    epochs: int
    train_images: int
    accuracy: Estimate
    correct: int
    total: int
    loss: float
    only_wrong: int | None
    parameters: int
    train_rate: float | None
    forward_rate: float | None
    device: str
    checkpoint: str
    curve: tuple[EpochPoint, ...]
    per_class: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    averages: tuple[Average, ...] = ()
    label: str = ""
    calibration: tuple[CalibrationBin, ...] = ()
    calibration_error: float | None = None
    calibration_floor: float | None = None
    swept: int = 0
    confused: tuple[tuple[int, int, int], ...] = ()

    def most_confused(self, count: int | None = 8) -> list[tuple[int, int, int]]:
        """The most confused pairs, most frequent first; all that are known without `count`."""
        return confused_pairs(self.confusion, count) if self.confusion else list(self.confused[:count])


def run_labels(runs: Sequence[RunView]) -> tuple[str, ...]:
    """A short name per run: what tells it from the others, else the model where it is unique, else its own name."""
    times = Counter(run.model for run in runs)
    return tuple(run.label or (run.model if times[run.model] == 1 else run.run) for run in runs)


def confused_pairs(confusion: Sequence[Sequence[int]], count: int | None = 8) -> list[tuple[int, int, int]]:
    """The most confused pairs as (true class, predicted class, how often), most frequent first; all without `count`."""
    pairs = [
        (true, predicted, errors)
        for true, row in enumerate(confusion)
        for predicted, errors in enumerate(row)
        if true != predicted and errors
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))[:count]


@dataclass(frozen=True)
class CellView:
    """One run x explainer x layer of the matrix; `run` indexes Page.runs.

    Attributes:
        missing: rows that were wanted and are not there.
        ms_per_image: milliseconds an image for the whole call that made it; None when never measured.
        layers_per_call, targets_per_call: what that call computed at once.
        picture: whether it holds a library's finished pictures, which skip the page's own post-processing.
        steps: how the library made them, in words.
        complete: how its maps add up, of a method that promises it; None too where old rows do not tell.
    """

    run: int
    explainer: str
    layer: str
    height: int
    width: int
    rows: int
    missing: int
    dead: int
    constant: int
    non_finite: int
    ms_per_image: float | None
    layers_per_call: int
    targets_per_call: int
    picture: bool = False
    steps: tuple[str, ...] = ()
    complete: Completeness | None = None


@dataclass(frozen=True)
class Agreement:
    """Two explainers at one layer of one run, over the rows both have.

    Attributes:
        rows: maps that are finite in both.
        largest: largest |a - b| over the largest |value| of the same map, over all of these.
        spearman: median over maps of the rank correlation on the native grid; None when no map has one.
        null: the same figure for maps of different images (what unrelated maps reach); None when too few.
        dropped: maps that are left out, since one of the two or both are not finite; `one_sided` of them in one alone.
        zeros: of `rows`, those that are zero everywhere in both and so are no evidence.
    """

    run: int
    layer: str
    first: str
    second: str
    rows: int
    largest: float
    spearman: float | None
    null: float | None
    dropped: int = 0
    one_sided: int = 0
    zeros: int = 0


@dataclass(frozen=True)
class PairTest:
    """Exact McNemar test of two runs on the same test images; `first` and `second` index Page.runs.

    Attributes:
        p_value: of this pair alone.
        adjusted: by Holm, over all pairs of the page; what is claimed is at most 0.05.
        difference: accuracy of first minus second; its interval leaves out 0 just where that is claimed.
        same_logits: all test logits are equal bit for bit: the runs are one, whatever their names.
    """

    first: int
    second: int
    only_first_wrong: int
    only_second_wrong: int
    p_value: float
    difference: Estimate
    same_logits: bool = False
    adjusted: float = 1.0

    @property
    def clear(self) -> bool:
        """Whether the difference may be claimed, among all those of the page."""
        return may_be_claimed(self.adjusted, self.difference)


@dataclass(frozen=True)
class ClassChange:
    """One class of a run against the same class of the page's first run: exact McNemar test on the same images.

    Attributes:
        run: index into Page.runs, 1 or more.
        label: class index.
        mended, broken: images that only the first, and only this run got wrong.
        difference: recall of this run minus that of the first; its interval leaves out 0 just where that is claimed.
        adjusted: p by Holm, over all classes and runs of the page.
    """

    run: int
    label: int
    mended: int
    broken: int
    difference: Estimate
    adjusted: float

    @property
    def clear(self) -> bool:
        """Whether the change may be claimed, among all those of the page."""
        return may_be_claimed(self.adjusted, self.difference)


@dataclass(frozen=True)
class ConfusionChange:
    """How often the first run and another one took one class for another: counts, no claim."""

    run: int
    true: int
    predicted: int
    first: int
    other: int


@dataclass(frozen=True)
class Answer:
    """What one test says, in a few words; empty where it was not made.

    Attributes:
        holds: whether it speaks for the map; None where nothing can be said.
        figure: with its interval, where there is one to draw.
        undecided: whether there were too few images to tell.
    """

    words: str = ""
    holds: bool | None = None
    figure: Estimate | None = None
    undecided: bool = False

    @property
    def tone(self) -> Tone:
        """How it is coloured."""
        return "" if self.holds is None else "good" if self.holds else "warn"


@dataclass(frozen=True)
class TrustLine:
    """An explainer at a layer of a run.

    Attributes:
        run: index into Page.runs.
        claims: whether it computes what it claims to.
        sticker, mosaic, hiding: the tests: a planted sticker, the right one of four images, patches that are covered.
        stable: rank correlation of its maps with those of another seed.
        adds_up: whether its values add up to the answer, where it promises that.
        why: of the advice, in a sentence.
    """

    run: int
    explainer: str
    layer: str
    advice: Advice
    why: str
    claims: Answer
    sticker: Answer
    mosaic: Answer
    hiding: Answer
    stable: Answer
    adds_up: Answer


@dataclass(frozen=True)
class EvidencePicture:
    """A picture with a map over it.

    Attributes:
        pixels: edge * edge * 3 bytes, RGB, row by row.
        map: None for the picture alone.
        box: row, column and edge in pixels of a square that is marked; None for none.
    """

    caption: str
    edge: int
    pixels: bytes
    map: PictureMap | None
    box: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Evidence:
    """Pictures side by side that show what a test found.

    Attributes:
        key: `sticker` or `mosaic`.
    """

    key: str
    title: str
    pictures: tuple[EvidencePicture, ...]


@dataclass(frozen=True)
class Trust:
    """The section on trust.

    Attributes:
        sentences: what a reader should take from it, at most three.
        groups: of each explainer of a run its lines, the one to look at first.
        baselines: rows that know no model.
        heads: the first line of each group; explainers that are exactly Grad-CAM at one layer share one, `a = b`.
    """

    sentences: tuple[str, ...]
    groups: tuple[tuple[TrustLine, ...], ...]
    baselines: tuple[TrustLine, ...]
    evidence: tuple[Evidence, ...] = ()
    heads: tuple[TrustLine, ...] = ()


@dataclass(frozen=True)
class SeedLikeness:
    """How alike an explainer's maps of one image and class are in two runs of other seeds: rank correlation.

    Attributes:
        value: mean over images, and over all pairs of the runs.
        null: of maps of different images of the same class.
    """

    explainer: str
    value: Estimate | None
    null: Estimate | None


@dataclass(frozen=True)
class SeedShare:
    """How much of what differs between the maps of runs that differ in their seed alone is the seed's.

    Attributes:
        runs: index into Page.runs, two or more.
        explainers: those whose maps differ from each other; all maps are for the true class, on one grid.
        share: of all variance of the maps, each of mean 0 and mean square 1; the interval is over images. None of two
            runs, which say too little of seeds.
        parts: each variance component by the names of what must change for it to differ, as a share of all.
        alike: of every explainer that all runs have.
    """

    runs: tuple[int, ...]
    layer: str
    explainers: tuple[str, ...]
    images: int
    share: Estimate | None
    parts: tuple[tuple[str, float], ...]
    alike: tuple[SeedLikeness, ...] = ()


@dataclass(frozen=True)
class Page:
    """Everything a page shows, as plain values: what bench.reports renders, and the page's JSON twin.

    Attributes:
        kind: `run` (exactly one run) or `comparison`.
        title: a finding, not a label.
        pipeline: what happens to a raw map before it is seen, in words.
        provenance: groups of (heading, ((label, value), ...)).
        shown, wanted: images in the gallery, and images there are to show.
        timings: raw rates of training and of explaining, noted while it was done.
        speeds: what `bench time` found of the runs; where it is more than one timing, they are not paired.
        differences: in what the runs of a comparison were made differently.
        verdicts, scores: of explainers that were judged and scored; empty for none.
        trust: whether the pictures can be trusted; None where nothing was tested.
        class_changes, confusion_changes: of a comparison, against its first run.
        seeds: how much of the maps is the seed's, layer by layer; empty without three runs that differ in it alone.
    """

    schema: int
    kind: Literal["run", "comparison"]
    title: str
    created: str
    classes: tuple[str, ...]
    badges: tuple[Badge, ...]
    findings: tuple[Finding, ...]
    runs: tuple[RunView, ...]
    cells: tuple[CellView, ...]
    agreements: tuple[Agreement, ...]
    pairs: tuple[PairTest, ...]
    gallery: Gallery
    shown: int
    wanted: int
    pipeline: str
    provenance: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    timings: tuple[Rates, ...] = ()
    differences: tuple[Difference, ...] = ()
    verdicts: tuple[VerdictView, ...] = ()
    scores: tuple[Score, ...] = ()
    speeds: tuple[Speeds, ...] = ()
    seeds: tuple[SeedShare, ...] = ()
    trust: Trust | None = None
    class_changes: tuple[ClassChange, ...] = ()
    confusion_changes: tuple[ConfusionChange, ...] = ()


@dataclass(frozen=True)
class CalibrationBin:
    """Test images whose highest probability lies in one range.

    Attributes:
        total, correct: images, and how many of them are right.
        confidence: mean of their highest probability.
        low, high: 95 % Wilson interval of the share that is right.
    """

    total: int
    correct: int
    confidence: float
    low: float
    high: float


@dataclass(frozen=True)
class Rates:
    """Rates of one piece of work of a run, noted while it was done: images a second, in the order they were taken.

    `run` indexes Page.runs; each value is of one epoch of training or of one batch of explaining.

    Attributes:
        id: of the timing that holds the raw samples; empty for training, whose epochs are the run's own log.
    """

    run: int
    what: str
    each: str
    values: tuple[float, ...]
    id: str = ""


@dataclass(frozen=True)
class ArmSpeed:
    """One arm of `bench time` with what its rounds gave, in run order.

    Attributes:
        runs: of the page, by their index in Page.runs, that are timed by it.
        rounds, warm_up: units a second, of each round and of each block before the first.
        ratios: to the arm it is compared with, of each round; empty for a baseline.
    """

    runs: tuple[int, ...]
    arm: ArmTiming
    rounds: tuple[float, ...]
    warm_up: tuple[float, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Speeds:
    """One timing by `bench time`, as far as it is of a page's runs.

    Attributes:
        id: of the timing; its file is timing/ID.json beside the runs or in a run's folder.
        limits: the machine's own, timed in the same rounds.
    """

    id: str
    created: str
    command: str
    device: str
    batch_size: int
    memory_format: str
    rounds: int
    notes: tuple[str, ...]
    arms: tuple[ArmSpeed, ...]
    limits: tuple[ArmTiming, ...]


@dataclass(frozen=True)
class Difference:
    """One setting, version or part of the machine in which compared runs differ; a value for each run."""

    group: str
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class VerdictView:
    """What the judge says of one explainer at one layer of a run; `run` indexes Page.runs."""

    run: int
    verdict: Verdict


@dataclass(frozen=True)
class Score:
    """How well maps order the patches by what covering them does to the logit: mean rank correlation over images.

    Attributes:
        run: indexes Page.runs.
        value, low, high: the mean with its 95 % interval over images; None below ten images.
        null: what maps of other images of the class reach.
        images: scored.
        evidence: `above` the null and every row that knows no model, `below` the null, `the truth itself` for a map
            that covering made, else `no evidence`; empty for a row that knows no model.
        gain, over: the differences to the null and to the row that knows no model which is hardest to beat, image by
            image, at the level of the table's claims; None below 30 images.
    """

    run: int
    explainer: str
    layer: str
    value: float | None
    low: float | None
    high: float | None
    null: float | None
    images: int
    evidence: str
    gain: Estimate | None = None
    over: Estimate | None = None
