"""The sentences of a page: each carries its interval, and none says more than the data do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.schema.page import (
    MOST_CONFUSED,
    SIGNIFICANT,
    Agreement,
    Badge,
    Estimate,
    Finding,
    PairTest,
    RunView,
    SeedShare,
    VerdictView,
    run_labels,
)
from bench.schema.verdicts import Verdict, why
from bench.stats.intervals import wilson

SAME_UP_TO_ROUNDING = 1e-5  # of a map's largest value, in fp32
ROUNDING_AT_MOST = 0.1  # of it: fp32 was seen to move a map by 0.07, where ReLUs near zero fall on the other side
MARGIN = 10  # that more images may move by more than the few on which `moved` was measured
MOST_WRONG = 3  # verdicts told one by one
NAMED = 10  # classes in a sentence
MANY_PAIRS = 6  # of four explainers: more of them are not told one by one
# What may be said of two explainers' maps.
SAME = "compute the same maps"
DIFFERENT = "compute different maps"
NEAR = "differ by no more than rounding may"
HALF_FINITE = "are not compared where one is not finite"
ZEROS = "give nothing but zeros"
COUNTS = ("No", "One", "Two", "Three", "Four", "Five", "Six")


def percent(share: float, digits: int = 1) -> str:
    """A share as people read it."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def points(share: float) -> str:
    """A signed difference of shares in points, with a real minus sign; what is not 0 does not read as 0."""
    digits = 1 if share == 0 or abs(share) >= 5e-4 else 2
    return "0.0" if abs(share) < 5e-5 else f"{100 * share:+.{digits}f}".replace("-", "−")


def level_words(level: float) -> str:
    """`95 %`, `98.33 %`."""
    return f"{100 * level:.4g} %"


def p_words(*values: float) -> str:
    """P-values as people print them."""
    if len(values) == 1:
        return "p < 0.001" if values[0] < 0.001 else f"p = {values[0]:.2g}"
    return "p = " + ", ".join("under 0.001" if value < 0.001 else f"{value:.2g}" for value in values)


def shortened(names: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - NAMED} more classes" if len(names) > NAMED + 1 else ""
    return ", ".join(names[:NAMED] if more else names) + more


def interval_words(view: RunView) -> str:
    """The interval of the accuracy of one view of each image."""
    return f"95 % interval {100 * view.accuracy.low:.1f} to {100 * view.accuracy.high:.1f}"


def result_words(view: RunView) -> str:
    """The accuracy by one view of each image with its interval, then the averages over several views."""
    wrong = f"{view.total - view.correct:,} of {view.total:,} test images wrong"
    averages = (f"; {each.name} {percent(each.accuracy.value, 2)}" for each in view.averages)
    return f"accuracy {percent(view.accuracy.value, 2)}, {interval_words(view)}, {wrong}{''.join(averages)}"


def run_title(view: RunView) -> str:
    """The finding of a run page."""
    errors = view.total - view.correct
    if errors == 0:
        return f"{view.model} on {view.data}: all {view.total:,} test images right"
    subject = f"{view.model} on {view.data}: {percent(view.accuracy.value)} right"
    (true, predicted, count), *others = _most_frequent(view)
    if others or count == 1:  # single errors and ties are no habit
        return f"{subject}, {errors:,} of {view.total:,} wrong"
    names = [row.name for row in view.per_class]
    return f"{subject}, {names[true]} most often taken for {names[predicted]}"


def _most_frequent(view: RunView) -> list[tuple[int, int, int]]:
    """The most confused pair, and those as frequent."""
    pairs = view.most_confused(None)
    return [pair for pair in pairs if pair[2] == pairs[0][2]]


def run_findings(view: RunView) -> tuple[Finding, ...]:
    """What a run page says of its errors."""
    errors = view.total - view.correct
    words = f"{errors:,} of {view.total:,} test images {'is' if errors == 1 else 'are'} wrong"
    found = [Finding("", words, "errors", "", f"accuracy {percent(view.accuracy.value)}, {interval_words(view)}")]
    if errors:
        found += [_frequent_error(view), *_weakest_class(view)]
    return tuple(found)


