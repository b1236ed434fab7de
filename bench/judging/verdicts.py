"""Verdicts: every explainer in float64 against Grad-CAM in float64, so that rounding is never an excuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import ExplainerSpec, Floats, Progress, Silence
from bench.errors import RoomError, in_one_line
from bench.evaluation import BATCH, EVALUATE
from bench.explaining.batches import explained, named
from bench.explaining.float64 import double_copy, home_of_float64, in_float64
from bench.explaining.guard import statuses
from bench.explaining.plan import INPUT_LAYER
from bench.judging.diagnosis import Diagnosis, Scene, diagnose, plain_maps
from bench.judging.picture_steps import OURS, apart, replayed, steps_between
from bench.memory import Room, ran_out
from bench.modes import evaluating
from bench.schema.run import STATUSES
from bench.schema.verdicts import CAUSES, Completeness, Step, Verdict
from bench.stats.completeness import completeness
from bench.stats.intervals import largest_relative_difference, median_or_none, rank_correlations

# Of a map's largest value: float64 throughout, or through float32 on the way. Sums in another order were seen to differ
# by 2e-15 in the one and 4e-7 in the other; what libraries get wrong in place, by a tenth and more.
EXACT, CAST = 1e-12, 1e-6
GRADCAM = "grad-cam"
ROUNDING = 1e-5  # of a map's largest value: what float32 sums in another order differ by, 25 times over

# Equal to Grad-CAM wherever the gradient is. The library's XGradCAM only up to 1e-6, for it divides by sum + 1e-7.
MEET_GRADCAM = frozenset({"hirescam", "xgradcam"})
ONE_POSITION = "the grid is a single position, over which there is nothing to weight"
CONSTANT_GRADIENT = (
    "only pooling and a linear layer follow, so the gradient is the same at every position, "
    "and weighting channels by its mean (Grad-CAM), position by position (HiResCAM) or by activation (XGradCAM) is "
    "one sum"
)

Maps = dict[str, Tensor | str]  # by layer; words where the explainer raised


@dataclass(frozen=True)
class Inputs:
    """What explainers are judged on.

    Attributes:
        images: (N, 3, H, W) float32, normalised, on the model's device.
        targets: (N, T) int64, there too.
    """

    images: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Case:
    """An explainer and what it is asked for; `layers` is ("input",) for an input method."""

    name: str
    spec: ExplainerSpec
    layers: tuple[str, ...]


def verdicts(
    cases: Sequence[Case], reference: ExplainerSpec | None, model: nn.Module, inputs: Inputs, *, progress: Progress
) -> tuple[Verdict, ...]:
    """A verdict for every explainer at every layer that it is asked for.

    Args:
        cases: whom to judge; each is run twice, in float64 and in the model's own precision.
        reference: an explainer that is Grad-CAM; None for the slow plain one. It is itself held against the slow one.
        model: in eval mode; left as found.

    Raises:
        RoomError: no case fits into memory; else those that do get their verdicts.
    """
    room, found, lacking = Room(progress), list[Judging](), dict[str, RoomError]()
    with progress.track("judge", 1 + len(cases)) as task:
        truth = Truth.of(reference, model, layers_of_all(cases), inputs, room=room)
        task.advance(note="the reference")
        for case in cases:
            try:
                found.append(of_case(case, truth, model, inputs, room=room))
            except RoomError as error:
                lacking[case.name] = error
            task.advance(note=case.name)
    if lacking and not found:
        raise next(iter(lacking.values()))
    for name, lack in lacking.items():
        progress.warn(f"no verdict on {name}: {lack.message}; {lack.try_}")
    return same_bits(found, truth.by, truth.maps)


def layers_of_all(cases: Sequence[Case]) -> tuple[str, ...]:
    """The layers at which there is a Grad-CAM, each once."""
    return tuple(dict.fromkeys(str(one) for case in cases for one in case.layers if one != INPUT_LAYER))


@dataclass(frozen=True)
class Judging:
    """The verdicts on one explainer, and its float64 maps."""

    name: str
    verdicts: tuple[Verdict, ...]
    maps: Maps


def of_case(case: Case, truth: Truth, model: nn.Module, inputs: Inputs, *, room: Room) -> Judging:
    """The verdicts on one explainer at its layers, each by itself."""
    own, quick = (maps_of(case, model, inputs, double=double, room=room) for double in (True, False))
    found = tuple(judged(case, layer, own[layer], truth=truth, quick=quick) for layer in case.layers)
    return Judging(case.name, found, own)


# --- maps ---------------------------------------------------------------------------------------------------


def maps_of(case: Case, model: nn.Module, inputs: Inputs, *, double: bool, room: Room | None = None) -> Maps:
    """The maps (N, T, h, w) of every layer; if all at once fail, each by itself, so that one failure stays alone."""
    run = in_float64 if double else explained
    try:
        found = run(case.spec, model, case.layers, inputs.images, inputs.targets, room=room)
        return {layer: maps.cpu().double() for layer, maps in found.items()}
    except Exception as error:
        if len(case.layers) == 1 and isinstance(error, RoomError):
            raise  # a small GPU is no fault of the explainer
        if len(case.layers) == 1:
            return {case.layers[0]: in_one_line(error)}
    parts = [maps_of(replace(case, layers=(layer,)), model, inputs, double=double, room=room) for layer in case.layers]
    return {layer: maps for part in parts for layer, maps in part.items()}


@dataclass(frozen=True)
class Truth:
    """Grad-CAM in float64, and all that is needed to find out why something else came out.

    Attributes:
        maps: raw maps of every layer, on the CPU; words where there are none.
        by: name of the explainer that made them; empty for the slow plain one.
        room: how many images fit at once.
    """

    maps: Maps
    model: nn.Module
    inputs: Inputs
    by: str
    room: Room

    @classmethod
    def of(
        cls,
        reference: ExplainerSpec | None,
        model: nn.Module,
        layers: tuple[str, ...],
        inputs: Inputs,
        *,
        room: Room | None = None,
    ) -> Truth:
        """The maps of the reference, or the slow plain ones where there is none."""
        home = home_of_float64(inputs.images.device)
        images = inputs.images.detach().to(home, copy=True).double()
        own = Inputs(images, inputs.targets.to(home, copy=True))
        bare = cls({}, double_copy(model), own, reference.name if reference else "", room or Room(Silence()))
        if reference is None:
            return replace(bare, maps={layer: bare.plain(layer) for layer in layers})
        maps = maps_of(Case(reference.name, reference, layers), model, inputs, double=True, room=room) if layers else {}
        return replace(bare, maps=maps)

    def plain(self, layer: str) -> Tensor | str:
        """The slow plain maps of a layer."""

        def work(rows: slice) -> Tensor:
            return plain_maps(self.scene(layer, rows)).detach().cpu()

        count = len(self.inputs.images)
        try:
            return torch.cat(list(self.room.batches(named("Grad-CAM", (layer,)), count, count, work)))
        except Exception as error:
            return in_one_line(error)

    def adds_up(self, spec: ExplainerSpec, own: Tensor) -> Completeness | None:
        """How float64 maps (N, T, h, w) add up to the differences of the logits of image and mean colour."""
        images = self.inputs.images
        with evaluating(self.model):
            logits = self.room.batches(EVALUATE, len(images), BATCH, lambda rows: self.model(images[rows]))
            due = (torch.cat(list(logits)) - self.model(torch.zeros_like(images[:1]))).gather(1, self.inputs.targets)
        return completeness(spec.complete, own.sum((2, 3)).flatten().numpy(), due.flatten().cpu().numpy())

    def scene(self, layer: str, rows: slice = slice(None)) -> Scene:
        """What an explainer of this layer was given, of some of the images."""
        return Scene(self.model, layer, self.inputs.images[rows], self.inputs.targets[rows])


# --- one verdict --------------------------------------------------------------------------------------------


def judged(case: Case, layer: str, own: Tensor | str, *, truth: Truth, quick: Maps) -> Verdict:
    """The verdict of one explainer at one layer.

    Args:
        own: its float64 maps (N, T, h, w), or why there are none.
        quick: its maps in the model's precision, by layer.
    """
    count, columns = truth.inputs.targets.shape
    empty = Verdict(case.name, layer, case.spec.revision, "failed", images=count, maps=count * columns)
    if isinstance(own, str):
        return replace(empty, words=own, instead="another explainer or another layer")
    fast = quick[layer]
    adds_up = truth.adds_up(case.spec, own) if case.spec.complete else None
    blank = replace(empty, moved=None if isinstance(fast, str) else moved(fast, own), complete=adds_up)
    maps = truth.plain(layer) if case.name == truth.by else truth.maps.get(layer, "")
    if not isinstance(maps, Tensor):
        if case.spec.claims != GRADCAM:
            return replace(blank, verdict="another method")
        return replace(blank, words=f"there is no Grad-CAM here to compare with: {maps}")
    dead, constant, non_finite = nothing_in(maps)
    blank = replace(blank, dead=dead, constant=constant, non_finite=non_finite)
    if case.spec.claims != GRADCAM:
        return _of_another_method(blank, case.spec, own, maps)
    return _of_gradcam(blank, case.spec, own, maps, truth=truth)


def _of_another_method(blank: Verdict, spec: ExplainerSpec, own: Tensor, maps: Tensor) -> Verdict:
    """Nothing is claimed; where the map is Grad-CAM's all the same, that is said with the reason."""
    # How far apart two methods are means nothing: each has its own unit.
    if not equal(maps.flatten(0, 1).numpy(), own.flatten(0, 1).numpy()):
        return replace(blank, verdict="another method")
    words = f"equals Grad-CAM at this layer: {why_equal(spec.name, tuple(maps.shape[2:]))}"
    return replace(blank, verdict="another method", words=words, difference=_largest(own, maps))


