"""Thresholds of finished runs: accuracies, recalls, agreement of explainers, known answers, and stored timings."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.contracts import Floats, Integers
from bench.errors import UsageError, did_you_mean
from bench.evaluation import FIGURES, WORDS, read_averages
from bench.gates.judged import Figure, Judged, judge_figures
from bench.gates.rounds import TIMED, arm_rate, judge_rounds
from bench.registry.registry import short
from bench.request import TimeRequest
from bench.schema.known_answers import MosaicScore, StickerScore
from bench.schema.run import Cell
from bench.schema.timing import Timing
from bench.scoring.stickers import STRENGTHS
from bench.stats.agreement import alike, common_rows, correlations
from bench.stats.intervals import bootstrap_mean, wilson
from bench.store.folder import RunFolder
from bench.store.timings import knows, read_timings
from bench.thresholds import Rate, Threshold, quoted

RUN, CLASS, EXPLAINER, LAYER, STRENGTH = "RUN", "CLASS", "EXPLAINER", "LAYER", "STRENGTH"
AVERAGES = tuple(dict.fromkeys(FIGURES.values()))  # accuracy_mirror, accuracy_shifts
MAPS = (RUN, EXPLAINER, LAYER)
PARTS: Mapping[str, tuple[str, ...]] = {
    "accuracy": (RUN,),
    **dict.fromkeys(AVERAGES, (RUN,)),
    "recall": (RUN, CLASS),
    "loss": (RUN,),
    "agreement": (RUN, EXPLAINER, EXPLAINER, LAYER),
    "sticker": (*MAPS, STRENGTH),
    "mosaic": MAPS,
    "forward": (RUN,),
    "train": (RUN,),
    "explain": MAPS,
    "shipped": MAPS,
}
SHARES = ("accuracy", *AVERAGES, "recall", "sticker", "mosaic")
UNITS = {**dict.fromkeys(SHARES, "a share"), **dict.fromkeys(TIMED, "images a second"), "loss": "in nats",
         "agreement": "a correlation"}  # fmt: skip
Key = tuple[str, str]  # explainer by its short name, layer


@dataclass(frozen=True)
class Sides:
    """The runs that thresholds are about.

    Attributes:
        typed: what the user called each of them.
        runs: tested on the same images; each may number its classes in its own way.
        coming: by a rate's name, of each run the explainers and layers that this call makes.
        averages: that this call measures; None for those that are there.
    """

    typed: tuple[str, ...]
    runs: tuple[RunFolder, ...]
    coming: Mapping[str, Sequence[Collection[Key]]] = field(default_factory=dict)
    averages: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each run: its folder's name, or what the user typed where several have that."""
        own = [run.path.name for run in self.runs]
        return tuple(name if own.count(name) == 1 else word for name, word in zip(own, self.typed, strict=True))

    def place(self, name: str) -> int | None:
        """Which run a name means; None for none of them."""
        if name in (*self.typed, *self.names):
            return (self.typed if name in self.typed else self.names).index(name)
        paths = [run.path.resolve() for run in self.runs]
        return paths.index(Path(name).resolve()) if Path(name).resolve() in paths else None


# --- before anything is computed ----------------------------------------------------------------------------


def whole(rate: Rate, sides: Sides) -> Rate:
    """A rate in its one form: where there is one run only its name may be left out, and explainers have short names."""
    wanted = PARTS.get(rate.name, ())
    least = len(wanted) - (STRENGTH in wanted)
    parts = rate.parts
    if len(sides.runs) == 1 and len(parts) < len(wanted) and (not parts or sides.place(parts[0]) is None):
        parts = (sides.names[0], *parts)
    if not least <= len(parts) <= len(wanted):
        return rate
    kinds = zip(wanted, parts, strict=False)
    return Rate(rate.name, tuple(short(part) if kind == EXPLAINER else part for kind, part in kinds))


