"""What may be said of figures: families of claims, draws and images, what could not have been seen; by simulation."""

import numpy as np
import pytest
from scipy.stats import norm, t, ttest_1samp

from bench.schema.page import Estimate
from bench.scoring.claims import ABOVE, BELOW, NO_EVIDENCE, Asked, claims, crossed, smallest_found
from bench.scoring.randomization import left_of


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def family(generator: np.random.Generator, *, gain: float = 0.0, better: float = 0.0, count: int = 6) -> list[Asked]:
    """Claims on 40 images whose figures share what makes an image easy."""
    easy = generator.normal(size=40)

    def figures(mean: float) -> np.ndarray:
        return easy + mean + 0.3 * generator.normal(size=40)

    rivals = {"contrast": figures(-0.2), "template": figures(better)}
    return [Asked(figures(gain), figures(0.0), rivals) for _ in range(count)]


def words(asked: list[Asked]) -> list[str]:
    return [each.verdict for each in claims(asked)]


def test_of_tables_without_any_difference_about_one_in_twenty_says_anything_at_most() -> None:
    generator = rng(1)
    said = [set(words(family(generator))) != {NO_EVIDENCE} for _ in range(300)]
    assert np.mean(said) < 0.09


def test_a_difference_that_is_there_is_said() -> None:
    assert words(family(rng(2), gain=0.5)) == [ABOVE] * 6
    assert words(family(rng(2), gain=-0.5)) == [BELOW] * 6


def test_nothing_good_is_said_of_what_one_row_without_a_model_reaches_as_well() -> None:
    asked = family(rng(3), gain=0.5, better=0.5)
    assert words(asked) == [NO_EVIDENCE] * 6
    assert {each.rival for each in claims(asked)} == {"template"}


def moved_to(p_value: float) -> np.ndarray:
    """40 differences whose mean is above 0 with just this p-value."""
    values = rng(11).normal(size=40)
    return (values - values.mean()) / values.std(ddof=1) + t.isf(p_value / 2, 39) / np.sqrt(40)


def test_a_claim_that_fails_one_of_its_rows_makes_no_room_for_another() -> None:
    """Of two claims the better one is held against 2.5 %: what one row refutes does not count as found before it."""
    nothing = np.zeros(40)
    refuted = Asked(moved_to(1e-9), nothing, {"contrast": moved_to(1e-9) - moved_to(0.5)})
    close = Asked(moved_to(0.03), nothing, {"contrast": nothing})
    assert words([close]) == [ABOVE] and words([refuted, close]) == [NO_EVIDENCE, NO_EVIDENCE]
    assert words([Asked(moved_to(1e-9), nothing), close]) == [ABOVE, ABOVE]
    assert claims([close])[0].gain == Estimate(*two_sided(moved_to(0.03), 0.95), 0.95)


def two_sided(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Mean and ends of Student's interval, by scipy."""
    found = ttest_1samp(values, 0).confidence_interval(level)
    return pytest.approx(values.mean()), pytest.approx(found.low), pytest.approx(found.high)  # type: ignore[return-value]


def test_a_map_that_is_itself_a_row_without_a_model_is_never_good() -> None:
    (one,) = family(rng(4), gain=5.0, count=1)
    assert words([Asked(one.own, one.floor, {"contrast": one.own})]) == [NO_EVIDENCE]


def test_below_thirty_images_nothing_is_said() -> None:
    (one,) = family(rng(5), gain=5.0, count=1)
    for count, word in ((29, NO_EVIDENCE), (30, ABOVE)):
        short = Asked(one.own[:count], one.floor[:count], {name: each[:count] for name, each in one.rivals.items()})
        assert words([short]) == [word]


def test_the_word_and_the_intervals_beside_it_never_disagree() -> None:
    generator = rng(6)
    for gain in np.linspace(0, 0.4, 40):
        for one in claims(family(generator, gain=gain, better=gain / 2)):
            assert one.gain is not None and one.over is not None
            assert (one.verdict == ABOVE) == (one.gain.low > 0 and one.over.low > 0)


# --- draws and images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of_draws", "of_images"), [(0.12, 0.2), (0.3, 0.0), (0.0, 0.3)])
def test_an_interval_over_draws_and_images_holds_the_mean_of_new_ones(of_draws: float, of_images: float) -> None:
    generator, held = rng(8), []
    for _ in range(400):
        draws, images = generator.normal(size=(5, 1)) * of_draws, generator.normal(size=(1, 30)) * of_images
        found = crossed(0.2 + draws + images + 0.3 * generator.normal(size=(5, 30)))
        assert found is not None
        held.append(found.low <= 0.2 <= found.high)
    assert 0.92 < np.mean(held) <= 1


def test_an_image_that_says_nothing_in_one_draw_is_left_out_of_all() -> None:
    values = rng(9).normal(size=(5, 12))
    values[2, 3] = np.nan
    found = crossed(values)
    assert found is not None and found.value == pytest.approx(np.delete(values, 3, axis=1).mean())
    assert crossed(values[:1]) is None and crossed(values[:, :10]) is None  # nine images are left


def around(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half)


@pytest.mark.parametrize(
    ("rho", "excess", "word"),
    [
        (around(0.0, 0.05), around(0.0, 0.05), "nothing left"),
        (around(0.0, 0.15), around(0.0, 0.05), "undecided"),  # the interval holds 0, and much else
        (around(0.0, 0.05), around(0.0, 0.15), "undecided"),
        (around(-0.05, 0.04), around(0.23, 0.05), "still alike but for its sign"),
        (around(0.03, 0.01), around(0.0, 0.01), "nothing left"),  # sure, and as good as none
        (around(0.3, 0.1), around(0.3, 0.1), "still alike"),
        (around(-0.3, 0.1), around(0.3, 0.1), "turned round"),
        (None, None, "undecided"),
        (around(0.0, 0.05), None, "undecided"),
    ],
)
def test_nothing_left_is_said_only_where_all_that_may_be_left_is_as_good_as_none(
    rho: Estimate | None, excess: Estimate | None, word: str
) -> None:
    assert left_of(rho, excess) == word


# --- what could not have been seen --------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.95, 0.999])
def test_the_smallest_difference_found_is_found_in_four_of_five_samples(level: float) -> None:
    generator, found = rng(10), []
    distance = smallest_found(generator.normal(size=2000), level)
    assert distance is not None
    scaled = distance * np.sqrt(2000 / 100)  # for 100 images of the same spread
    for _ in range(600):
        values = generator.normal(scaled, size=100)
        found.append(abs(values.mean()) / values.std(ddof=1) * 10 > norm.ppf((1 + level) / 2))
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
