"""How long work will take, by what was measured before it."""

from dataclasses import replace

import pytest
import torch
from listening import Listener

from bench.estimates import (
    affordable,
    faithfulness_words,
    reached_rate,
    timing_seconds,
)
from bench.schema.scores import Cost

CPU, GPU = torch.device("cpu"), torch.device("cuda")
COST = Cost(images=10, explanations=100.0, forwards=800, sanity=100.0, rate=50.0)


def test_a_net_reaches_a_share_of_the_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    products = {"fp32": 1e11, "bf16": 4e11}
    monkeypatch.setattr("bench.estimates.product_rate", lambda device, precision: products[precision])
    assert (reached_rate(CPU, "fp32"), reached_rate(CPU, "bf16")) == (pytest.approx(7e10), pytest.approx(1e11))


@pytest.mark.parametrize(
    ("images", "seconds", "device", "taken"),
    [(501, 901.0, CPU, 500), (501, 900.0, CPU, 501), (500, 9000.0, CPU, 500), (501, 9000.0, GPU, 501)],
)
def test_a_cpu_takes_500_images_of_what_needs_over_15_minutes_and_says_so(
    images: int, seconds: float, device: torch.device, taken: int
) -> None:
    listener = Listener()
    assert affordable(images, seconds, device, listener) == taken
    assert bool(listener.warned) == (taken < images)


def test_a_timing_is_its_blocks_three_to_warm_up_two_a_round_and_what_comes_after() -> None:
    """By hand: a call of 0.1 s fills a block of 0.2 s by three calls, one of 3 s is called twice."""
    short, long = 0.1 + 0.2, 2 * 3.0
    found = timing_seconds([0.1, 3.0], 6, block=0.2, process=5.0)
    assert found == pytest.approx(15 * short + 15 * long + 2 * (2 * 0.2 + 5.0))


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (COST, "10 misclassified images: at most 100 forward passes each, about 20 s at the evaluation's 50 images/s"),
        (replace(COST, images=0), "no errors to look at"),
        (
            Cost(images=1, explanations=0, forwards=0, sanity=0, rate=50.0),
            "1 misclassified image: everything exists already, nothing to compute",
        ),
    ],
)
def test_faithfulness_says_what_it_takes(cost: Cost, words: str) -> None:
    assert faithfulness_words(cost) == words
