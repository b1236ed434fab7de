"""Can the picture be trusted? All that was tested of an explainer in one line, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.pages.evidence import evidence_of
from bench.registry.registry import short
from bench.schema.known_answers import KnownAnswers, MosaicScore, StickerScore
from bench.schema.page import (
    Advice,
    Answer,
    CellView,
    Estimate,
    Page,
    Score,
    SeedShare,
    Trust,
    TrustLine,
    VerdictView,
    run_labels,
)
from bench.schema.scores import FEWEST_IMAGES, NO_EVIDENCE, TRUTH_ITSELF
from bench.schema.verdicts import Verdict, why
from bench.store.folder import RunFolder

WRONG = ("wrong", "failed")
EXACT = ("same", "same up to rounding")
EXACTLY = "exactly Grad-CAM"
NAMED = 4  # explainers in a sentence
MOST = 0.5  # share of a map on the right one of four pictures from which it is said to point there
MATTERS = 0.1  # rank correlation; a gain that may be larger than this, or nothing at all, was asked of too few images
TESTS = {  # whose answers speak for a map or against it, and what it does where they speak for it
    "sticker": "finds a planted sticker",
    "mosaic": "points at the right one of four pictures",
    "hiding": "marks what changes the answer when it is hidden",
}
ENOUGH = 2  # tests that must speak for a map before it is recommended
WORST_FIRST: tuple[Advice, ...] = ("avoid", "use", "with care", "not tested")


@dataclass(frozen=True)
class Known:
    """What is known of the explainers of a page's runs.

    Attributes:
        answers: of each run the tests with a known answer; None where they were not made.
    """

    verdicts: Sequence[VerdictView]
    scores: Sequence[Score]
    cells: Sequence[CellView]
    answers: Sequence[KnownAnswers | None]
    seeds: Sequence[SeedShare]


def with_trust(page: Page, runs: Sequence[RunFolder]) -> Page:
    """The page with its section on trust, as far as anything was tested."""
    answers = [data.known_answers for data in runs]
    found = trust_of(Known(page.verdicts, page.scores, page.cells, answers, page.seeds), run_labels(page.runs))
    if found is None:
        return page
    heads = [group[0] for group in found.groups]
    shown = tuple(
        one
        for run, (data, own) in enumerate(zip(runs, answers, strict=True))
        if own is not None
        for one in evidence_of(data, own, [head for head in heads if head.run == run])
    )
    return replace(page, trust=replace(found, evidence=shown))


def trust_of(known: Known, labels: Sequence[str]) -> Trust | None:
    """The section without its pictures; None where nothing was tested.

    Args:
        labels: of the runs, where there are several.
    """
    lines = equally_asked([line(known, *key) for key in keys_of(known)])
    tested = [each for each in lines if each.advice not in ("not tested", "baseline")]
    if not tested:
        return None
    groups: dict[tuple[int, str], list[TrustLine]] = {}
    for each in lines:
        if each.advice != "baseline":
            groups.setdefault((each.run, each.explainer), []).append(each)
    ordered = sorted(map(best_first, groups.values()), key=_place)
    baselines = [each for each in lines if each.advice == "baseline"]
    heads = [each[0] for each in ordered]
    layer = next((head.layer for head in heads if head.advice != "not tested"), "")
    return Trust(
        sentences=sentences(heads, labels),
        groups=tuple(ordered),
        baselines=tuple(each for each in baselines if each.layer == layer),
        heads=merged(heads),
    )


def merged(heads: Sequence[TrustLine]) -> tuple[TrustLine, ...]:
    """The lines, those of one layer of a run that are all exactly Grad-CAM and tested alike as one: `a = b`."""
    groups: dict[object, list[TrustLine]] = {}
    for at, head in enumerate(heads):
        tests = (head.run, head.layer, head.advice, head.sticker.words, head.mosaic.words, head.hiding.words)
        groups.setdefault(tests if head.claims.words == EXACTLY else at, []).append(head)
    return tuple(
        replace(each[0], explainer=" = ".join(one.explainer for one in each)) if len(each) > 1 else each[0]
        for each in groups.values()
    )


def keys_of(known: Known) -> list[tuple[int, str, str]]:
    """Every (run, explainer, layer) that anything is known of."""
    found = [(one.run, one.explainer, one.layer) for one in known.cells]
    found += [(one.run, one.verdict.explainer, one.verdict.layer) for one in known.verdicts]
    found += [(one.run, one.explainer, one.layer) for one in known.scores]
    for run, answers in enumerate(known.answers):
        rows: list[StickerScore | MosaicScore] = [*answers.stickers, *answers.mosaic_scores] if answers else []
        found += [(run, short(one.explainer), one.layer) for one in rows]
    return list(dict.fromkeys(found))


def line(known: Known, run: int, explainer: str, layer: str) -> TrustLine:
    """All that is known of an explainer at a layer."""
    answers = known.answers[run]
    rows: list[StickerScore | MosaicScore] = [*answers.stickers, *answers.mosaic_scores] if answers else []
    free = any(not one.claim.knows_model and (one.explainer, one.layer) == (explainer, layer) for one in rows)
    score = next((one for one in known.scores if (one.run, one.explainer, one.layer) == (run, explainer, layer)), None)
    free = free or (score is not None and score.evidence == "")
    verdict = next(
        (one.verdict for one in known.verdicts
         if (one.run, one.verdict.explainer, one.verdict.layer) == (run, explainer, layer)), None,
    )  # fmt: skip
    cell = next((one for one in known.cells if (one.run, one.explainer, one.layer) == (run, explainer, layer)), None)
    # What gives the same bits need not be tried twice.
    asked = {short(one.explainer) for one in rows if one.layer == layer}
    same = [short(name) for name in verdict.equal_to] if verdict and explainer not in asked else []
    twin = next((name for name in same if name in asked), explainer)
    found = TrustLine(
        run=run, explainer=explainer, layer=layer, advice="baseline" if free else "not tested",
        why="knows no model: what it reaches, the image alone reaches" if free else "",
        claims=claims_of(verdict), sticker=sticker_of(answers, twin, layer),
        mosaic=mosaic_of(answers, twin, layer), hiding=hiding_of(score),
        stable=stable_of(known.seeds, run, explainer, layer),
        adds_up=adds_up_of(cell),
    )  # fmt: skip
    return found if free else advised(found, verdict)


# --- what each test says ------------------------------------------------------------------------------------


def claims_of(verdict: Verdict | None) -> Answer:
    """Whether it computes what it claims to."""
    if verdict is None:
        return Answer()
    if verdict.verdict in WRONG:
        return Answer(f"{verdict.verdict}: {why(verdict)}" if why(verdict) else verdict.verdict, False)
    if verdict.verdict in EXACT:
        return Answer(EXACTLY, True)
    return Answer("another way to draw Grad-CAM" if verdict.verdict == "other recipe" else "its own method")


def sticker_of(answers: KnownAnswers | None, explainer: str, layer: str) -> Answer:
    """Down to which strength it finds a planted sticker."""
    every = answers.stickers if answers else ()
    rows = [one for one in every if (short(one.explainer), one.layer) == (explainer, layer)]
    if not rows or answers is None:
        return Answer()
    faintest, weakest = min(one.strength for one in rows), answers.weakest(rows[0].explainer, layer)
    if weakest is None:
        if any(one.finds for one in rows):
            return Answer("only where it is faint, not where it is clear", None)
        seldom = any(one.claim.above for one in rows)
        return Answer("in fewer than half of the pictures", None) if seldom else Answer("no", False)
    return Answer("down to the faintest" if weakest == faintest else f"down to {100 * weakest:g} % strength", True)


def mosaic_of(answers: KnownAnswers | None, explainer: str, layer: str) -> Answer:
    """Whether the map of a class lies on the image of that class."""
    rows = answers.mosaic_scores if answers else ()
    one = next((one for one in rows if (short(one.explainer), one.layer) == (explainer, layer)), None)
    if one is None or one.share is None:
        return Answer()
    if not one.claim.above:
        return Answer("no evidence", False, one.share)
    most = one.share.value >= MOST
    return Answer("" if most else "beyond chance, but under half", True if most else None, one.share)


def hiding_of(score: Score | None) -> Answer:
    """Whether covering what the map marks changes the answer more than covering what rows without a model mark."""
    if score is None or score.value is None or score.low is None or score.high is None:
        return Answer()
    figure = Estimate(score.value, score.low, score.high)
    if score.evidence == "above":
        return Answer("yes", True, figure)
    if score.evidence == TRUTH_ITSELF:
        return Answer(score.evidence, None, figure)
    ends = [each.high for each in (score.gain, score.over) if each is not None]
    if score.evidence == NO_EVIDENCE and (min(ends) > MATTERS if ends else score.images < FEWEST_IMAGES):
        return Answer(f"{score.images} images cannot tell", None, figure, undecided=True)
    return Answer(score.evidence, False, figure)


def stable_of(seeds: Sequence[SeedShare], run: int, explainer: str, layer: str) -> Answer:
    """How alike its maps are to those of other seeds."""
    for one in seeds:
        if run in one.runs and one.layer == layer:
            for alike in one.alike:
                if alike.explainer == explainer and alike.value is not None:
                    return Answer(f"{alike.value.value:.2f} alike", None, alike.value)
    return Answer()


def adds_up_of(cell: CellView | None) -> Answer:
    """Whether its values add up to the answer, where it promises that."""
    complete = cell.complete if cell else None
    if complete is None:
        return Answer()
    promised = complete.promise == "always"
    return Answer(complete.verdict, complete.verdict == "complete" if promised else None)


# --- what follows -------------------------------------------------------------------------------------------


def advised(found: TrustLine, verdict: Verdict | None) -> TrustLine:
    """The line with its advice: from whether it is what it claims to be, then from the tests that were made."""
    if verdict is not None and verdict.verdict in WRONG:
        return replace(found, advice="avoid", why=f"it is {found.claims.words}")
    finds, points, marks = TESTS.values()
    tests = (
        (finds, f"{finds} {found.sticker.words}", found.sticker),
        (points, "puts less than half of its map on the right one of four pictures", found.mosaic),
        (marks, "", found.hiding),
    )
    good = [words for words, _, answer in tests if answer.holds]
    bad = [words for words, _, answer in tests if answer.holds is False]
    untold = [f"{answer.words} whether it {words}" for words, _, answer in tests if answer.undecided]
    little = [words for _, words, answer in tests if _doubtful(answer)]
    if not good and not bad and not little and not untold:
        return found
    if not bad and not little and not untold and len(good) >= ENOUGH:
        return replace(found, advice="use", why=f"it {_and(good)}")
    if not good and len(bad) + len(little) >= ENOUGH:
        return replace(found, advice="avoid", why=_against(bad, little))
    parts = [f"it {_and(good)}"] if good else []
    against = [*([_against(bad, little)] if bad or little else []), *untold]
    parts += [f"{'but ' if good else ''}{', and '.join(against)}"] if against else ["only one test was made"]
    return replace(found, advice="with care", why=", ".join(parts))


def _doubtful(answer: Answer) -> bool:
    """Whether a test says something of a map that does not quite speak for it."""
    return answer.holds is None and bool(answer.words) and not answer.undecided and answer.words != TRUTH_ITSELF


def equally_asked(lines: Sequence[TrustLine]) -> list[TrustLine]:
    """The lines; none is recommended that was not asked what others of its run were, who may have failed there."""
    maps = [one for one in lines if one.advice != "baseline"]
    asked = {(one.run, test) for one in maps for test in TESTS if _asked(getattr(one, test))}

    def held_back(one: TrustLine) -> TrustLine:
        left = [words for test, words in TESTS.items() if (one.run, test) in asked and not _asked(getattr(one, test))]
        if one.advice != "use" or not left:
            return one
        return replace(one, advice="with care", why=f"{one.why}, but it was not asked whether it {_or(left)}")

    return list(map(held_back, lines))


def _against(bad: Sequence[str], little: Sequence[str]) -> str:
    """What speaks against a map, in words."""
    told = [f"it {_and(little)}"] if little else []
    told += [f"no test shows that it {_or(bad)}"] if bad else []
    return ", and ".join(told)


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _or(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def best_first(lines: Sequence[TrustLine]) -> tuple[TrustLine, ...]:
    """An explainer's lines by what was asked at all of its tested layers: a layer that was asked less is no better."""
    tested = [one for one in lines if one.advice != "not tested"]
    asked = [test for test in TESTS if all(_asked(getattr(one, test)) for one in tested)]
    return tuple(sorted(lines, key=lambda one: _standing(one, asked)))


