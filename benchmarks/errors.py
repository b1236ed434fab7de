"""What several runs get wrong: which errors they share, what they mix up, how sure they are, which labels are doubtful.

    python benchmarks/errors.py RUN RUN --data $BENCH_DATA --pictures docs/doubtful-labels.png --write docs/results.md

The predictions of finished runs are read; nothing is computed anew. A label is doubtful where all runs agree on another
class and each of them gives it a probability of `SURE` or more. Nobody has looked: it is a list of images to look at.
"""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
from scipy.special import softmax
from tables import finish, parser_of, table

from bench.contracts import Dataset, Silence
from bench.data.datasets import load_dataset
from bench.schema.run import RunRecord
from bench.store.predictions import Predictions, read_predictions
from bench.store.runs import find_run, read_record
from bench.workspace import default_cache

SURE = 0.9
PAIRS = 8  # rows of the table of confused classes
COLUMNS, ROWS = 8, 3  # of the pictures
EDGES = (0.0, 0.5, 0.7, 0.9, 1.0)  # of the probability that a run gives to its own answer

Run = tuple[RunRecord, Predictions]


def shared_words(runs: list[Run]) -> str:
    """How many errors all runs, some of them and only one of them make."""
    wrong = np.stack([found.predicted != found.labels for _, found in runs])
    answers = np.stack([found.predicted for _, found in runs])
    times, total = wrong.sum(axis=0), wrong.shape[1]
    alike = (times == len(runs)) & (answers == answers[0]).all(axis=0)
    several = "".join(f", {(times == n).sum():,} by {n}" for n in range(2, len(runs)))
    every = f"{(times == len(runs)).sum():,} by all {len(runs)}, {alike.sum():,} of them with the same wrong class"
    alone = f"{(times == 1).sum():,} by one alone"
    return f"At least one run is wrong on {(times > 0).sum():,} of {total:,} test images: {every}{several}, {alone}."


def confused(runs: list[Run]) -> str:
    """The pairs of classes, in both directions together, that are mixed up most often over all runs."""
    counts: list[Counter[tuple[int, int]]] = []
    for _, found in runs:
        off = found.predicted != found.labels
        pairs = np.sort(np.stack([found.labels[off], found.predicted[off]], axis=1), axis=1)
        counts.append(Counter(map(tuple, pairs.tolist())))
    classes = runs[0][0].data.classes
    rows = [
        [f"{classes[first]}, {classes[second]}", *(str(each[first, second]) for each in counts)]
        for (first, second), _ in sum(counts, Counter()).most_common(PAIRS)
    ]
    total = ["all errors", *(str(each.total()) for each in counts)]
    return table(["mixed up", *names(runs)], [*rows, total], {"mixed up"})


def names(runs: list[Run]) -> list[str]:
    """Heads of columns: a run's recipe and model."""
    return [f"`{Path(record.recipe).stem}`, `{record.model}`" for record, _ in runs]


def sureness(runs: list[Run]) -> str:
    """Errors among the answers that a run gave with such a probability."""
    columns = []
    for _, found in runs:
        given, off = softmax(found.logits.astype(np.float64), axis=1).max(axis=1), found.predicted != found.labels
        inside = [(low <= given) & (given < high if high < 1 else given <= high) for low, high in pairwise(EDGES)]
        columns.append([share_words(int((off & each).sum()), int(each.sum())) for each in inside])
    heads = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    rows = [[head, *cells] for head, *cells in zip(heads, *columns, strict=True)]
    return table(["probability of the answer", *names(runs)], rows, {"probability of the answer"})


def share_words(errors: int, answers: int) -> str:
    """`12 of 300 (4.0 %)`."""
    return f"{errors:,} of {answers:,} ({100 * errors / answers:.1f} %)" if answers else "–"


def doubtful(runs: list[Run]) -> list[tuple[int, int, int, float]]:
    """(position, label, answer, least probability) of images on which all runs are sure of the same other class."""
    labels = runs[0][1].labels
    given = np.stack([softmax(found.logits.astype(np.float64), axis=1) for _, found in runs])  # (R, N, K)
    answers = given.argmax(axis=2)
    least = np.take_along_axis(given.min(axis=0), answers[0][:, None], axis=1)[:, 0]
    found = np.flatnonzero((answers == answers[0]).all(axis=0) & (answers[0] != labels) & (least >= SURE))
    order = found[np.argsort(-least[found], kind="stable")]
    return [(int(each), int(labels[each]), int(answers[0][each]), float(least[each])) for each in order]


def draw(found: list[tuple[int, int, int, float]], runs: list[Run], data: Dataset, file: Path) -> None:
    """The first of them, with the label of the data set and the answer of all runs."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(ROWS, COLUMNS, figsize=(1.35 * COLUMNS, 1.75 * ROWS), dpi=110, squeeze=False)
    for place in axes.flat:
        place.axis("off")
    for place, (position, label, answer, _) in zip(axes.flat, found, strict=False):
        number = int(runs[0][1].ids[position])
        place.imshow(data.test.images[number].permute(1, 2, 0).numpy(), interpolation="nearest")
        place.set_title(f"label {data.classes[label]}\nall say {data.classes[answer]}", fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


def main() -> None:
    """Print the tables, and write them and the pictures where asked."""
    parser = parser_of(__doc__, data="cifar10", runs_dir="runs", write=None)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--pictures", type=Path, help="file of the pictures with doubtful labels")
    options = parser.parse_args()
    folders = [find_run(options.runs_dir, name) for name in options.runs]
    runs = [(read_record(folder), read_predictions(folder)) for folder in folders]
    found = doubtful(runs)
    if options.pictures:
        draw(found, runs, load_dataset(options.data, cache=default_cache(), progress=Silence()), options.pictures)
    agreed = f"all {len(runs)} runs agree on another class than the label"
    told = f"On {len(found)} images {agreed}, each with a probability of {SURE:g} or more."
    finish("\n\n".join([shared_words(runs), confused(runs), sureness(runs), told]), options.write, "errors")


if __name__ == "__main__":
    main()
