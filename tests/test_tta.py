"""Averages over views, against one image and one pixel at a time."""

import pytest
import torch
from tiny import TINY, tiny_data
from torch import Tensor, nn

from bench.contracts import Silence
from bench.evaluation import FIGURES, VIEWS, WORDS, averages_of, predict, read_averages
from bench.memory import Room
from bench.nets import tta as averaging
from bench.nets.tta import average_logits, view
from bench.nets.weights import build_seeded
from bench.schema.run import AverageResult, Results
from bench.stats.intervals import wilson

ROOM = Room(Silence())

CPU = torch.device("cpu")
STATISTICS = ((0.25, 0.3, 0.35), (0.2, 0.25, 0.3))
EDGE = 32


def some_images(count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 3, EDGE, EDGE), generator=generator, dtype=torch.uint8)


def net_of_noise() -> nn.Module:
    """A net that every pixel matters to, whose batch norm has seen something."""
    net = build_seeded(TINY, 4, 0).train()
    net(torch.randn(32, 3, EDGE, EDGE, generator=torch.Generator().manual_seed(1)))
    return net.eval()


def averaged(net: nn.Module, images: Tensor, *, mirror: bool = True, precision: str = "fp32") -> dict[str, Tensor]:
    plain, _ = predict(net, images, STATISTICS, device=CPU, progress=Silence())
    return average_logits(net, images, plain, STATISTICS, mirror=mirror, precision=precision, device=CPU, room=ROOM)


# --- written out slowly -------------------------------------------------------------------------------------


def reflected(place: int) -> int:
    """A place outside of the image comes back into it; the border pixel is not repeated."""
    if place < 0:
        return -place
    return 2 * (EDGE - 1) - place if place >= EDGE else place


def shifted(image: Tensor, step: int) -> Tensor:
    """One image whose pixel at (y, x) is that at (y + step, x + step)."""
    moved = [reflected(place + step) for place in range(EDGE)]
    return torch.stack([torch.stack([image[:, y, x] for x in moved], dim=1) for y in moved], dim=1)


def mirrored(image: Tensor) -> Tensor:
    """One image seen in a mirror: left is right."""
    return torch.stack([image[:, :, EDGE - 1 - x] for x in range(EDGE)], dim=2)


def logits_of(net: nn.Module, image: Tensor) -> Tensor:
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in STATISTICS)
    with torch.no_grad():
        logits: Tensor = net(((image / 255 - mean) / std)[None])[0]
    return logits


def slow_average(net: nn.Module, image: Tensor, weights: dict[str, float]) -> Tensor:
    views = {
        "plain": image,
        "mirror": mirrored(image),
        "upside down": image.flip(1),  # the planted mistake: the other axis
        "up": shifted(image, 1),
        "up, mirror": mirrored(shifted(image, 1)),
        "down": shifted(image, -1),
        "down, mirror": mirrored(shifted(image, -1)),
    }
    assert sum(weights.values()) == 1
    return sum((weight * logits_of(net, views[name]) for name, weight in weights.items()), torch.zeros(4))


MIRROR = {"plain": 0.5, "mirror": 0.5}
BOTH = {"plain": 0.25, "mirror": 0.25, "up": 0.125, "up, mirror": 0.125, "down": 0.125, "down, mirror": 0.125}
SHIFTS = {"plain": 0.5, "up": 0.25, "down": 0.25}


@pytest.mark.parametrize(
    ("mirror", "name", "weights"),
    [(True, "mirror", MIRROR), (True, "mirror and shifts", BOTH), (False, "shifts", SHIFTS)],
)
def test_an_average_is_the_weighted_mean_of_the_views_written_out(
    mirror: bool, name: str, weights: dict[str, float]
) -> None:
    net, images = net_of_noise(), some_images()
    slow = torch.stack([slow_average(net, image, weights) for image in images])
    assert torch.allclose(averaged(net, images, mirror=mirror)[name], slow, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("mirror", "name", "instead"), [(True, "mirror", "upside down"), (False, "shifts", "up")])
