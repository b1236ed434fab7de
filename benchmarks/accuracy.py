"""Runs beside each other: what each cost in seconds and what it gave, with the paired test against the first.

    python benchmarks/accuracy.py RUN RUN ... --write docs/measurements.md
    python benchmarks/accuracy.py RUN ... --beside --name whole --write docs/results.md
    python benchmarks/accuracy.py RUN ... --brief --name brief --write README.md

`--beside` adds what others report of the same network, or of one as deep, on the original images. `--brief` is one
small table.
"""

from pathlib import Path

from tables import finish, p_words, parser_of, points, table

from bench.estimates import duration
from bench.schema.run import RunRecord
from bench.stats.intervals import mcnemar, paired_difference, wilson
from bench.store.predictions import read_predictions
from bench.store.runs import find_run, read_record

Row = list[str]

# What, epochs, accuracy in %, as its authors published it, by themselves; the projects are those users start from.
ELSEWHERE = (
    ("five projects of this course assignment", "20 to 50", "10.56, 80.63, 83.00, 83.16, 87.05"),
    ("kuangliu/pytorch-cifar, ResNet18, its README", "about 350", "93.02"),
    ("Jordan's recipe `plain`, the same network", "26", "93.4; mirror average 94.0"),
    ("Jordan's recipe `plain80`, the same network", "80", "95.5; mirror average 95.9"),
    ("Page, an 18-layer network with ReLU before the sums", "30", "94.1"),
    ("DAWNBench, bkj/basenet, a ResNet18 with changes", "40", "94.3"),
)


BRIEF = ["recipe", "model", "device", "20 epochs take", "accuracy (95 % interval)"]


def run_row(record: RunRecord) -> Row:
    """How a run was trained, how long that took, and the three accuracies."""
    results, environment = record.results, record.environment
    total = results.total or 0
    estimate = wilson(results.correct or 0, total)
    averages = [f"{100 * one.correct / total:.2f} %" for one in results.averages.values()]
    return [
        f"`{Path(record.recipe).stem}`",
        f"`{record.model}`",
        f"{environment.device}; torch {environment.versions.get('torch')}",
        str(record.settings.get("seed")),
        str(record.settings.get("precision")),
        f"{results.epochs_run} x {results.train_images or 0:,}",
        f"{results.train_seconds or 0:,.0f}",
        f"{results.train_images_per_second or 0:,.0f}",
        f"{100 * estimate.value:.2f} %",
        f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}",
        *[*averages, "–", "–"][:2],
    ]


def brief_row(record: RunRecord) -> Row:
    """What was trained where, how long that took, and the accuracy with its interval."""
    results = record.results
    share = wilson(results.correct or 0, results.total or 0)
    return [
        f"`{Path(record.recipe).stem}`",
        f"`{record.model}`",
        record.environment.device,
        duration(results.train_seconds or 0.0),
        f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})",
    ]


def pair_row(first: tuple[RunRecord, Path], second: tuple[RunRecord, Path]) -> Row:
    """The second run against the first, on the same test images."""
    wrong = []
    for _, folder in (first, second):
        found = read_predictions(folder)
        wrong.append(found.predicted != found.labels)
    only_first, only_second = int((wrong[0] & ~wrong[1]).sum()), int((wrong[1] & ~wrong[0]).sum())
    # "Second minus first": the roles are swapped.
    gap = paired_difference(only_second, only_first, len(wrong[0]))
    return [
        f"`{Path(second[0].recipe).stem}`, `{second[0].model}`, {second[0].environment.device.partition(';')[0]}",
        str(only_first),
        str(only_second),
        points(gap.value),
        f"{points(gap.low)} to {points(gap.high)}",
        p_words(mcnemar(only_first, only_second)),
    ]


def main() -> None:
    """Print the tables, or write them into a document."""
    parser = parser_of(__doc__, runs_dir="runs", write=None)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--beside", action="store_true", help="what others report, too")
    parser.add_argument("--name", default="recipes", help="of the table in the document")
    parser.add_argument("--brief", action="store_true", help="a small table alone")
    options = parser.parse_args()
    folders = [find_run(options.runs_dir, name) for name in options.runs]
    runs = [(read_record(folder), folder) for folder in folders]
    record = runs[0][0]
    if options.brief:
        brief = table(BRIEF, [brief_row(each) for each, _ in runs], set(BRIEF))
        finish(brief, options.write, options.name)
        return
    heads = ["recipe", "model", "device", "seed", "precision", "epochs", "training, s", "images/s", "accuracy",
             "95 % interval", "mirror average", "mirror and shifts"]  # fmt: skip
    against = ["against the first", "only the first wrong", "only this one wrong", "difference, points",
               "95 % interval", "exact McNemar p"]  # fmt: skip
    parts = [
        f"{record.data.name}, {record.results.total or 0:,} test images.",
        table(heads, [run_row(each) for each, _ in runs], {"recipe", "model", "device", "precision"}),
    ]
    if len(runs) > 1:
        parts.append(table(against, [pair_row(runs[0], each) for each in runs[1:]], {"against the first"}))
    if options.beside:
        parts.append(table(["elsewhere", "epochs", "accuracy, %"], list(map(list, ELSEWHERE)), {"elsewhere"}))
    text = "\n\n".join(parts)
    finish(text, options.write, options.name)


if __name__ == "__main__":
    main()
