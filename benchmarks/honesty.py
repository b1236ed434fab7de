"""How often a page claims what is not there: pages of data without any difference, put through the product's own words.

    python benchmarks/honesty.py --write docs/honesty.md

Each family draws 2,000 pages from a world in which nothing differs, lets the functions that write a page's sentences
write them, and counts the pages on which any of them says that something differs. Beside the share stands the upper end
of its 95 % Wilson interval. The planted rows draw pages on which there is a difference and count those that find it.
"""

import argparse
import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import numpy as np
from tables import finish, parser_of, table

from bench.contracts import Floats
from bench.evaluation import class_rows
from bench.machine import versions
from bench.pages.build import tests_of
from bench.pages.class_changes import changes_of
from bench.pages.findings import comparison_title, pair_findings, run_findings
from bench.pages.speeds import speed_findings
from bench.schema.page import ArmSpeed, Estimate, Finding, RunView, Speeds
from bench.schema.timing import Sample
from bench.scoring.claims import ABOVE, Asked, claims
from bench.stats.intervals import wilson
from bench.stats.rates import CLAIM_ROUNDS, ratios_to, rounds_of
from bench.timing.arms import Arm, ArmSpec
from bench.timing.rounds import turns
from bench.timing.runner import arm_timing

IMAGES = 10_000  # of a test set
ERRORS = 0.08  # mean share of images that a run gets wrong
SCORED = 100  # images that explainers are scored on
LIMIT = 0.06  # that the upper end of a share of false pages must stay below
CLAIM = re.compile(r"is (right|wrong) more often|right most often|right more often than others")
ENDS = re.compile(r"interval (\d+) to (\d+)")

Page = Callable[[np.random.Generator], bool]  # draws one page; whether any of its sentences claims a difference


@dataclass(frozen=True)
class Family:
    """A world from which pages are drawn.

    Attributes:
        planted: whether there is a difference to be found.
        beyond: whether it is outside of what pages promise, and shown so that readers know.
        page: draws a page and reads it.
    """

    name: str
    page: Page
    planted: bool = False
    beyond: bool = False


# --- runs ---------------------------------------------------------------------------------------------------


def run_view(name: str, wrong: int, total: int, confusion: Sequence[Sequence[int]] = ()) -> RunView:
    """A run as its page shows it."""
    return RunView(
        run=name, model=name, data="drawn", recipe="none", seed=0, epochs=1, train_images=1,
        accuracy=Estimate(1 - wrong / total, 0.0, 1.0), correct=total - wrong, total=total, loss=1.0, only_wrong=None,
        parameters=1, train_rate=None, forward_rate=None, device="none", checkpoint="", curve=(), per_class=(),
        confusion=tuple(map(tuple, confusion)),
    )  # fmt: skip


def runs_page(generator: np.random.Generator, runs: int, better: float = 0.0) -> bool:
    """A comparison of runs that err on an image as often as each other; the first less often, by `better`."""
    hard = generator.beta(0.1, 0.1 * (1 / ERRORS - 1), IMAGES)  # some images are hard for all, most for none
    wrong = generator.random((runs, IMAGES)) < hard
    wrong[0] &= generator.random(IMAGES) >= better / ERRORS
    tests = tests_of(wrong)
    views = [run_view(f"run{k}", int(row.sum()), IMAGES) for k, row in enumerate(wrong)]
    told = [each.before + each.link + each.after for each in pair_findings(views, tests)]
    title = comparison_title(views, tests, same_settings=True)
    if better:
        return "run0 is right most often" in title
    return any(CLAIM.search(words) for words in (*told, title))


def changes_page(generator: np.random.Generator, runs: int, classes: int, mended: float = 0.0) -> bool:
    """A comparison of equal runs, every class of each against the first; the last mends a share of class 0's errors."""
    hard = generator.beta(0.1, 0.1 * (1 / ERRORS - 1), IMAGES)
    wrong = generator.random((runs, IMAGES)) < hard
    labels = np.arange(IMAGES) % classes
    wrong[-1] &= (labels > 0) | (generator.random(IMAGES) >= mended)
    clear = [one for one in changes_of(wrong, labels) if one.clear]
    if mended:
        return any((one.run, one.label) == (runs - 1, 0) for one in clear)
    return bool(clear)


