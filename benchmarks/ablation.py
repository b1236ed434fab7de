"""What each ingredient of a recipe is worth: the recipe, and the recipe with one value changed, on equal images.

    python benchmarks/ablation.py --data $BENCH_DATA --recipe cpu --limit 5000 --epochs 8 --write docs/measurements.md

Accuracy is that of the plain forward on training images that no arm trained on, never on the test split: recipes are
chosen by this table. All arms of a seed start from the same weights, see the same images and are judged on the same
ones, so their differences are paired. Finished trainings are kept in --out and not repeated.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tables import finish, machine_words, parser_of, points, table

from bench.contracts import Dataset, ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.evaluation import predict
from bench.machine import choose_device
from bench.nets.weights import build_seeded
from bench.precision import resolved_precision
from bench.recipes.recipe import Recipe, find_recipe
from bench.registry.registry import discover
from bench.stats.intervals import paired_difference, wilson
from bench.training.loop import TrainSettings, choose_images, train_model
from bench.workspace import default_cache

WHOLE = "the recipe"


def arms_of(recipe: Recipe) -> dict[str, Mapping[str, Any]]:
    """The recipe itself, then each ingredient it has left out, and each of the usual other values."""
    arms: dict[str, Mapping[str, Any]] = {WHOLE: {}}
    if recipe.whiten:
        arms["no whitening of the stem"] = {"whiten": False}
    grouped = recipe.bias_scale != 1
    arms["no bias group" if grouped else "bias group, x 64"] = (
        {"bias_scale": 1.0, "norm_decay": True} if grouped else {"bias_scale": 64.0, "norm_decay": False}
    )
    if recipe.label_smoothing:
        arms["no label smoothing"] = {"label_smoothing": 0.0}
        arms["half the label smoothing"] = {"label_smoothing": recipe.label_smoothing / 2}
    if recipe.lookahead:
        arms["no lookahead"] = {"lookahead": 0, "bn_momentum": 0.1, "lr_end": 0.0}
    if recipe.flip == "alternating":
        arms["random mirroring"] = {"flip": "random"}
    arms["full size from the start" if recipe.sizes else "smaller images first"] = {
        "sizes": () if recipe.sizes else ((16, 0.25), (24, 0.25))
    }
    arms["no zero-init residual" if recipe.zero_init else "zero-init residual"] = {"zero_init": not recipe.zero_init}
    arms["translate 0"] = {"translate": 0}
    arms["translate 4"] = {"translate": 4}
    arms["cutout 8"] = {"cutout": 8}
    arms["half the peak rate"] = {"lr": recipe.lr / 2}
    arms["twice the peak rate"] = {"lr": recipe.lr * 2}
    arms["half the batch"] = {"batch_size": recipe.batch_size // 2}
    arms["twice the batch"] = {"batch_size": recipe.batch_size * 2}
    return {name: each for name, each in arms.items() if not each or recipe.changed(each).values() != recipe.values()}


def held_out(data: Dataset, trained: torch.Tensor, count: int) -> torch.Tensor:
    """Places of training images that are not trained on, spread evenly over the split."""
    free = torch.ones(len(data.train), dtype=torch.bool)
    free[trained] = False
    places = free.nonzero()[:, 0]
    return places[torch.arange(min(count, len(places))) * len(places) // min(count, len(places))]


def trained_arm(
    spec: ModelSpec, data: Dataset, settings: TrainSettings, device: torch.device, held: int
) -> dict[str, object]:
    """Train one arm with one seed and look at the images kept apart."""
    net = build_seeded(spec, len(data.classes), settings.seed)
    speed = train_model(net, data, settings, device=device, progress=Silence())
    ids = held_out(data, choose_images(data, settings)[0], held)
    logits, _ = predict(net, data.train.images[ids], (data.mean, data.std), device=device, progress=Silence())
    right = (logits.argmax(dim=1) == data.train.labels[ids]).tolist()
    return {"rate": speed.images_per_second, "right": "".join("1" if each else "0" for each in right)}


def finished(path: Path) -> Iterator[dict[str, object]]:
    """What earlier calls have trained."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        yield json.loads(line)


