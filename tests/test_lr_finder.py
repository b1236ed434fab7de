"""The range test: the model left as found, the curve from 1e-7, and no confidence at an edge."""

import copy
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import call, done
from tiny import BUSY, QUICK, RESIDUAL, TINY, TINY_FILE, tiny_data

from bench.contracts import Silence
from bench.errors import UsageError
from bench.nets.weights import build_seeded
from bench.training.loop import TrainSettings
from bench.training.lr_finder import RangeTest, find_rate, suggest

CPU = torch.device("cpu")


def search(net: torch.nn.Module, **options: float) -> RangeTest:
    return find_rate(net, tiny_data(16), TrainSettings(QUICK, val=0), device=CPU, progress=Silence(), **options)  # type: ignore[arg-type]


def test_the_model_is_left_as_found_bit_for_bit() -> None:
    net = build_seeded(TINY, 4, 0)
    net.layer3.eval()
    state = copy.deepcopy(net.state_dict())
    flags = {name: module.training for name, module in net.named_modules()}
    momentum = net.layer3[1].momentum
    search(net, steps=30)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert {name: module.training for name, module in net.named_modules()} == flags
    assert net.layer3[1].momentum == momentum and all(each.grad is None for each in net.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recipe_that_initialises_is_tested_so_and_the_model_left_as_found(precision: str) -> None:
    net = build_seeded(RESIDUAL, 4, 0)
    state = copy.deepcopy(net.state_dict())
    recipe, curves = replace(BUSY, precision=precision), []
    for one in (recipe, replace(recipe, whiten=False)):
        settings = TrainSettings(one, val=0)
        curves.append(find_rate(net, tiny_data(16), settings, device=CPU, progress=Silence(), steps=12).losses)
        assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert curves[0] != curves[1]


def test_rates_start_at_1e_7_and_grow_by_one_factor() -> None:
    rates = search(build_seeded(TINY, 4, 0), steps=20, highest=1e-2).rates
    assert (rates[0], rates[-1]) == (pytest.approx(1e-7), pytest.approx(1e-2))
    factors = [second / first for first, second in itertools.pairwise(rates)]
    assert max(factors) == pytest.approx(min(factors))


def test_a_curve_ends_where_the_loss_blows_up() -> None:
    found = search(build_seeded(TINY, 4, 0), steps=60, highest=1e12)
    assert len(found.rates) < 60 and all(math.isfinite(loss) for loss in found.losses)


@pytest.mark.parametrize("steepest", [-6.9, -3, -0.1])
def test_the_suggestion_is_where_the_curve_falls_fastest_and_marked_at_an_edge(steepest: float) -> None:
    rates = [10 ** (place / 10 - 7) for place in range(71)]
    found = suggest(rates, [2.3 - 2 / (1 + math.exp(-3 * (math.log10(rate) - steepest))) for rate in rates])
    assert found.at_edge if steepest != -3 else found.suggestion == pytest.approx(1e-3) and not found.at_edge


def test_too_few_steps_and_a_loss_that_blows_up_at_once_are_errors() -> None:
    with pytest.raises(UsageError, match="make no curve"):
        search(build_seeded(TINY, 4, 0), steps=3)
    with pytest.raises(UsageError, match="diverged"):
        suggest([1e-7, 1e-6], [2.3, 9.0])


def test_the_seed_decides_the_curve() -> None:
    first, same = (search(build_seeded(TINY, 4, 0), steps=12) for _ in range(2))
    settings, net = TrainSettings(QUICK, seed=1, val=0), build_seeded(TINY, 4, 0)
    other = find_rate(net, tiny_data(16), settings, device=CPU, progress=Silence(), steps=12)
    assert first == same and first.losses != other.losses


def test_the_command_draws_the_curve_and_prints_the_rate(tmp_path: Path) -> None:
    words = ["lr-find", "--model", TINY_FILE, "--data", "digits", "--recipe", "demo", "--steps", "25", "--json"]
    answer = json.loads(done(*words, runs=tmp_path).stdout)
    assert answer["rates"][0] == pytest.approx(1e-7) and Path(answer["curve"]).read_bytes().startswith(b"\x89PNG")
    bad = call(*words[:-1], "--out", str(tmp_path / "curve.gif"), runs=tmp_path)
    assert (bad.exit_code, "'curve.gif'" in bad.stderr) == (2, True)