def _of_gradcam(blank: Verdict, spec: ExplainerSpec, own: Tensor, maps: Tensor, *, truth: Truth) -> Verdict:
    """It claims to be Grad-CAM: the raw map must be, or the picture must come from one that is."""
    picture = spec.output == "picture"
    tolerance = CAST if is_float32(own) else EXACT
    size = (int(own.shape[2]), int(own.shape[3]))
    due = replayed(maps.flatten(0, 1), OURS, size).reshape(own.shape) if picture else maps
    gap = _gap(own, due, picture=picture) if own.shape == due.shape else None
    blank = replace(blank, difference=gap)
    if gap is not None and gap <= tolerance:
        return replace(blank, verdict="same up to rounding", words=_carries_nothing(blank))
    try:
        why = diagnose(own, maps, truth.scene(blank.layer), tolerance=tolerance, picture=picture)
    except Exception as error:
        if ran_out(error):  # nothing is known then
            what = f"to find out why {blank.explainer} at {blank.layer} is not Grad-CAM"
            raise RoomError(what, f"{blank.images} images", try_=f"--limit {max(1, blank.images // 2)}") from error
        return replace(
            blank, verdict="wrong", causes=("unknown",), words=in_one_line(error), instead=CAUSES["unknown"][1]
        )
    blank = replace(blank, steps=_steps(why, maps, size))
    if not why.causes:
        return replace(blank, verdict="other recipe", words=_carries_nothing(blank))
    words = ", and ".join(CAUSES[key][0] for key in why.causes)
    return replace(
        blank,
        verdict="wrong",
        causes=why.causes,
        words=f"{words} ({why.detail})" if why.detail else words,
        instead="; ".join(dict.fromkeys(CAUSES[key][1] for key in why.causes)),
        correlation=_correlation(own, due),
    )