def _frequent_error(view: RunView) -> Finding:
    (true, predicted, count), *others = _most_frequent(view)
    name = view.per_class[true].name
    share = f"{count} of {view.per_class[true].total} images of {name}"
    before = "One of the most frequent errors: " if others else "The most frequent error: "
    least = "at least " if not view.confusion and len(others) + 1 == MOST_CONFUSED else ""
    more = f"; as often: {least}{len(others)} other pair{'s' if len(others) > 1 else ''} of classes" if others else ""
    return Finding(before, f"{name} taken for {view.per_class[predicted].name}", "confusion", "", share + more)


def _weakest_class(view: RunView) -> tuple[Finding, ...]:
    """The class with the smallest share right; nothing where all are alike."""
    known = [row for row in view.per_class if row.total]
    weakest = min(known, key=lambda row: row.recall.value)
    alike = [row for row in known if row.recall.value == weakest.recall.value]
    if len(alike) == len(known):
        return ()
    # It was picked among all classes, so its interval must hold for each of them at once: of ten that are equally
    # hard the lowest lies outside its own 95 % interval in every fourth run.
    recall = wilson(weakest.correct, weakest.total, 1 - SIGNIFICANT / len(known))
    ends = f"{100 * recall.low:.0f} to {100 * recall.high:.0f}"
    interval = f"{percent(recall.value)} right, {level_words(recall.level)} interval {ends}"
    before = "One of the weakest classes " if len(alike) > 1 else "The weakest class "
    more = f"; as weak: {shortened([row.name for row in alike[1:]])}" if len(alike) > 1 else ""
    evidence = f"{interval}, the lowest of {len(known)}, n = {weakest.total}{more}"
    return (Finding(f"{before}on these images is ", weakest.name, "classes", "", evidence),)


def agreement_findings(agreements: Sequence[Agreement], judged: Sequence[VerdictView] = ()) -> tuple[Finding, ...]:
    """A sentence for each pair of explainers, over all runs and layers; of many, for those that give one map.

    Args:
        judged: verdicts of the page; they tell whether a difference is one of methods or of rounding.
    """
    known = [one for one in judged if one.verdict.verdict != "failed"]
    verdicts = {(one.run, one.verdict.layer, one.verdict.explainer): one.verdict for one in known}
    pairs: dict[tuple[str, str], list[Agreement]] = {}
    for each in agreements:
        pairs.setdefault((each.first, each.second), []).append(each)
    said = {pair: _together([likeness_of(each, verdicts) for each in group]) for pair, group in pairs.items()}
    few = len(pairs) <= MANY_PAIRS
    told = {pair: group for pair, group in pairs.items() if few or said[pair] == SAME}
    rest: dict[str, list[list[Agreement]]] = {}
    for pair, group in pairs.items():
        if pair not in told:
            rest.setdefault(said[pair], []).append(group)
    return (
        *(_pair_sentence(*pair, group, said[pair]) for pair, group in told.items()),
        *(_many_pairs(groups, words, others=bool(told)) for words, groups in rest.items()),
    )


def likeness_of(one: Agreement, verdicts: Mapping[tuple[int, str, str], Verdict]) -> str:
    """Whether two explainers compute one thing at a layer: by their verdicts where they decide, else by the figures.

    In fp32 the maps of one method differ, too: with another batch size by 9e-4 of the largest value, and from float64
    by up to 7e-2, where ReLUs near zero fall on the other side. Such a difference alone tells no methods apart.
    """
    if one.one_sided or one.zeros == one.rows:
        return HALF_FINITE if one.one_sided else ZEROS
    if one.largest <= SAME_UP_TO_ROUNDING:
        return SAME
    first, second = (verdicts.get((one.run, one.layer, name)) for name in (one.first, one.second))
    if first is None or second is None:
        return DIFFERENT if one.largest > ROUNDING_AT_MOST else NEAR
    if _is_gradcam(first) != _is_gradcam(second):
        return DIFFERENT
    if _is_gradcam(first) or one.second in first.equal_to:
        return SAME
    unknown = first.moved is None or second.moved is None
    rounding = ROUNDING_AT_MOST if unknown else MARGIN * ((first.moved or 0.0) + (second.moved or 0.0))
    return DIFFERENT if one.largest > rounding else NEAR


