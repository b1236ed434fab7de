"""What a timing holds, as plain values. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

What = Literal["forward", "train", "explain", "shipped", "product", "copy"]
Grade = Literal["steady", "noisy", "unusable"]
BUSY = "the machine was busy"  # how a note begins
Verdict = Literal["faster", "slower", "no measurable difference", "n too small", "struck out", "rounds not independent"]


@dataclass(frozen=True)
class Sample:
    """One block: an arm's calls one after the other, with the device synchronised before and after each reading.

    Attributes:
        arm: name of the arm.
        round: 0 in the warm-up, then from 1.
        calls: calls between two readings of the clock.
        seconds: of each such group of calls, in run order.
        images: of each call, where it is not its arm's batch size: the last batch has fewer.
    """

    arm: str
    round: int
    calls: int
    seconds: tuple[float, ...]
    images: int | None = None


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as the baseline an arm is: the median of the ratios of single rounds.

    Attributes:
        baseline: name of the arm it is compared with.
        low, high: interval of the median by order statistics; None where n is too small for one.
        coverage: how often such an interval holds the median of rounds that are drawn alike and apart. It is as high as
            it must be for all ratios of the timing to hold at once.
        verdict: what may be said; `struck out` where either arm's rates are spread too far, `n too small` below twelve
            rounds, `rounds not independent` where each resembles the one before.
    """

    baseline: str
    value: float
    low: float | None
    high: float | None
    coverage: float | None
    n: int
    verdict: Verdict


@dataclass(frozen=True)
class ArmTiming:
    """One arm, timed. Rates are `unit` a second: images, or for the machine's limits FLOP or bytes.

    Attributes:
        name: such as `explain[cifar_resnet18,captum,layer3]`.
        layers, targets: what one call answers for: layers, and classes an image.
        what: `explain` gives normalised 32x32 float32 maps on the host, `shipped` what the library's user gets;
            `product` and `copy` are the machine's own limits.
        model, explainer, layers: empty where they say nothing.
        mode: gradients and training mode, in words.
        settled: the warm-up ended because two blocks agreed; False draws its samples in grey.
        n: rounds; the rate of each is that of its two blocks.
        rate: median over rounds, with its interval by order statistics (None where n is too small).
        spread: interquartile range over median.
        latency_ms: of one image alone, median.
        memory_mb: peak in MiB; on CUDA what a call allocates beyond the weights and the batch that lie there;
            on a CPU the resident set of a fresh process, libraries included.
        gflop: an image, counted by torch.
        floor_gflop: the least an exact Grad-CAM at this layer can do; None for other work.
        of_product, of_copy: FLOP/s and bytes/s over the machine's matrix product and copy in the same rounds.
    """

    name: str
    what: What
    model: str
    explainer: str
    layers: tuple[str, ...]
    mode: str
    batch_size: int
    precision: str
    unit: str
    settled: bool
    n: int
    rate: float
    low: float | None
    high: float | None
    coverage: float | None
    p10: float
    p90: float
    spread: float
    grade: Grade
    latency_ms: float | None
    memory_mb: float | None
    gflop: float | None
    floor_gflop: float | None
    of_product: float | None
    of_copy: float | None
    ratio: Ratio | None
    targets: int = 1

    @property
    def layer(self) -> str:
        """The layers in words."""
        return ", ".join(self.layers)


@dataclass(frozen=True)
class Moment:
    """The machine before or after the rounds; None where it does not tell.

    Attributes:
        load: load averages of 1, 5 and 15 minutes.
        cpu_mhz: of each core.
        gpu: clocks in MHz, power in W, temperature in degrees C.
    """

    load: tuple[float, ...] | None
    cpu_mhz: tuple[float, ...] | None
    governor: str | None
    gpu: Mapping[str, float] | None


@dataclass(frozen=True)
class Timing:
    """timing/<when>.json: arms that were timed, with every raw sample.

    Attributes:
        what: `time` for arms that took turns in one process. Rates of a training or of explaining were noted in
            passing, one piece of work after the other: they have 0 rounds, no ratios, and nothing is known of the
            machine around them.
        id: when it was taken; the timing id that pages show.
        host: tells machines apart without naming them.
        models: what stands behind each model's name: registered name and sha256 of the checkpoint, empty for
            seeded weights.
        others: share of the machine that other processes and the hypervisor took during the rounds.
        samples: raw, in run order.
        notes: what a reader should know before believing it, such as that the machine was busy.
        fp32: how it was multiplied, `ieee` or `tf32`; in files that do not say so `tf32` on CUDA.
    """

    schema: int
    what: Literal["time", "train", "explain"]
    id: str
    created: str
    command: str
    commit: str
    host: str
    system: str
    device: str
    device_type: str
    threads: int
    versions: Mapping[str, str]
    models: Mapping[str, Mapping[str, str]]
    batch_size: int
    image_size: int
    memory_format: str
    rounds: int
    rounds_asked: int
    budget_seconds: float
    block_seconds: float
    seconds: float
    before: Moment | None
    after: Moment | None
    others: float | None
    arms: tuple[ArmTiming, ...]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]
    fp32: str = ""

    @property
    def busy(self) -> bool:
        """Whether other processes took much of the machine meanwhile."""
        return any(note.startswith(BUSY) for note in self.notes)

    @property
    def known_fp32(self) -> str:
        """How fp32 was multiplied, also in files that do not say so."""
        return self.fp32 or ("tf32" if self.device_type == "cuda" else "ieee")