def test_a_mirror_that_turns_images_upside_down_and_shifts_that_go_one_way_would_be_noticed(
    mirror: bool, name: str, instead: str
) -> None:
    net, images = net_of_noise(), some_images()
    wrong = torch.stack([slow_average(net, image, {"plain": 0.5, instead: 0.5}) for image in images])
    assert not torch.allclose(averaged(net, images, mirror=mirror)[name], wrong, rtol=0, atol=1e-3)


def test_up_and_left_means_that_the_second_row_and_column_become_the_first() -> None:
    images = some_images(1)
    moved = view(images, 1, mirrored=False)
    assert torch.equal(moved[0, :, [0, -1], [0, -1]], images[0, :, [1, -2], [1, -2]])
    assert torch.equal(view(images, 0, mirrored=False), images)


# --- what is left alone -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirror", [True, False])
def test_an_average_takes_as_many_forward_passes_as_it_says_and_none_is_the_plain_one_again(mirror: bool) -> None:
    net, images, passes = net_of_noise(), some_images(), []
    plain, _ = predict(net, images, STATISTICS, device=CPU, progress=Silence())
    net.register_forward_pre_hook(lambda module, inputs: passes.append(inputs[0].clone()))
    found = average_logits(net, images, plain, STATISTICS, mirror=mirror, precision="fp32", device=CPU, room=ROOM)
    assert tuple(found) == averages_of(mirror=mirror) and mirror == ("mirror" in found)
    assert len({each.numpy().tobytes() for each in passes}) == len(passes) == max(VIEWS[name] for name in found) - 1


def test_averaging_uses_eval_mode_and_leaves_model_images_and_plain_logits_as_they_were() -> None:
    net, images = build_seeded(TINY, 4, 0), some_images()
    net.train()
    net.layer3.eval()
    plain, _ = predict(net, images, STATISTICS, device=CPU, progress=Silence())
    before = {name: module.training for name, module in net.named_modules()}
    state = {key: value.clone() for key, value in net.state_dict().items()}
    pixels, logits = images.clone(), plain.clone()
    average_logits(net, images, plain, STATISTICS, mirror=True, precision="fp32", device=CPU, room=ROOM)
    assert {name: module.training for name, module in net.named_modules()} == before
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(images, pixels) and torch.equal(plain, logits)


def test_averages_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = net_of_noise(), tiny_data(test=3).test.images
    whole = averaged(net, images)
    monkeypatch.setattr(averaging, "BATCH", 5)
    parts = averaged(net, images)
    assert all(torch.allclose(whole[name], parts[name], rtol=0, atol=1e-5) for name in whole)


def test_narrow_views_are_near_the_others_and_their_average_is_float32() -> None:
    net, images = net_of_noise(), some_images()
    wide, narrow = (averaged(net, images, precision=each)["mirror"] for each in ("fp32", "bf16"))
    assert (
        narrow.dtype == torch.float32
        and not torch.equal(wide, narrow)
        and torch.allclose(wide, narrow, rtol=0, atol=0.05)
    )


# --- read again ---------------------------------------------------------------------------------------------


def test_counts_of_a_run_are_read_in_a_fixed_order_with_their_intervals() -> None:
    rows = {"mirror and shifts": AverageResult(0.8, 8, 6), "mirror": AverageResult(0.7, 7, 2)}
    found = read_averages(Results(averages=rows), 10)
    assert [(each.name, each.correct, each.views) for each in found] == [
        ("mirror average", 7, 2),
        ("mirror and shifts", 8, 6),
    ]
    assert found[0].accuracy == wilson(7, 10)


@pytest.mark.parametrize(
    "rows", [{}, {"else": AverageResult(0.3, 3, 2)}, *({"mirror": AverageResult(0.5, each, 2)} for each in (-1, 11))]
)
def test_what_was_never_counted_or_cannot_be_is_left_out(rows: dict[str, AverageResult]) -> None:
    assert read_averages(Results(averages=rows), 10) == ()


def test_every_average_has_words_and_a_name_for_thresholds() -> None:
    assert (list(WORDS), list(FIGURES)) == (list(VIEWS), list(WORDS.values()))
    names = [[FIGURES[WORDS[name]] for name in averages_of(mirror=mirror)] for mirror in (True, False)]
    assert names == [["accuracy_mirror", "accuracy_shifts"], ["accuracy_shifts"]]