def _is_gradcam(one: Verdict) -> bool:
    """Whether it gives Grad-CAM's maps here in float64, be it by its name or because two methods meet at this layer."""
    met = one.verdict == "another method" and one.difference is not None
    return one.verdict in ("same", "same up to rounding") or met


def _together(words: Sequence[str]) -> str:
    """What holds over all layers and runs: the first of what would contradict the others."""
    return next(each for each in (DIFFERENT, HALF_FINITE, NEAR, SAME, ZEROS) if each in words)


def _many_pairs(groups: Sequence[Sequence[Agreement]], words: str, *, others: bool) -> Finding:
    pairs = f"{len(groups)} {'other ' if others else ''}pair{'s' if len(groups) > 1 else ''} of explainers "
    return Finding(
        pairs, words, "explainers", "", f"{sum(each.rows for one in groups for each in one):,} pairs of maps"
    )


def verdict_findings(judged: Sequence[VerdictView], labels: Sequence[str] = ()) -> tuple[Finding, ...]:
    """What the judge found wrong, the first MOST_WRONG one by one; else that it found nothing wrong.

    Args:
        labels: of the runs of a page with several; what is wrong in the same way in several of them is said once.
    """
    if not judged:
        return ()
    bad: dict[tuple[str, ...], list[VerdictView]] = {}
    for each in judged:
        one = each.verdict
        if one.verdict in ("wrong", "failed"):
            bad.setdefault((one.explainer, one.layer, one.verdict, one.words), []).append(each)
    entries = "entry" if len(judged) == 1 else "entries"
    evidence = f"{len(judged)} {entries} of the table of explainers by layer, held against Grad-CAM in float64"
    if not bad:
        return (
            Finding(
                "", "No explainer computes another map than it claims", "verdicts", " where it was judged", evidence
            ),
        )
    told = []
    for group in list(bad.values())[:MOST_WRONG]:
        one, runs = group[0].verdict, " and ".join(labels[each.run] for each in group) if labels else ""
        cause = one.words if one.verdict == "wrong" and one.words else why(one)
        place = f"{one.explainer} at {one.layer}" + (f" of {runs}" if runs else "")
        was = "gives wrong maps" if one.verdict == "wrong" else "failed"
        told.append(Finding(f"{place} ", was, "verdicts", "", cause, bad=True))
    if len(bad) > MOST_WRONG:
        more = f"{len(bad) - MOST_WRONG} more "
        told.append(Finding(more, "are wrong or failed", "verdicts", "", evidence, bad=True))
    return tuple(told)


def seed_findings(shares: Sequence[SeedShare]) -> tuple[Finding, ...]:
    """What of the maps is the seed's, at the layer that shows it of most explainers."""
    known = [each for each in shares if each.share is not None]
    if not known:
        return ()
    one = max(known, key=lambda each: (len(each.explainers), each.images))
    assert one.share is not None
    share = f"{percent(one.share.value, 0)} is the seed’s"
    many = len(one.explainers)
    methods = f"{many} explainers" if many > 1 else f"{one.explainers[0]} alone"
    evidence = (
        f"95 % interval over images {100 * one.share.low:.0f} to {100 * one.share.high:.0f}, "
        f"{len(one.runs)} seeds, {one.images:,} images, {methods}"
    )
    return (Finding(f"Of what differs between the maps at {one.layer}, ", share, "seeds", "", evidence),)


