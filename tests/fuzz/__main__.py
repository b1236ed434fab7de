"""Try cases of every kind on all cores, or one again; prints how many came to what, as docs/reliability.md shows it."""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the helpers of the tests

from fuzz.cases import KINDS, tried
from fuzz.judging import NAMED, OTHER, RIGHT, Outcome
from fuzz.runs import make_base

BLOCK = 400  # cases; then the processes are new, as what a case leaves in memory stays


def tried_by(workers: int, cases: list[tuple[str, int]], base: Path) -> Iterator[tuple[str, int, Outcome]]:
    """What each case came to, as it comes; BrokenProcessPool where one ended its process."""
    # Not max_tasks_per_child, with which Python 3.11 may wait for ever.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(tried, *case, base): case for case in cases}
        for done in as_completed(waiting):
            yield (*waiting[done], done.result())


def main() -> int:
    """The exit code: 1 where anything came to something else than a right result or a named error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1500, help="of all kinds together")
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    parser.add_argument("--case", type=int, help="only this one of --kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    kinds = [asked.kind] if asked.kind else list(KINDS)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        os.environ["BENCH_CACHE"] = str(base / "cache")
        os.environ["OMP_NUM_THREADS"] = "1"
        make_base(base)
        if asked.case is not None:
            found = tried(asked.kind, asked.case, base)
            print(f"{found.kind}: {found.words}")
            return int(found.kind == OTHER)
        each = -(-asked.cases // len(kinds))
        cases = [(kind, number) for number in range(asked.first, asked.first + each) for kind in kinds]
        counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
        for start in range(0, len(cases), BLOCK):
            try:
                for kind, number, came in tried_by(asked.workers, cases[start : start + BLOCK], base):
                    counts[kind][came.kind] += 1
                    if came.kind == OTHER:
                        print(f"--kind '{kind}' --case {number}\n{came.words}\n", flush=True)
            except BrokenProcessPool:
                print("a process died with one of:", *(path.read_text() for path in base.glob("now-*")), sep="\n")
                return 1
    print("| kind | cases | right results | named errors | other |\n| --- | ---: | ---: | ---: | ---: |")
    for kind, count in counts.items():
        print(f"| {kind} | {count.total():,} | {count[RIGHT]:,} | {count[NAMED]:,} | {count[OTHER]:,} |")
    return int(any(count[OTHER] for count in counts.values()))


if __name__ == "__main__":
    raise SystemExit(main())
