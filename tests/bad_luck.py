"""Kill every command at random moments and let two run at once, again and again; prints what became of them.

    python tests/bad_luck.py --kills 105 --races 40 --seed 0

A process that only forks: PyTorch is imported once, and no thread of it has started before a fork. Nothing may be lost
or half-written: what was there is there, the same command completes, and results are those of an undisturbed run.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bench.cli.app
import bench.commands.adopt
import bench.commands.compare
import bench.commands.judge
import bench.commands.timing
import bench.commands.train
import bench.reports.figures.paper
import bench.reports.render
import bench.training.run
from bench import cli
from bench.errors import BenchError
from bench.store.files import read_checkpoint, read_npz
from bench.store.folder import RunFolder, read_run
from bench.store.paths import checkpoint_path, predictions_path, resume_files
from bench.store.runs import run_folders
from bench.store.timings import read_timings
from bench.training.checkpoint import FileKeeper

MODEL = Path(__file__).parent.parent / "examples" / "my_model.py"
NET = ["--model", "my_model.py:TINY", "--data", "digits"]
TRAIN = ["train", *NET, "--recipe", "demo", "--limit", "96", "--epochs", "3"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
COMMANDS = {
    "train": [*TRAIN, "--run", "x"],
    "explain": [
        "explain",
        "--run",
        "a",
        "--explainer",
        "gradcam,reference",
        "--layer",
        "layer3,layer4",
        "--limit",
        "40",
    ],
    "judge": ["judge", "a", "--limit", "2"],
    "compare": ["compare", "a", "b", "--explainer", "gradcam", "--layer", "layer4", "--limit", "20", "--no-time"],
    "adopt": ["adopt", *NET, "--weights", "w.safetensors", "--run", "x"],
    "time": ["time", "--run", "a", "--what", "forward", "--rounds", "6", "--budget", "2s", "--batch-size", "4"],
    "report": ["report", "a"],
}
LEFT = re.compile(r"\..+\.\w{8}")  # a temporary file of a write


class Lost(Exception):
    """Something is lost, half-written or not as promised."""


def start(words: Sequence[str], place: Path, log: Path) -> int:
    """A command in a process of its own; its number."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS[:2])  # what comes during the fork waits until the child listens
    number = os.fork()
    if not number:
        cli.signals.listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS[:2])
    if number:
        return number
    code = 99
    try:
        os.chdir(place)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        torch.set_num_threads(1)
        bench.training.run.FileKeeper = often  # type: ignore[assignment,attr-defined]
        sys.argv = ["bench", *words]
        cli.main()  # and not its application alone: a signal may come before the command line is read
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def often(folder: Path, run: str, every: float, **rest: Any) -> FileKeeper:
    """What keeps the state of a training: not once a minute, but whenever the thread that writes is free."""
    return FileKeeper(folder, run, 1e-9, **rest)


def ended(number: int) -> int:
    """How a process ended: its code, or below 0 the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def done(words: Sequence[str], place: Path) -> None:
    """A command that must succeed."""
    log = place / "log"
    if code := ended(start(words, place, log)):
        raise Lost(f"bench {' '.join(words)} ended with {code}: {log.read_text()[-600:]}")


def prepared(place: Path) -> None:
    """Two finished runs, one of which was explained a little, and weights to adopt."""
    shutil.copy(MODEL, place)
    for seed, name in enumerate("ab"):
        done([*TRAIN, "--seed", str(seed), "--run", name], place)
    done(["explain", "--run", "a", "--explainer", "gradcam", "--layer", "layer4", "--limit", "10"], place)
    shutil.copy(checkpoint_path(place / "runs" / "a"), place / "w.safetensors")


def plain(value: Any) -> Any:
    """A page's values without the time and the command of the call, and without rates, which no two calls share."""
    if isinstance(value, dict):
        moving = ("created", "provenance", "timings", "speeds", "ms_per_image", "findings", "badges", "train_rate",
                  "forward_rate", "curve", "layers_per_call", "targets_per_call")  # fmt: skip
        return {key: plain(each) for key, each in value.items() if key not in moving}
    return [plain(each) for each in value] if isinstance(value, list) else value


def result_of(name: str, runs: Path) -> object:
    """What a command leaves, as far as it is promised to be the same bit for bit."""
    if name in ("train", "adopt"):
        weights = read_checkpoint(checkpoint_path(runs / "x"))[0]  # beside them stands where the model's file lay
        return [
            {key: each.numpy().tobytes() for key, each in weights.items()},
            predictions_path(runs / "x").read_bytes(),
        ]
    if name == "time":
        return len(read_timings(runs / "a")) > 0
    if name == "judge":
        return [vars(one) for one in read_run(runs / "a").judgement.verdicts]  # type: ignore[union-attr]
    cells = {f"{run}/{cell.explainer}/{cell.layer}": [cell.ids.tolist(), np.asarray(cell.raw).tobytes()]
             for run in "ab" for cell in read_run(runs / run).cells}  # fmt: skip
    pages = sorted((runs / "compare").glob("*/page.json")) if name == "compare" else [runs / "a" / "page.json"]
    return [cells, plain(json.loads(pages[-1].read_text()))]