def _asked(answer: Answer) -> bool:
    return bool(answer.words) or answer.holds is not None


def _standing(one: TrustLine, tests: Iterable[str] = TESTS) -> tuple[float, ...]:
    """Of an explainer's lines the best-supported first, unless it is wrong somewhere; what no test tells of last."""
    answers: list[Answer] = [getattr(one, test) for test in tests]
    share = one.mosaic.figure.value if one.mosaic.figure else 0.0
    return (
        -float(one.claims.holds is False),
        float(one.advice == "not tested"),
        float(sum(each.holds is False for each in answers)),
        -float(sum(bool(each.holds) for each in answers)),
        -share,
    )


def _place(group: Sequence[TrustLine]) -> tuple[float, ...]:
    """Of a page's explainers what is not to be trusted first, then what most tests speak for; asked less is behind."""
    one = group[0]
    answers: list[Answer] = [getattr(one, test) for test in TESTS]
    return (
        float(WORST_FIRST.index(one.advice)),
        -float(one.claims.holds is False),
        -float(sum(bool(each.holds) for each in answers)),
        -float(sum(map(_asked, answers))),
        float(sum(each.holds is False for each in answers)),
        -(one.mosaic.figure.value if one.mosaic.figure else 0.0),
    )


def _speaks_for(one: TrustLine) -> int:
    """How many tests speak for a map."""
    return sum(bool(getattr(one, test).holds) for test in TESTS)


