"""How much of a map is the seed's: runs that differ in nothing else, and what was planted in their maps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_factory import make_cell, make_request, make_run

from bench.pages.build import comparison_page
from bench.pages.findings import seed_findings
from bench.pages.seeds import only_seeds_differ, seed_shares
from bench.store.folder import RunFolder, read_run
from bench.store.predictions import fixed_order

LABELS = np.arange(60) % 3
WRONG = (LABELS + 1) % 3
METHODS = ("gradcam", "captum", "hirescam", "layercam")


def runs_of(
    folder: Path,
    share: float,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    methods: tuple[str, ...] = METHODS,
    **changes: object,
) -> list[RunFolder]:
    """Runs in whose maps this share of the variance is the seed's, and the rest the image's."""
    image = np.random.default_rng(99).normal(size=(60, 8, 8))
    found = []
    for seed in seeds:
        own = np.random.default_rng(seed).normal(size=(60, 8, 8))
        noise = np.random.default_rng(50)
        cells = []
        for name in methods:
            raw = np.sqrt(1 - share) * image + np.sqrt(share) * own + 0.01 * noise.normal(size=image.shape)
            rows = [(each, int(LABELS[each])) for each in range(60)]
            cells.append(make_cell(rows, explainer=name, raw=raw.astype(np.float32)))
        request = make_request(seed=seed, **changes)
        made = make_run(
            folder, f"run-{seed}", labels=LABELS.tolist(), predicted=WRONG.tolist(), cells=cells, request=request
        )
        found.append(read_run(made))
    return found


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_the_share_that_was_planted_comes_out(tmp_path: Path, share: float) -> None:
    (found,) = seed_shares(runs_of(tmp_path, share))
    assert found.share is not None
    assert found.share.value == pytest.approx(share, abs=0.03)
    assert found.share.low <= found.share.value <= found.share.high
    assert sum(part for _, part in found.parts) == pytest.approx(1)
    assert (found.images, len(found.explainers), found.runs) == (60, 4, (0, 1, 2))


def test_an_explainer_whose_maps_are_anothers_counts_once(tmp_path: Path) -> None:
    every = runs_of(tmp_path, 0.5, methods=("gradcam",))
    for run in every:
        twin = replace(run.cells[0], explainer="captum")
        run.add_rows(twin)
    (found,) = seed_shares([read_run(run.path) for run in every])
    assert found.explainers == ("captum",)


def test_two_runs_other_settings_or_one_seed_twice_have_no_share(tmp_path: Path) -> None:
    (two,) = seed_shares(runs_of(tmp_path / "two", 0.5, seeds=(0, 1)))
    assert two.share is None and not two.parts and not seed_findings((two,))
    mixed = runs_of(tmp_path / "a", 0.5, seeds=(0, 1)) + runs_of(tmp_path / "b", 0.5, seeds=(2,), epochs=3)
    assert only_seeds_differ(mixed) == [(0, 1)]  # the third was trained for longer
    again = runs_of(tmp_path / "c", 0.5, seeds=(0, 1)) + runs_of(tmp_path / "d", 0.5, seeds=(1,))
    assert only_seeds_differ(again) == []


def test_dead_maps_and_maps_of_other_classes_are_left_out(tmp_path: Path) -> None:
    every = runs_of(tmp_path, 0.5)
    cell = every[0].cells[0]
    status = np.where(np.arange(60) < 30, 1, 0).astype(np.uint8)
    every[0].add_rows(replace(cell, status=status))
    assert seed_shares([read_run(run.path) for run in every])[0].images == 30
    every[0].add_rows(replace(cell, status=np.where(np.arange(60) < 45, 1, 0).astype(np.uint8)))
    assert not seed_shares([read_run(run.path) for run in every])


def test_the_page_says_it_in_one_sentence(tmp_path: Path) -> None:
    every = runs_of(tmp_path, 0.5)
    page = comparison_page(every, fixed_order(LABELS), created="2026-11-21T03:00:00+00:00")
    assert len(page.seeds) == 1
    (told,) = seed_findings(page.seeds)
    assert told in page.findings
    assert told.before.startswith("Of what differs between the maps at layer4") and "is the seed’s" in told.link
    assert "3 seeds, 60 images, 4 explainers" in told.evidence


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_maps_of_two_seeds_are_as_alike_as_what_they_share_and_those_of_other_images_are_not(
    tmp_path: Path, share: float
) -> None:
    (found,) = seed_shares(runs_of(tmp_path, share, seeds=(0, 1)))
    one = found.alike[0]
    assert one.value is not None and one.null is not None
    assert one.value.value == pytest.approx(1 - share, abs=0.05)
    assert one.null.low < 0.05 and one.null.value == pytest.approx(0, abs=0.05)