def check(thresholds: Iterable[Threshold], sides: Sides) -> None:
    """Whether all can be judged.

    Raises:
        UsageError: one names a rate, run, class, explainer, layer or timing that there is not and will not be, or holds
            what has no common unit against each other.
    """
    for each in thresholds:
        one = _whole(each, sides)
        for rate in one.rates:
            _check_rate(rate, sides, each.text)
        _check_units(one)
        if one.left.name in TIMED:
            timing_for(one, sides)


def _whole(threshold: Threshold, sides: Sides) -> Threshold:
    left, right = threshold.left, threshold.right
    return replace(threshold, left=whole(left, sides), right=right and whole(right, sides))


def _check_rate(rate: Rate, sides: Sides, text: str) -> None:
    if rate.name not in PARTS:
        raise UsageError(f"no rate '{rate.name}' in '{text}'{did_you_mean(rate.name, PARTS)}", try_=_every_form())
    wanted = PARTS[rate.name]
    if not len(wanted) - (STRENGTH in wanted) <= len(rate.parts) <= len(wanted):
        raise UsageError(f"'{rate}' in '{text}' is not of the form {_form(rate.name)}", try_=_example(rate.name, sides))
    for kind, part in zip(wanted, rate.parts, strict=False):
        known = _known(kind, rate, sides)
        if part not in known and not (kind == RUN and sides.place(part) is not None):
            where = f" of {rate.parts[0]}" if kind != RUN else ""
            words = f"no {kind.lower()} '{part}'{where} in '{text}'{did_you_mean(part, known)}"
            raise UsageError(words, try_=f"one of: {', '.join(map(quoted, known))}" if known else _maker(rate, sides))
    measured = _averages(sides, sides.place(rate.parts[0]) or 0)
    if rate.name in AVERAGES and rate.name not in measured:
        others = [str(replace(rate, name=name)) for name in ("accuracy", *sorted(measured))]
        raise UsageError(f"{rate} in '{text}' is not measured", try_=f"one of: {', '.join(others)}")


def _averages(sides: Sides, place: int) -> Collection[str]:
    """The accuracies over several views that there are, or will be."""
    stored = {FIGURES[WORDS[name]] for name in sides.runs[place].results.averages if name in WORDS}
    return stored if sides.averages is None else sides.averages


def _form(name: str) -> str:
    return f"{name}[{','.join(PARTS[name])}]".replace(f",{STRENGTH}", "")


def _every_form() -> str:
    return f"one of: {', '.join(map(_form, PARTS))}"


def _example(name: str, sides: Sides) -> str:
    """A rate of this name that there is."""
    parts = [sides.names[0]]
    for kind in PARTS[name][1:]:
        parts.append(next(iter(_known(kind, Rate(name, tuple(parts)), sides)), kind))
    return str(Rate(name, tuple(parts[: len(PARTS[name]) - (STRENGTH in PARTS[name])])))


def _known(kind: str, rate: Rate, sides: Sides) -> list[str]:
    """What may stand in a place of a rate."""
    if kind == RUN:
        return list(sides.names)
    place = sides.place(rate.parts[0]) or 0
    if kind == CLASS:
        return list(sides.runs[place].record.data.classes)
    if kind == STRENGTH:
        return [f"{100 * strength:g}" for strength in STRENGTHS]
    keys = _keys(rate.name, sides, place)
    if kind == EXPLAINER:
        return list(dict.fromkeys(explainer for explainer, _ in keys))
    asked = [part for kind, part in zip(PARTS[rate.name], rate.parts, strict=False) if kind == EXPLAINER]
    return [layer for layer in dict.fromkeys(layer for _, layer in keys) if all((one, layer) in keys for one in asked)]


def _keys(name: str, sides: Sides, place: int) -> list[Key]:
    """The explainers and layers that there are, or will be, for rates of this name."""
    run = sides.runs[place]
    coming = sides.coming[name][place] if name in sides.coming else ()
    if name == "agreement":
        return list(dict.fromkeys([*((short(cell.explainer), cell.layer) for cell in run.cells), *coming]))
    if name in TIMED:
        arms = [(label, arm) for timing, label in _timings(run).values() for arm in timing.arms if arm.what == name]
        return list(dict.fromkeys((arm.explainer, arm.layer) for label, arm in arms if arm.model == label))
    if name in sides.coming:  # in the place of those that are there
        return list(coming)
    answers = _stickers(run) if name == "sticker" else _mosaics(run)
    return list(dict.fromkeys((short(one.explainer), one.layer) for one in answers))


