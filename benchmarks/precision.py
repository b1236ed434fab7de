"""What bf16 and its products of small maps cost in accuracy: paired trainings, judged on images kept apart.

    python benchmarks/precision.py --data digits --recipe demo --limit 1000 --seeds 5 --write docs/measurements.md

All arms of a seed start from the same weights and see the same images in the same order. The first arm is torch's own
convolutions under autocast; the second has the products of `bench.small_maps`; `--fp32` adds full precision.
"""

from unittest.mock import patch

from ablation import WHOLE, row_of, trained_arm
from tables import finish, machine_words, parser_of, table

from bench.contracts import ModelSpec, Silence
from bench.data.datasets import load_dataset
from bench.machine import choose_device
from bench.recipes.recipe import find_recipe
from bench.registry.registry import discover
from bench.training.loop import TrainSettings
from bench.workspace import default_cache

ARMS = {"bf16, torch's convolutions": ("bf16", 0), "bf16, products": ("bf16", 16), "fp32": ("fp32", 0)}


def main() -> None:
    """Train all arms of all seeds, and write the table."""
    parser = parser_of(__doc__, data="digits", model="cifar_resnet18", device="auto", write=None)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--held", type=int, default=5000)
    parser.add_argument("--fp32", action="store_true")
    parser.add_argument("--name", default="precision", help="of the table in the document")
    options = parser.parse_args()
    device = choose_device(options.device)
    data = load_dataset(options.data, cache=default_cache(), progress=Silence())
    spec = discover("model", ModelSpec)[options.model]
    found: dict[str, dict[int, str]] = {}
    for seed in range(options.seeds):
        for name, (precision, most) in ARMS.items():
            if precision == "fp32" and not options.fp32:
                continue
            recipe = find_recipe(options.recipe).changed({"precision": precision, "epochs": options.epochs})
            settings = TrainSettings(recipe, seed=seed, val=0, limit=options.limit)
            with patch("bench.small_maps.MOST", most):
                right = str(trained_arm(spec, data, settings, device, options.held)["right"])
            found.setdefault(name, {})[seed] = right
            print(f"seed {seed}, {name}: {right.count('1') / len(right):.2%}", flush=True)
    first = next(iter(found))
    rows = [[name, *row_of(WHOLE if name == first else name, own, found[first])[1:]] for name, own in found.items()]
    heads = ["what", "n", "accuracy", "spread or 95 % interval", "difference, points", "95 % interval"]
    head = (
        f"{machine_words(device, 'torch')}; `{options.model}`, recipe `{options.recipe}`, {recipe.epochs} epochs of "
        f"{options.limit:,} images of {data.name}, judged on {len(right):,} training images kept apart."
    )
    finish(f"{head}\n\n{table(heads, rows, {'what'})}", options.write, options.name)


if __name__ == "__main__":
    main()