def classes_page(generator: np.random.Generator, classes: int) -> bool:
    """A run whose classes are all equally hard: whether the interval of its weakest class leaves out the truth."""
    each = IMAGES // classes
    right = generator.binomial(each, 1 - ERRORS, classes)
    confusion = np.diag(right)
    confusion[np.arange(classes), (np.arange(classes) + 1) % classes] += each - right
    view = run_view("run", int((each - right).sum()), IMAGES, confusion.tolist())
    names = tuple(f"class{k}" for k in range(classes))
    view = replace(view, per_class=class_rows(view.confusion, names))
    return any(not held(told, 100 * (1 - ERRORS)) for told in run_findings(view) if told.anchor == "classes")


def held(told: Finding, truth: float) -> bool:
    """Whether the interval of a sentence holds the truth, in per cent; its ends are rounded to whole ones."""
    ends = ENDS.search(told.evidence)
    return ends is not None and float(ends[1]) - 0.5 <= truth <= float(ends[2]) + 0.5


# --- explainers ---------------------------------------------------------------------------------------------


def figures(generator: np.random.Generator, rows: int, shape: str) -> Floats:
    """(rows, SCORED) of rows that are equally good: what an image adds to all, and each row's own chance."""
    shared = generator.normal(0.2, 0.2, SCORED)
    if shape == "skew":
        own = generator.lognormal(0.0, 1.0, (rows, SCORED)) - np.exp(0.5)
        return np.asarray(shared + 0.1 * own)
    return np.asarray(np.tanh(shared + generator.normal(0.0, 0.3, (rows, SCORED))))


def explainers_page(generator: np.random.Generator, explainers: int, shape: str, better: float = 0.0) -> bool:
    """A table of every explainer against every other by one score; the first better by `better`."""
    rows = figures(generator, explainers, shape)
    rows[0] += better
    pairs = [(a, b) for a in range(explainers) for b in range(a + 1, explainers)]
    said = claims([Asked(rows[a], rows[b]) for a, b in pairs])
    if better:
        return any(one.verdict == ABOVE for one, (a, _) in zip(said, pairs, strict=True) if a == 0)
    return any(one.verdict != "no evidence" for one in said)


def modelless_page(generator: np.random.Generator, explainers: int, better: float = 0.0) -> bool:
    """A table of maps that know no model: each is as good as the best of the rows that know none, and no better.

    All beat maps of other images clearly, which alone would earn them a good word.
    """
    rows = figures(generator, explainers + 3, "even")
    rivals = {"contrast": rows[-1], "edges": rows[-2] - 0.1, "class template": rows[-3]}
    floor = np.zeros(SCORED)
    rows[0] += better
    said = claims([Asked(row, floor, rivals) for row in rows[:explainers]])
    if better:
        return said[0].verdict == ABOVE
    return any(one.verdict == ABOVE for one in said)


# --- arms of a timing ---------------------------------------------------------------------------------------


def steady(generator: np.random.Generator, blocks: int) -> Floats:
    """Blocks of a machine whose noise does not remember."""
    return generator.normal(0.0, 0.02, blocks)


def remembering(generator: np.random.Generator, blocks: int, share: float) -> Floats:
    """AR(1): of each block's noise `share` goes over into the next."""
    shocks = generator.normal(0.0, 0.02 * np.sqrt(1 - share**2), blocks + 500)
    return np.array(list(accumulate(shocks, lambda before, shock: share * before + shock))[500:])


def drifting(generator: np.random.Generator, blocks: int) -> Floats:
    """A machine that gets slower or faster all the time, on a bent line."""
    time = np.linspace(0.0, 1.0, blocks)
    slope, bend = generator.normal(0.0, 0.1, 2)
    return np.asarray(slope * time + bend * time**2 + generator.normal(0.0, 0.005, blocks))