def _maker(rate: Rate, sides: Sides) -> str:
    """A command after which there would be such a rate."""
    run = sides.typed[sides.place(rate.parts[0]) or 0]
    if rate.name in ("sticker", "mosaic"):
        return f"bench judge {run} --known-answers"
    if rate.name in TIMED:
        return TimeRequest(run=sides.typed, what=(rate.name,) if rate.name != "shipped" else ("explain",)).command()
    return f"bench explain {run}"


def _check_units(threshold: Threshold) -> None:
    left, right = threshold.left, threshold.right
    if right and UNITS[left.name] != UNITS[right.name]:
        raise UsageError(
            f"'{threshold.text}' compares {left.name}, {UNITS[left.name]}, with {right.name}, {UNITS[right.name]}",
            try_=f'"{left} {threshold.sign} NUMBER", or another {left.name}',
        )
    if left.name in SHARES and abs(threshold.offset) > 1:
        number = abs(threshold.offset)
        raise UsageError(
            f"{number:g} in '{threshold.text}' is no share: {left.name} lies between 0 and 1",
            try_=threshold.text.replace(f"{number:g}", f"{number / 100:g}"),
        )


# --- stored timings -----------------------------------------------------------------------------------------


def timing_for(threshold: Threshold, sides: Sides) -> tuple[Timing, Threshold]:
    """The newest timing that holds all that a threshold names, and the threshold with models as the timing calls them.

    Raises:
        UsageError: there is none.
    """
    of_each = [_timings(sides.runs[sides.place(rate.parts[0]) or 0]) for rate in threshold.rates]
    for key in sorted(set.intersection(*map(set, of_each)), reverse=True):
        timing = of_each[0][key][0]
        labels = [known[key][1] for known in of_each]
        rates = [Rate(one.name, (label, *one.parts[1:])) for one, label in zip(threshold.rates, labels, strict=True)]
        if set(rates) <= {arm_rate(arm.what, arm.model, arm.explainer, arm.layers) for arm in timing.arms}:
            return timing, replace(threshold, left=rates[0], right=rates[1] if threshold.right else None)
    words = " together with ".join(map(str, threshold.rates))
    raise UsageError(f"no timing holds {words}", try_=_maker(threshold.left, sides))


def _timings(run: RunFolder) -> dict[tuple[str, str], tuple[Timing, str]]:
    """The timings in a run's folder and beside it whose arms took turns, by id, each with what it calls the run."""
    own, model, found = run.record.name, short(run.record.model), dict[tuple[str, str], tuple[Timing, str]]()
    for one in (*run.timings, *read_timings(run.path.parent)):
        label = own if knows(one, own, run.checkpoint) else model if knows(one, model, None) else ""
        if one.what == "time" and label:
            found[one.id, one.host] = one, label
    return found


# --- once everything is there -------------------------------------------------------------------------------


def judge_runs(thresholds: Iterable[Threshold], sides: Sides) -> tuple[Judged, ...]:
    """What became of thresholds that `check` let pass."""
    return tuple(_judged(_whole(each, sides), sides) for each in thresholds)


def _judged(threshold: Threshold, sides: Sides) -> Judged:
    if threshold.left.name in TIMED:
        timing, renamed = timing_for(threshold, sides)
        found = judge_rounds(renamed, timing)
        return Judged(threshold, found.outcome, f"{found.words}; timing {timing.id}")
    right = threshold.right
    return judge_figures(threshold, _figure(threshold.left, sides), _figure(right, sides) if right else None)


def _figure(rate: Rate, sides: Sides) -> Figure:
    place = sides.place(rate.parts[0])
    assert place is not None, rate  # it was checked
    return FIGURE[rate.name](rate, sides.runs[place])