def check_whole(before: Path, after: Path) -> None:
    """Every run of before is there with all its rows and files, and everything that is there can be read."""
    for folder in run_folders(before):
        old, new = read_run(folder), read_run(after / folder.name)
        if old.predictions.digest != new.predictions.digest:
            raise Lost(f"other predictions of {folder.name}")
        rows = {(one.explainer, one.layer): set(one.ids.tolist()) for one in new.cells}
        for cell in old.cells:
            if not set(cell.ids.tolist()) <= rows.get((cell.explainer, cell.layer), set()):
                raise Lost(f"rows of {cell.explainer} at {cell.layer}")
        if old.samples is not None and not np.isin(old.samples.ids, new.samples.ids).all():  # type: ignore[union-attr]
            raise Lost("pictures")
    for path in after.rglob("*.json"):
        json.loads(path.read_text())
    for path in after.rglob("*.npz"):
        read_npz(path, ())
    for path in after.rglob("*.html"):
        if not path.read_text().rstrip().endswith("</html>"):
            raise Lost(f"{path} is half a page")


@dataclass
class Kill:
    """One command that was killed."""

    name: str
    number: signal.Signals
    early: bool = False  # it was killed before its end
    lost: str = ""

    @staticmethod
    def tried(name: str, number: signal.Signals, base: Path, whole: object, patience: float) -> "Kill":
        """A kill, and what was lost by it, in words."""
        try:
            return Kill.one(name, number, base, whole, patience)
        except (Lost, BenchError, OSError, ValueError) as error:
            return Kill(name, number, lost=f"{type(error).__name__} {error}")

    @staticmethod
    def one(name: str, number: signal.Signals, base: Path, whole: object, patience: float) -> "Kill":
        """Kill a command after so many seconds, look at what is there, and let it complete."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "place"
            shutil.copytree(base, place)
            log, runs, words = place / "log", place / "runs", COMMANDS[name]
            child = start(words, place, log)
            time.sleep(patience)
            with suppress(ProcessLookupError):
                os.kill(child, number)
            code, told = ended(child), log.read_text()
            expected = (0, {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -number), -number)
            if code not in expected or "Traceback" in told:
                raise Lost(f"{name} after {number.name} ended with {code}: {told[-600:]}")
            check_whole(base / "runs", runs)
            if code:
                unfinished = name == "train" and (runs / "x").is_dir() and resume_files(runs / "x")
                is_done = (runs / "x").is_dir() and RunFolder(runs / "x").status == "done"
                if not is_done:
                    done(["train", "--resume", "x"] if unfinished else words, place)
            check_whole(base / "runs", runs)
            if result_of(name, runs) != whole:
                raise Lost(f"{name} after {number.name}: another result than undisturbed")
            left = [path for path in runs.rglob(".*") if LEFT.fullmatch(path.name)]
            if left and code not in (0, -number):
                raise Lost(f"{name} after {number.name} left {left}")
            return Kill(name, number, code != 0)


def kills(base: Path, count: int, chance: random.Random) -> Iterator[Kill]:
    """As many kills, in turns of commands and signals, each at a random moment of its command."""
    whole, seconds = {}, {}
    for name, words in COMMANDS.items() if count else ():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "place"
            shutil.copytree(base, place)
            started = time.monotonic()
            done(words, place)
            seconds[name], whole[name] = time.monotonic() - started, result_of(name, place / "runs")
    names = list(COMMANDS)
    for index in range(count):
        name, number = names[index % len(names)], SIGNALS[index // len(names) % len(SIGNALS)]
        yield Kill.tried(name, number, base, whole[name], chance.uniform(0.02, 0.95 * seconds[name]))


# --- two at once --------------------------------------------------------------------------------------------


def ids(first: int) -> list[str]:
    return ["explain", "--run", "a", "--explainer", "reference", "--layer", "layer2", "-q", "--ids",
            ",".join(map(str, range(first, first + 40)))]  # fmt: skip


def rows_of_both(runs: Path, codes: Sequence[int]) -> bool:
    found = {(cell.explainer, cell.layer): cell for cell in read_run(runs / "a").cells}
    page = json.loads((runs / "a" / "page.json").read_text())
    shown = [each["rows"] for each in page["cells"] if (each["explainer"], each["layer"]) == ("reference", "layer2")]
    cell = found["reference", "layer2"]
    return codes == [0, 0] and set(cell.ids.tolist()) >= set(range(80)) and shown == [len(cell.ids)]


def judged(explainer: str) -> list[str]:
    return ["judge", "a", "--explainer", explainer, "--layer", "layer4", "--limit", "2"]


def verdicts_of_both(runs: Path, codes: Sequence[int]) -> bool:
    found = read_run(runs / "a").judgement
    names = {one.explainer for one in found.verdicts} if found else set()
    shown = {one["verdict"]["explainer"] for one in json.loads((runs / "a" / "page.json").read_text())["verdicts"]}
    return codes == [0, 0] and names == shown == {"gradcam", "reference"}


def two_pages(runs: Path, codes: Sequence[int]) -> bool:
    return codes == [0, 0] and len(list((runs / "compare").glob("*/index.html"))) == 2


def one_page(runs: Path, codes: Sequence[int]) -> bool:
    page = runs / "a" / "report" / "index.html"
    alone = page.is_file() != (runs / "a" / "report.html").is_file()
    used = re.findall(r'src="(data-[^"]+|page\.js)"', page.read_text()) if page.is_file() else []
    return codes == [0, 0] and alone and all((page.parent / name).is_file() for name in used)


def one_of_two(runs: Path, codes: Sequence[int]) -> bool:
    return sorted(codes) == [0, 2] and read_run(runs / "x").record.status == "done"


def one_trained(runs: Path, codes: Sequence[int]) -> bool:
    return sorted(codes) in ([0, 1], [0, 2]) and read_run(runs / "x").record.status == "done"


def gone(runs: Path, codes: Sequence[int]) -> bool:
    return codes[1] == 0 and codes[0] in (0, 4) and not (runs / "a").exists()


Check = Callable[[Path, list[int]], bool]
PAIRS: dict[str, tuple[list[str], list[str], Check]] = {
    "explain x explain": (ids(0), ids(40), rows_of_both),
    "judge x judge": (judged("gradcam"), judged("reference"), verdicts_of_both),
    "judge x explain": (judged("gradcam"), ids(0), lambda runs, codes: codes == [0, 0] and bool(
        read_run(runs / "a").judgement) and any(cell.explainer == "reference" for cell in read_run(runs / "a").cells)),
    "compare x compare": (["compare", "a", "b", "--no-compute"], ["compare", "b", "a", "--no-compute"], two_pages),
    "report x report": (["report", "a"], ["report", "a", "--folder"], one_page),
    "adopt x adopt": (COMMANDS["adopt"], COMMANDS["adopt"], one_of_two),
    "train x train": (COMMANDS["train"], COMMANDS["train"], one_trained),
    "explain x rm": (ids(0), ["rm", "a", "-y"], gone),
}  # fmt: skip


def races(base: Path, count: int, chance: random.Random) -> Iterator[tuple[str, str]]:
    """As many rounds with what was lost, in turns of pairs; two commands begin within a moment of each other."""
    for index in range(count):
        name = list(PAIRS)[index % len(PAIRS)]
        first, second, check = PAIRS[name]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "place"
            shutil.copytree(base, place)
            children = [start(first, place, place / "log1")]
            time.sleep(chance.uniform(0, 2.0 if name == "explain x rm" else 0.3))
            children.append(start(second, place, place / "log2"))
            codes = [ended(each) for each in children]
            told = [(place / log).read_text() for log in ("log1", "log2")]
            words = f"{codes}: {told[0][-500:]} | {told[1][-500:]}"
            try:
                fine = check(place / "runs", codes) and not any("Traceback" in each for each in told)
                if (place / "runs" / "a").is_dir():
                    check_whole(base / "runs", place / "runs")
            except (Lost, BenchError, OSError, ValueError) as error:
                fine, words = False, f"{error} {words}"
        yield name, "" if fine else words


def main() -> None:
    """Kill and race as often as asked; prints tables, and ends with 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=105)
    parser.add_argument("--races", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ.pop("BENCH_DATA", None)
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        base.mkdir()
        os.environ["BENCH_CACHE"] = str(Path(folder) / "cache")
        prepared(base)
        rows: Counter[tuple[str, str]] = Counter()
        for each in _counted(kills(base, asked.kills, chance)):
            rows[each.name, each.number.name] += 1
            rows[each.name, "before its end"] += each.early
            rows[each.name, "lost"] += bool(each.lost)
        heads = [*(number.name for number in SIGNALS), "before its end", "lost"]
        say("| killed | " + " | ".join(heads) + " |\n|---|" + "---|" * len(heads))
        for name in COMMANDS:
            say(f"| `{name}` | " + " | ".join(str(rows[name, head]) for head in heads) + " |")
        found = list(_counted(races(base, asked.races, chance)))
        pairs, broken = Counter(name for name, _ in found), Counter(name for name, words in found if words)
        say("\n| at once | rounds | lost |\n|---|---|---|")
        for name in PAIRS:
            say(f"| `{name}` | {pairs[name]} | {broken[name]} |")
    sys.exit(any(rows[name, "lost"] for name in COMMANDS) or bool(broken))


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _counted(steps: Iterator[Any]) -> Iterator[Any]:
    for count, each in enumerate(steps, 1):
        sys.stderr.write(f"{count} {each}\n")
        yield each


if __name__ == "__main__":
    main()