def two_clocks(generator: np.random.Generator, blocks: int, dwell: float) -> Floats:
    """A clock of two speeds, 10 % apart, that stays at each for so many blocks on average."""
    flips = (generator.random(blocks) < 1 / dwell).cumsum() + generator.integers(0, 2)
    return 0.1 * (flips % 2) + generator.normal(0.0, 0.003, blocks)


def arms_page(
    generator: np.random.Generator,
    noise: Callable[[np.random.Generator, int], Floats],
    arms: int,
    slower: float = 0.0,
    heavy: float = 0.0,
    own: float = 0.0,
    rounds: int = CLAIM_ROUNDS,
) -> bool:
    """The speeds of arms that do the same, played in the product's own turns on a machine of this noise.

    Args:
        slower: by how much the second arm is; 0 for equal arms.
        own: of each arm's own deviation the share that goes over into its next round; 0 for arms without one.
        heavy: by how much the last arm slows whoever comes next; then only what is said of the others counts.
    """
    names = [f"m{k}" for k in range(arms)]
    level = noise(generator, 2 * arms * rounds)
    states = {name: remembering(generator, rounds, own) if own else np.zeros(rounds) for name in names}
    order = random.Random(int(generator.integers(2**32)))
    played = [(number, name) for number in range(1, rounds + 1) for name in turns(names, order)]
    samples, before = [], ""
    for (number, name), each in zip(played, level.tolist(), strict=True):
        took = np.exp(each + states[name][number - 1] + (heavy if before == names[-1] else 0.0)) * (
            1 + (slower if name == "m1" else 0.0)
        )
        samples.append(Sample(f"forward[{name}]", number, 1, (float(took),)))
        before = name
    seconds = rounds_of(samples)
    told = speed_findings(
        speeds_of({f"forward[{name}]": seconds[f"forward[{name}]"] for name in names}, names),
        labels=names,
        explainers=(),
    )
    claimed = [each.before + each.after for each in told if each.link in ("faster", "more slowly")]
    if slower:
        return any("m1" in words.split(" than ")[0] for words in claimed)
    return any(not heavy or any(name in words for name in names[1:-1]) for words in claimed)


def speeds_of(seconds: dict[str, list[float]], names: Sequence[str]) -> Speeds:
    """What a page shows of the rounds; every arm is compared with the first."""
    base, *others = seconds
    ratios = ratios_to(dict.fromkeys(others, base), seconds)
    arms = tuple(
        ArmSpeed(
            (k,),
            arm_timing(
                Arm(ArmSpec("forward", name), lambda: None, None, 4), seconds, ratio=ratios.get(f"forward[{name}]"),
                batch_size=4, settled=True, limits={},
            ),
            (), (), (),
        )
        for k, name in enumerate(names)
    )  # fmt: skip
    return Speeds("T", "", "", "", 4, "", CLAIM_ROUNDS, (), arms, ())


# --- all of them --------------------------------------------------------------------------------------------


