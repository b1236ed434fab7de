"""Seconds a call of several works, taken in turns as `bench time` takes them."""

from collections.abc import Mapping, Sequence

from bench.stats.rates import rounds_of
from bench.timing.rounds import Take, Work, play, warm_up


def timed(works: Mapping[str, Work], rounds: int, take: Take) -> dict[str, list[float]]:
    """Warm every work up, then play the rounds: seconds a call of each, round by round."""
    for name, work in works.items():
        warm_up(name, work, take)
    found = rounds_of(play(works, rounds, take))
    return {name: found[name] for name in works}  # not in the order that was drawn


def told(work: Work) -> tuple[int, Sequence[float]]:
    """A block of one call that tells how many seconds it took, such as that of a process which keeps its own clock."""
    seconds = work()
    if not isinstance(seconds, float):
        raise TypeError(f"a call told {seconds!r} instead of its seconds")
    return 1, (seconds,)