def _pair_sentence(first: str, second: str, group: Sequence[Agreement], words: str) -> Finding:
    largest, rows = max(each.largest for each in group), sum(each.rows for each in group)
    before = f"{second} and {first} " if second < first else f"{first} and {second} "
    size = f"{largest:.2g}" if largest >= 0.01 else f"{largest:.1e}"
    dropped, one_sided, zeros = (
        sum(getattr(each, name) for each in group) for name in ("dropped", "one_sided", "zeros")
    )
    left_out = {
        f"{dropped:,} more left out, not finite": dropped,
        f"{one_sided:,} of them in one of the two alone": one_sided,
        f"{zeros:,} zero everywhere in both": zeros,
    }
    evidence = f"largest raw difference {size} of a map’s largest value, {rows:,} pairs of maps"
    evidence = ", ".join([evidence, *(each for each, count in left_out.items() if count)])
    return Finding(before, words, "explainers", " up to rounding" if words == SAME else "", evidence)


def comparison_title(runs: Sequence[RunView], pairs: Sequence[PairTest], *, same_settings: bool) -> str:
    """The finding of a comparison page."""
    count = COUNTS[len(runs)] if len(runs) < len(COUNTS) else str(len(runs))
    subject = f"{count} runs on {runs[0].data}" if len(runs) > 1 else f"{runs[0].model} on {runs[0].data}"
    clear = [pair for pair in pairs if pair.clear]
    if not pairs:
        return f"{subject}: where it is wrong, and what it looked at"
    if not clear:
        return f"{subject}: no run is clearly right more often"
    best = max(range(len(runs)), key=lambda index: runs[index].accuracy.value)
    beaten = {pair.first + pair.second - best for pair in clear if best in (pair.first, pair.second)}
    if len(beaten) == len(runs) - 1:
        caution = "" if same_settings else ", but they were trained differently"
        share, images = percent(runs[best].accuracy.value), f"{runs[best].total:,} images"
        return f"{share}: {run_labels(runs)[best]} is right most often on these {images}{caution}"
    return f"{subject}: some are right more often than others"


def pair_findings(runs: Sequence[RunView], pairs: Sequence[PairTest]) -> tuple[Finding, ...]:
    """What the exact McNemar tests say, one sentence a pair; one for all when nothing differs."""
    if len(pairs) > 1 and not any(pair.clear or pair.same_logits for pair in pairs):
        evidence = f"exact McNemar {p_words(*(pair.adjusted for pair in pairs))}, over {len(pairs)} pairs by Holm"
        after = f" between the {len(runs)} runs"
        return (Finding("", "No measurable accuracy difference", "pairs", after, evidence),)
    clear = [pair for pair in pairs if pair.clear]
    winners = dict.fromkeys(_winner(pair) for pair in clear)
    best_first = sorted(winners, key=lambda run: -runs[run].accuracy.value)
    won = [[pair for pair in clear if _winner(pair) == run] for run in best_first]
    rest = [pair for pair in pairs if not pair.clear]
    same = [pair for pair in rest if pair.same_logits]
    unclear = [pair for pair in rest if not pair.same_logits]
    return (
        *(_wins(runs, each, len(pairs)) for each in won),
        *(_same_logits(runs, pair) for pair in same),
        *((_no_difference(runs, unclear, len(pairs)),) if unclear else ()),
    )


def _winner(pair: PairTest) -> int:
    return pair.first if pair.difference.value > 0 else pair.second


def _wins(runs: Sequence[RunView], pairs: Sequence[PairTest], family: int) -> Finding:
    """All runs that one run is clearly right more often than, in one sentence."""
    labels, winner = run_labels(runs), _winner(pairs[0])
    beaten = and_words([labels[pair.first + pair.second - winner] for pair in pairs])
    told = [_gap_words(pair if pair.first == winner else turned(pair)) for pair in pairs]
    by = f", over {family} pairs by Holm" if family > 1 else ""
    evidence = f"{'; '.join(told)}, exact McNemar {p_words(*(pair.adjusted for pair in pairs))}{by}"
    return Finding(
        f"{labels[winner]} ", "is right more often than", "pairs", f" {beaten} on these test images", evidence
    )


def turned(pair: PairTest) -> PairTest:
    """The same test with its runs the other way round."""
    gap = pair.difference
    return replace(
        pair,
        first=pair.second,
        second=pair.first,
        only_first_wrong=pair.only_second_wrong,
        only_second_wrong=pair.only_first_wrong,
        difference=Estimate(-gap.value, -gap.high, -gap.low, gap.level),
    )