def families() -> list[Family]:
    """Every world, those without a difference first."""
    slow, slower = partial(remembering, share=0.9), partial(remembering, share=0.98)
    dwells = {dwell: partial(two_clocks, dwell=dwell) for dwell in (5.0, 40.0, 200.0)}
    return [
        *(Family(f"{k} equally good runs, {IMAGES:,} images", partial(runs_page, runs=k)) for k in (3, 5, 10)),
        Family("the weakest of 10 equal classes", partial(classes_page, classes=10)),
        *(
            Family(f"5 equally good explainers, {SCORED} images, {shape} scores",
                   partial(explainers_page, explainers=5, shape=shape)) for shape in ("even", "skew")
        ),
        Family(f"8 maps that know no model, {SCORED} images", partial(modelless_page, explainers=8)),
        *(Family(f"{k} equal arms, independent noise", partial(arms_page, noise=steady, arms=k)) for k in (2, 8)),
        *(Family(f"{k} equal arms, noise AR(0.9)", partial(arms_page, noise=slow, arms=k)) for k in (2, 8)),
        *(Family(f"{k} equal arms, noise AR(0.98)", partial(arms_page, noise=slower, arms=k)) for k in (2, 8)),
        *(Family(f"{k} equal arms, drift", partial(arms_page, noise=drifting, arms=k)) for k in (2, 8)),
        *(
            Family(f"8 equal arms, two clocks, each for {dwell:.0f} blocks", partial(arms_page, noise=noise, arms=8))
            for dwell, noise in dwells.items()
        ),
        Family("4 arms, the last slows the next by 1 %", partial(arms_page, noise=partial(remembering, share=0.5),
                                                                 arms=4, heavy=0.01)),
        *(
            Family(f"2 equal arms, each with a state of its own, AR(0.9) over {rounds} rounds",
                   partial(arms_page, noise=steady, arms=2, own=0.9, rounds=rounds), beyond=True)
            for rounds in (12, 40)
        ),
        Family("3 runs, one right on 1 point more", partial(runs_page, runs=3, better=0.01), planted=True),
        Family("10 runs, one right on 1 point more", partial(runs_page, runs=10, better=0.01), planted=True),
        Family("5 explainers, one better by 0.1", partial(explainers_page, explainers=5, shape="even", better=0.1),
               planted=True),
        Family("8 maps, one better than any without a model by 0.1", partial(modelless_page, explainers=8, better=0.1),
               planted=True),
        Family("2 arms, one slower by 3 %, noise AR(0.9)", partial(arms_page, noise=slow, arms=2, slower=0.03),
               planted=True),
        Family("8 arms, one slower by 3 %, noise AR(0.9)", partial(arms_page, noise=slow, arms=8, slower=0.03),
               planted=True),
        Family("8 arms, one slower by 10 %, two clocks, each for 40 blocks",
               partial(arms_page, noise=dwells[40.0], arms=8, slower=0.1), planted=True),
        Family("10 equal classes of 3 equal runs, each against the first",
               partial(changes_page, runs=3, classes=10)),
        Family("10 classes of 3 runs, one of which mends a third of the errors of one class",
               partial(changes_page, runs=3, classes=10, mended=1 / 3), planted=True),
    ]  # fmt: skip


def counted(place: int, seed: int, pages: int) -> int:
    """Pages of a family that claim a difference."""
    page = families()[place].page
    return sum(page(np.random.default_rng((seed, place, number))) for number in range(pages))


def row(family: Family, claimed: int, pages: int) -> list[str]:
    """A line of the table."""
    share = wilson(claimed, pages)
    false = "–" if family.planted else f"{100 * share.value:.1f} %"
    upper = "–" if family.planted else f"{100 * share.high:.1f} %"
    found = f"{100 * share.value:.0f} %" if family.planted else "–"
    name = f"*{family.name}*" if family.beyond else family.name
    return [name, f"{pages:,}", false, upper, found]


HEADS = ["pages of", "pages", "with any false claim", "95 % upper bound", "that find what was planted"]


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, write=None)
    parser.add_argument("--pages", type=int, default=2000, help="of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    return parser.parse_args()


def main() -> None:
    """Draw all pages and print the table; ends with 1 where a family without differences claims too many."""
    options, every = read_options(), families()
    with ProcessPoolExecutor(options.workers) as pool:
        found = list(pool.map(partial(counted, seed=options.seed, pages=options.pages), range(len(every))))
    rows = [row(family, count, options.pages) for family, count in zip(every, found, strict=True)]
    named = ", ".join(f"{name} {number}" for name, number in versions(("numpy", "scipy")).items())
    head = f"{options.pages:,} pages of each family, seed {options.seed}; {named}."
    finish(f"{head}\n\n{table(HEADS, rows, {'pages of'})}", options.write, "honesty")
    bad = [
        family.name
        for family, count in zip(every, found, strict=True)
        if not family.planted and not family.beyond and wilson(count, options.pages).high >= LIMIT
    ]
    if bad:
        raise SystemExit(f"above {LIMIT:.0%}: {'; '.join(bad)}")


if __name__ == "__main__":
    main()
