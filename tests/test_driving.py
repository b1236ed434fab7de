"""Units over any engine: tried three times, blamed alone, named with their last line."""

from collections.abc import Sequence

import pytest
from listening import Listener
from units import FakeEngine, Small, small

from bench.contracts import Broken, Done, Silence
from bench.engines.driving import GivenUp, answers, options_of, pace, refuse_given_up
from bench.errors import RunError, UsageError


def driven(engine: FakeEngine, units: Sequence[Small]) -> dict[int, object]:
    found = answers(engine, units, label="units", progress=Silence())
    return {unit.number: answer for unit, answer in found}


def test_each_unit_comes_with_its_own_answer() -> None:
    assert driven(FakeEngine([]), small(5)) == {number: number for number in range(5)}


def test_a_unit_that_fails_is_tried_three_times_and_named_while_the_rest_goes_on() -> None:
    engine = FakeEngine([])
    found = driven(engine, small(4, _2="fail"))
    assert found[2] == GivenUp(small(3, _2="fail")[2], "it failed")
    assert [found[number] for number in (0, 1, 3)] == [0, 1, 3]
    assert engine.tried == [[0, 1, 2, 3], [2], [2]]


def test_the_unit_that_kills_its_worker_is_the_only_one_blamed() -> None:
    engine = FakeEngine([])
    found = driven(engine, small(3, _1="kill"))
    assert isinstance(found[1], GivenUp)
    assert (found[0], found[2]) == (0, 2)
    assert sorted(map(sorted, engine.tried)) == [[0], [0, 1, 2], [0, 1, 2], [1], [2]]


def test_an_engine_may_count_several_tries_at_once_and_the_last_is_made_alone() -> None:
    class Twice(FakeEngine):
        def attempt(self, units):  # noqa: ANN001, ANN202
            self.tried.append([unit.number for unit in units])
            yield from ((place, Broken("killed", tries=2)) for place in range(len(units)))

    engine = Twice([])
    found = driven(engine, small(2))
    assert all(isinstance(each, GivenUp) for each in found.values())
    assert engine.tried == [[0, 1], [0], [1]]


def test_units_that_are_equal_are_each_answered_once() -> None:
    twice = [Small(7), Small(7)]
    found = list(answers(FakeEngine([]), twice, label="units", progress=Silence()))
    assert [answer for _, answer in found] == [7, 7]


def test_the_bar_counts_units_that_ended_not_those_that_are_tried_again() -> None:
    listener = Listener()
    list(answers(FakeEngine([]), small(3, _0="fail"), label="units", progress=listener))
    assert (listener.tracked, listener.advanced) == ({"units": 3}, 3)


def test_answers_that_nobody_takes_end_the_attempt() -> None:
    closed: list[bool] = []

    class Closing(FakeEngine):
        def attempt(self, units):  # noqa: ANN001, ANN202
            try:
                yield 0, Done(0)
                yield 1, Done(1)
            finally:
                closed.append(True)

    found = answers(Closing([]), small(2), label="units", progress=Silence())
    next(found)
    found.close()
    assert closed == [True]


def test_those_given_up_are_named_with_the_command_that_goes_on() -> None:
    failed = [GivenUp(each, "it failed") for each in small(7)]
    with pytest.raises(RunError) as caught:
        refuse_given_up(failed, 9, "bench explain a --on local:2")
    assert caught.value.message.startswith("7 of 9 units of work failed 3 times: unit 0: it failed; unit 1")
    assert caught.value.message.endswith("and 2 more")
    assert caught.value.try_ == "bench explain a --on local:2  # computes only what is missing"
    refuse_given_up([], 9, "")


@pytest.mark.parametrize("words", ["gpus", "=2", "gpus=", "gpus=1,,time"])
def test_options_that_are_no_pairs_are_refused(words: str) -> None:
    with pytest.raises(UsageError, match="is not a list of NAME=VALUE"):
        options_of(words)


def test_options_are_read_by_name() -> None:
    assert options_of("gpus=1, time=2h,") == {"gpus": "1", "time": "2h"}
    assert options_of(None) == {}


def test_the_pace_says_how_long_the_rest_takes() -> None:
    assert pace(10, 30, 5.0) == "2.0 units/s, 10 s left"
    assert pace(1, 3, 30.0) == "2.0 units/min, 60 s left"
    assert pace(3, 3, 3.0) == "1.0 units/s"