def and_words(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _gap_words(pair: PairTest) -> str:
    gap = pair.difference
    return f"{points(gap.value)} points, {level_words(gap.level)} interval {points(gap.low)} to {points(gap.high)}"


def _same_logits(runs: Sequence[RunView], pair: PairTest) -> Finding:
    first, second = (run_labels(runs)[each] for each in (pair.first, pair.second))
    adopted = not (runs[pair.first].epochs and runs[pair.second].epochs)
    how = "the same weights" if adopted else "one initialisation, one seed"
    why = f"{how}, the same mathematics: these two are one run"
    return Finding(f"{first} and {second} ", "give the same logits", "pairs", ", bit for bit", why)


def _no_difference(runs: Sequence[RunView], pairs: Sequence[PairTest], family: int) -> Finding:
    """All pairs that do not clearly differ, in one sentence."""
    labels = run_labels(runs)
    named = [f"{labels[pair.first]} and {labels[pair.second]}" for pair in pairs]
    by = f", over {family} pairs by Holm" if family > 1 else ""
    told = "; ".join(_gap_words(pair) for pair in pairs)
    evidence = f"{told}, exact McNemar {p_words(*(pair.adjusted for pair in pairs))}{by}"
    return Finding("", "No measurable accuracy difference", "pairs", f" between {'; '.join(named)}", evidence)


def comparison_badges(runs: Sequence[RunView], pairs: Sequence[PairTest], *, same_settings: bool) -> tuple[Badge, ...]:
    """What may be compared and what may not."""
    first, models = runs[0], {view.model for view in runs}
    recipes = " = ".join(dict.fromkeys(view.recipe for view in runs))  # equal values under several names
    how = f"{recipes}, {first.epochs} epoch{'s' if first.epochs != 1 else ''}, {first.train_images:,} images"
    same_machine = len({view.device for view in runs}) == 1
    every = (
        (True, Badge(True, f"same {first.total:,} test images")),
        (
            any(view.averages for view in runs),
            Badge(True, "compared on each image alone"),
        ),
        (same_settings, Badge(True, f"same recipe ({how})")),
        (not same_settings, Badge(False, "trained differently: see “How it was made”")),
        (True, Badge(same_machine, "same machine" if same_machine else "different machines")),
        (True, Badge(False, "speeds not compared: the runs were not timed together")),
        (all(view.epochs for view in runs), _seeds_badge(runs)),  # of adopted weights nobody knows the seed
        (any(pair.same_logits for pair in pairs), Badge(False, "two of the runs are one")),
        (
            any(len({view.seed for view in runs if view.model == model}) == 1 for model in models),
            Badge(False, "one seed: no claim about the architecture"),
        ),
    )
    return tuple(badge for holds, badge in every if holds)


def _seeds_badge(runs: Sequence[RunView]) -> Badge:
    """Whether every model was trained with the same seeds."""
    models = dict.fromkeys(view.model for view in runs)
    seeds = [sorted(view.seed for view in runs if view.model == model) for model in models]
    if any(each != seeds[0] for each in seeds):
        return Badge(False, "different seeds")
    distinct = sorted(set(seeds[0]))
    return Badge(True, f"same seed{'s' if len(distinct) > 1 else ''} ({', '.join(map(str, distinct))})")


def run_badges(view: RunView) -> tuple[Badge, ...]:
    """What to keep in mind on a run page."""
    jpeg = (Badge(False, "JPEG images: accuracy is lower than on the original pixels"),) if "jpeg" in view.data else ()
    trained = bool(view.epochs)
    tested = f"{view.total:,} test images{', seen once, after training' if trained else ''}"
    tried = f"one of {view.swept} settings tried: choose by validation images, then look at the test of the chosen one"
    return (
        Badge(True, tested),
        *((Badge(False, tried),) if view.swept > 1 else ()),
        Badge(
            trained, "last weights, each image seen once as it is" if trained else "adopted weights, trained elsewhere"
        ),
        *jpeg,
        Badge(False, "one seed"),
    )