def row_of(name: str, own: Mapping[int, str], whole: Mapping[int, str]) -> list[str]:
    """One line of the table: accuracy, and the difference to the recipe with its interval."""
    shares = [text.count("1") / len(text) for text in own.values()]
    first = next(iter(own.values()))
    spread = f"s.d. {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else interval(first)
    row = [name, str(len(shares)), f"{100 * statistics.mean(shares):.1f} %", spread]
    if name == WHOLE:
        return [*row, "", ""]
    both = sorted(set(own) & set(whole))
    gaps = [own[seed].count("1") / len(own[seed]) - whole[seed].count("1") / len(whole[seed]) for seed in both]
    if len(both) > 1:
        from scipy.stats import t  # type: ignore[attr-defined]

        half = t.ppf(0.975, len(both) - 1) * statistics.stdev(gaps) / len(both) ** 0.5
        low, high = statistics.mean(gaps) - half, statistics.mean(gaps) + half
    else:
        pairs = list(zip(own[both[0]], whole[both[0]], strict=True))
        estimate = paired_difference(pairs.count(("0", "1")), pairs.count(("1", "0")), len(pairs))
        low, high = estimate.low, estimate.high
    return [*row, points(statistics.mean(gaps)), f"{points(low)} to {points(high)}"]


def in_words(changes: Mapping[str, Any]) -> str:
    """What was changed of the recipe first."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in changes.items()) or "its own values"


def interval(right: str) -> str:
    """The Wilson interval of one training."""
    estimate = wilson(right.count("1"), len(right))
    return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f}"


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__, data="digits", model="cifar_resnet18", device="auto", write=None)
    parser.add_argument("--recipe", default="cpu")
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--change", default="{}", help="the recipe, changed first: '{\"lr\": 0.1}'")
    parser.add_argument("--arms", type=lambda text: text.split(","), help="only these, by their names in the table")
    parser.add_argument("--held", type=int, default=5000)
    parser.add_argument("--name", default="ablation", help="of the table in the document")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation.jsonl"))
    return parser.parse_args()


def wanted(recipe: Recipe, names: list[str] | None) -> dict[str, Mapping[str, Any]]:
    """The arms of a recipe, or those of these names; the recipe itself is always one."""
    arms = arms_of(recipe)
    unknown = [name for name in names or () if name not in arms]
    if unknown:
        raise SystemExit(f"no arm '{unknown[0]}'; one of: {', '.join(arms)}")
    return {name: each for name, each in arms.items() if name == WHOLE or name in (names or arms)}


def kept_or_trained(path: Path, key: list[object], train: Callable[[], dict[str, object]]) -> str:
    """Which images an arm got right: from an earlier call, or trained now and kept."""
    kept = next((one for one in finished(path) if one["key"] == key), None)
    if kept is None:
        kept = {"key": key, **train()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
    return str(kept["right"])


def main() -> None:
    """Train what is missing, then write the table."""
    options = read_options()
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    changes: Mapping[str, Any] = json.loads(options.change)
    recipe = find_recipe(options.recipe).changed({**changes, "epochs": options.epochs})
    arms = wanted(recipe, options.arms)
    what = [options.model, data.digest, options.limit, options.held]
    found: dict[str, dict[int, str]] = {}
    for seed in range(options.seeds):
        for name, own in arms.items():
            arm = recipe.changed(own)
            key = [*what, seed, json.loads(json.dumps(arm.values()))]
            settings = TrainSettings(arm, seed=seed, val=0, limit=options.limit)
            train = partial(trained_arm, spec, data, settings, device, options.held)
            right = kept_or_trained(options.out, key, train)
            found.setdefault(name, {})[seed] = right
            print(f"seed {seed}, {name}: {right.count('1') / len(right):.1%}", flush=True)
    heads = ["what", "n", "accuracy", "spread or 95 % interval", "difference, points", "95 % interval"]
    text = "\n\n".join(
        [
            f"{machine_words(device, 'torch')}; {resolved_precision(recipe.precision, device)}; `{options.model}`, "
            f"recipe `{options.recipe}` with {in_words(changes)}, {options.epochs} epochs of {options.limit:,} images "
            f"of {data.name}, judged on {len(right):,} training images kept apart.",
            table(heads, [row_of(name, own, found[WHOLE]) for name, own in found.items()], {"what"}),
        ]
    )
    print()
    finish(text, options.write, options.name)


if __name__ == "__main__":
    main()