def same_bits(every: Sequence[Judging], by: str, truth: Maps) -> tuple[Verdict, ...]:
    """All verdicts with the names of those that give the same bits, which makes of `same up to rounding` `same`.

    Args:
        by: the explainer that made Grad-CAM's maps; empty for the slow plain one.
        truth: Grad-CAM's maps.
    """
    known = {each.name: each.maps for each in every}
    if by:
        known.setdefault(by, truth)
    return tuple(_with_equal(one, known) for each in every for one in each.verdicts)


def _with_equal(one: Verdict, known: Mapping[str, Maps]) -> Verdict:
    """A verdict with the names of the other explainers whose maps have the same bits at its layer."""
    maps = known[one.explainer][one.layer]
    others = {name: each.get(one.layer) for name, each in known.items() if name != one.explainer}
    equal = tuple(
        name for name, each in others.items() if isinstance(each, Tensor) and isinstance(maps, Tensor)
        and each.shape == maps.shape and bool(maps.any()) and torch.equal(each, maps)
    )  # fmt: skip
    verdict = "same" if equal and one.verdict == "same up to rounding" else one.verdict
    return replace(one, equal_to=equal, verdict=verdict)


# --- other methods that meet Grad-CAM -------------------------------------------------------------------------


def equal(first: Floats, second: Floats, tolerance: float = ROUNDING) -> bool:
    """Whether maps (R, h, w) are equal up to rounding; those that are zero wherever they are finite are no evidence.

    Args:
        tolerance: the most that |a - b| may be, of the largest value of the map.
    """
    if first.shape != second.shape:
        return False
    finite = np.isfinite(first).all(axis=(1, 2))
    if not np.array_equal(finite, np.isfinite(second).all(axis=(1, 2))):
        return False
    seen = bool(first[finite].any() or second[finite].any())
    return seen and largest_relative_difference(first, second) <= tolerance