def _speaks_against(one: TrustLine) -> bool:
    """Whether some test does not speak for a map, though it could tell."""
    tests: list[Answer] = [getattr(one, test) for test in TESTS]
    return any(each.holds is False or _doubtful(each) for each in tests)


def _most_asked(lines: Sequence[TrustLine]) -> list[TrustLine]:
    """Those that were asked as much as any other."""
    asked = [sum(_asked(getattr(one, test)) for test in TESTS) for one in lines]
    return [one for one, count in zip(lines, asked, strict=True) if count == max(asked)]


def _some(lines: Sequence[TrustLine]) -> str:
    """The first explainers of some lines, each once."""
    names = list(dict.fromkeys(one.explainer for one in lines))
    return f"{', '.join(names[:NAMED])}{' and others' if len(names) > NAMED else ''}"


def _spoken_for(one: TrustLine) -> bool:
    """Whether all that keeps a map from being recommended is that there were too few images."""
    return one.hiding.undecided and _speaks_for(one) == len(TESTS) - 1


def shortened(explainers: Sequence[str]) -> list[str]:
    """The first NAMED of many names, and how many more there are."""
    more = len(explainers) - NAMED
    return [*explainers[:NAMED], *([f"one of {more} more"] if more > 0 else [])]


def _named(lines: Sequence[TrustLine], labels: Sequence[str]) -> str:
    """The first of the lines, those of which the same is said with it, and what that is."""
    best = lines[0]
    same = [one.explainer for one in lines if (one.run, one.layer, one.why) == (best.run, best.layer, best.why)]
    return f"{_or(shortened(same))} at {best.layer}{f' for {labels[best.run]}' if labels else ''}: {best.why}"