def _accuracy(rate: Rate, run: RunFolder) -> Figure:
    return _share_right(rate, run, run.predictions.ids)


def _recall(rate: Rate, run: RunFolder) -> Figure:
    index = run.record.data.classes.index(rate.parts[1])
    return _share_right(rate, run, np.flatnonzero(run.predictions.labels == index))


def _share_right(rate: Rate, run: RunFolder, ids: Integers) -> Figure:
    right = (run.predictions.predicted == run.predictions.labels)[ids]
    if not len(ids):
        return Figure(rate, None, "no test image is of this class")
    return Figure(rate, wilson(int(right.sum()), len(ids)), values=right.astype(np.float64), ids=ids, counted=True)


def _average(rate: Rate, run: RunFolder) -> Figure:
    every = read_averages(run.results, len(run.predictions.labels))
    found = next((one.accuracy for one in every if FIGURES[one.name] == rate.name), None)
    return Figure(rate, found, f"never measured: bench evaluate {run.path.name}")


def _loss(rate: Rate, run: RunFolder) -> Figure:
    logits, labels = run.predictions.logits.astype(np.float64), run.predictions.labels
    top = logits.max(axis=1)
    losses = top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return _mean(rate, losses, run.predictions.ids, (0.0, max(1.0, float(losses.max()))))


def _agreement(rate: Rate, run: RunFolder) -> Figure:
    cells = [_cell(run, each, rate.parts[3]) for each in rate.parts[1:3]]
    first, second = cells
    if first is None or second is None:
        return Figure(rate, None, f"no maps of {rate.parts[1 if first is None else 2]} at {rate.parts[3]}")
    if not alike(first, second):
        return Figure(rate, None, "their maps have other grids")
    here, there = common_rows(first, second)
    found = correlations(first, second, here, there)
    known = ~np.isnan(found)
    ids, rows = np.unique(first.ids[here][known], return_inverse=True)
    values = np.bincount(rows, found[known]) / np.bincount(rows) if len(ids) else np.empty(0)
    return _mean(rate, values, ids, (-1.0, 1.0))


def _cell(run: RunFolder, explainer: str, layer: str) -> Cell | None:
    return next((one for one in run.cells if (short(one.explainer), one.layer) == (explainer, layer)), None)


def _mean(rate: Rate, values: Floats, ids: Integers, within: tuple[float, float]) -> Figure:
    """The mean of one value an image."""
    found = bootstrap_mean(values, np.random.default_rng(0), within=within)
    return Figure(rate, found, f"{len(values)} images are too few", values=values, ids=ids, within=within)


def _sticker(rate: Rate, run: RunFolder) -> Figure:
    asked = rate.parts[3] if len(rate.parts) > 3 else None
    rows = [one for one in _stickers(run) if (short(one.explainer), one.layer) == rate.parts[1:3]]
    found = [one for one in rows if asked in (None, f"{100 * one.strength:g}")]
    strongest = max(found, key=lambda one: one.strength, default=None)
    return Figure(rate, strongest.hits if strongest else None, "not among the known answers")


def _mosaic(rate: Rate, run: RunFolder) -> Figure:
    found = next((one for one in _mosaics(run) if (short(one.explainer), one.layer) == rate.parts[1:3]), None)
    return Figure(rate, found.share if found else None, "not among the known answers")


def _stickers(run: RunFolder) -> tuple[StickerScore, ...]:
    return run.known_answers.stickers if run.known_answers else ()


def _mosaics(run: RunFolder) -> tuple[MosaicScore, ...]:
    return run.known_answers.mosaic_scores if run.known_answers else ()


FIGURE: Mapping[str, Callable[[Rate, RunFolder], Figure]] = {
    "accuracy": _accuracy,
    **dict.fromkeys(AVERAGES, _average),
    "recall": _recall,
    "loss": _loss,
    "agreement": _agreement,
    "sticker": _sticker,
    "mosaic": _mosaic,
}