def why_equal(name: str, grid: tuple[int, ...]) -> str:
    """Why an explainer's map on a grid (h, w) is Grad-CAM's, in words that complete "equal, because"."""
    if name not in MEET_GRADCAM:
        return "no formula says that they must be equal"
    return ONE_POSITION if grid == (1, 1) else CONSTANT_GRADIENT


# --- figures ------------------------------------------------------------------------------------------------


def is_float32(maps: Tensor) -> bool:
    """Whether every value could be a float32: then a library cast to it on the way."""
    return torch.equal(maps.nan_to_num(), maps.nan_to_num().float().double())


def moved(fast: Tensor, own: Tensor) -> float | None:
    """The largest difference between two precisions, of a map's largest value; None where no map is finite in both."""
    return None if fast.shape != own.shape else _largest(fast, own)


def _largest(found: Tensor, due: Tensor) -> float | None:
    rows = found.isfinite().all(dim=(2, 3)) & due.isfinite().all(dim=(2, 3))
    return apart(found[rows], due[rows]) if rows.any() else None


def _gap(own: Tensor, due: Tensor, *, picture: bool) -> float | None:
    """How far apart; None where something is not finite in one alone."""
    finite, wanted = own.isfinite().all(dim=(2, 3)), due.isfinite().all(dim=(2, 3))
    if not torch.equal(finite, wanted):
        return None
    if picture and finite.any():  # both are on the scale from 0 to 1
        return float((own[finite] - due[finite]).abs().max())
    return apart(own[finite], due[finite])


def _steps(why: Diagnosis, maps: Tensor, size: tuple[int, int]) -> tuple[Step, ...]:
    if why.recipe is None or why.maps is None:
        return ()
    rows = why.maps.isfinite().all(dim=(2, 3)) & maps.isfinite().all(dim=(2, 3))
    return steps_between(why.maps[rows], why.recipe, size)


def _correlation(own: Tensor, due: Tensor) -> float | None:
    rows = [each.flatten(0, 1).numpy() for each in (own, due)]
    return median_or_none(rank_correlations(*rows)) if own.shape == due.shape else None


def nothing_in(maps: Tensor) -> tuple[int, ...]:
    """How many of Grad-CAM's own maps (N, T, h, w) are dead, constant or not finite."""
    found = statuses(maps.flatten(0, 1).numpy()).tolist()
    return tuple(found.count(index) for index in range(1, len(STATUSES)))


def _carries_nothing(one: Verdict) -> str:
    """Words for maps that say nothing, be they right or not."""
    counts = {"without a positive value": one.dead, "constant": one.constant, "not finite": one.non_finite}
    words = [f"{count} of {one.maps} {what}" for what, count in counts.items() if count]
    return f"Grad-CAM's own maps: {', '.join(words)}" if words else ""