def sentences(heads: Sequence[TrustLine], labels: Sequence[str]) -> tuple[str, ...]:
    """What a reader should take from the section, in a few sentences."""
    told = []
    several = len({one.run for one in heads}) > 1
    good = [one for one in heads if one.advice == "use"]
    near = [] if good else [one for one in heads if _spoken_for(one)]
    if good:
        told.append(f"Use {_named(good, labels if several else ())}.")
    elif near:
        told.append(
            f"Closest to a recommendation: {_named(near, labels if several else ())}; "
            "bench judge RUN --faithfulness with a larger --limit can tell."
        )
    elif all(_speaks_against(one) for one in heads if one.advice != "not tested"):
        told.append("No explainer passed all tests that were made: take no picture as proof.")
    elif all(map(_speaks_against, most := _most_asked(heads))) and len(most) > 1:
        told.append("No explainer that was asked everything passed everything: take no picture as proof.")
    else:
        told.append("No explainer was asked enough to be recommended: at least two tests must speak for one.")
    bad = [one for one in heads if one.advice == "avoid"]
    if bad:
        names = list(dict.fromkeys(one.explainer for one in bad))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        told.append(f"Avoid {', '.join(names[:3])}{more}: {bad[0].explainer} at {bad[0].layer}, for one: {bad[0].why}.")
    untested = list(dict.fromkeys(one.explainer for one in heads if one.advice == "not tested"))
    careful = [one for one in heads if one.advice == "with care" and one not in near]
    mixed = [one for one in careful if _speaks_for(one) and _speaks_against(one)]
    if mixed:
        told.append(f"Look twice at {_some(mixed)}: some tests speak for them, some do not.")
    missed = [one for one in careful if not _speaks_for(one) and _speaks_against(one)]
    if missed:
        told.append(f"Nothing speaks for {_some(missed)} so far.")
    spared = [one for one in careful if not _speaks_against(one)]
    if spared:
        told.append(
            f"Too little was asked to recommend {_some(spared)}; "
            "bench judge RUN --known-answers and --faithfulness ask more."
        )
    elif untested and not mixed:
        told.append(f"Nothing was tested of {', '.join(untested[:4])}: bench judge RUN --known-answers does.")
    return tuple(told)
