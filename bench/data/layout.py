"""Which files of a folder or an archive are pictures of which class. Names, sizes and counts are hostile."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from bench.data.decoding import is_picture, suffix_of
from bench.data.lists import Listed, class_words, read_lists, split_of
from bench.errors import DataError

SPLITS = ("train", "test")
MAX_MEMBERS = 2_000_000
MAX_BYTES = 32 * 2**20  # of one picture
MAX_NAME = 4096  # characters
TEST_SHARE = 0.2  # of each class, where no folder and no list says which pictures test
SPLIT_SEED = 0
OWN_TEST = (
    f"there is no test set, so {TEST_SHARE:.0%} of each class are used, chosen by a hash of their names "
    f"(seed {SPLIT_SEED})"
)

LAYOUT = "train/<class>/*.jpg and test/<class>/* (or val/), or <class>/* alone, or labels.csv beside the pictures"
BATCHES = "cifar-10-batches-py"

# What systems leave behind; nobody takes it for data.
JUNK = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", ".ds_store", ".localized", ".directory", ".nomedia")
ODD = ("@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "system volume information", "__pycache__")
# A folder of these alone, beside folders of pictures, is no class.
BESIDE = ("", ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".log",
          ".pdf", ".html", ".py", ".ipynb", ".sh", ".pth", ".pt", ".safetensors", ".npz", ".npy", ".lock")  # fmt: skip


class Found(NamedTuple):
    """One regular file of a source.

    Attributes:
        path: text that UTF-8 can encode, "/" between folders.
        size: bytes, as its folder or archive declares them.
        head: its first bytes, where its name does not say what it is.
        raw: its name as the file system has it.
    """

    path: str
    size: int
    head: bytes = b""
    raw: str = ""


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        lists: contents of files that may say which class pictures are of.
        folders: every folder that is told of, also those without a file.
        others: what is no file, by what it is, and how often.
    """

    source: Path
    files: Sequence[Found]
    lists: Mapping[str, bytes] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    others: Mapping[str, int] = field(default_factory=dict)


def shown(name: str) -> str:
    """A hostile name for one line of a terminal: quoted, escaped, at most 100 characters."""
    return repr(name if len(name) <= 100 else f"{name[:60]}...{name[-36:]}")


def reason_of(error: Exception) -> str:
    """What a library says of hostile bytes, for one line of a terminal and without an object's address."""
    return shown(str(error).split("<_io")[0].strip() or type(error).__name__).strip("'\"")


def safe_path(raw: str, source: Path) -> str:
    """A file's name as text with "/" between folders; DataError for one that leads out of its archive."""
    # Bytes that are no UTF-8 arrive as surrogates, which no page and no JSON could carry.
    text = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    absolute = text.startswith(("/", "\\")) or text[1:2] == ":"
    if absolute or ".." in parts or "\0" in text or len(text) > MAX_NAME:
        raise DataError(
            f"{source} has a member with an unsafe name: {shown(text)}",
            try_=f"an archive made inside its folder, with relative names: {LAYOUT}",
        )
    return "/".join(parts)


def is_junk(name: str) -> bool:
    """Whether a file is what a system leaves behind."""
    return name.lower() in JUNK or name.startswith("._")


def is_odd(folder: str) -> bool:
    """Whether a folder is not looked into: hidden, or made by a program for itself."""
    return folder.startswith(".") or folder.lower() in ODD


def odd_part(path: str) -> str:
    """The first folder of a path that is not looked into, or the hidden file itself; empty where there is none."""
    *folders, name = path.split("/")
    return next((each for each in folders if is_odd(each)), name if name.startswith(".") else "")


class Row(NamedTuple):
    """What folders and lists say of a picture; empty where they say nothing.

    Attributes:
        name: in the data set.
        split: `train`, `val` or `test`.
        where: the word that says so, as it is written.
    """

    name: str
    split: str = ""
    label: str = ""
    where: str = ""


class Place(NamedTuple):
    """Where a picture belongs: its name in the data set, `train` or `test`, and its class."""

    name: str
    split: str
    label: str


@dataclass(frozen=True)
class Plan:
    """What is made of a source.

    Attributes:
        places: of the pictures that are taken, by path.
        notes: how splits and classes were found, in words.
        left_out: what is left out and why, with how many.
        vanished: classes whose folders hold other files only, with what they hold.
        found: files that are there.
    """

    places: Mapping[str, Place]
    notes: tuple[str, ...]
    left_out: Mapping[str, int]
    vanished: Mapping[str, str]
    found: int


def plan_of(listing: Listing) -> Plan:
    """Which pictures are taken for which split and class.

    Raises:
        DataError: there is no picture, no class, nothing to train on, or two data sets.
    """
    left_out = Counter(listing.others)
    pictures, rest = _sorted_out(listing.files, left_out)
    if not pictures:
        raise _no_picture(listing.source, rest)
    tree = _tree_of([tuple(path.split("/")[:-1]) for path in pictures], listing.source)
    rows = {path: tree.row(path) for path in pictures}
    listed = read_lists({path: listing.lists[path] for path in rest if path in listing.lists}, pictures)
    notes: list[str] = []
    if listed:
        rest = [path for path in rest if path not in listed.names]
        rows = _with_lists(rows, listed, tree, notes)
        left_out["named in a list and not there"] += listed.missing
    if not any(row.label for row in rows.values()):
        raise _no_class(listing.source, pictures, tree)
    left_out.update(suffix_of(path) or "without suffix" for path in rest)
    notes += tree.empty(listing.folders, (*pictures, *rest))
    taken = _taken(rows, listing.source, left_out, notes)
    vanished = tree.vanished({row.label for row in rows.values()}, rest)
    return Plan(_places(taken, class_words(listing.lists)), tuple(notes), +left_out, vanished, len(listing.files))


def _sorted_out(files: Sequence[Found], left_out: Counter[str]) -> tuple[list[str], list[str]]:
    """Paths of pictures and of other files; what is hidden or lies in odd folders is counted."""
    pictures, rest = [], []
    for file in files:
        odd = odd_part(file.path)
        if odd:
            left_out[f"in {odd}" if f"{odd}/" in file.path else "hidden"] += 1
        elif is_picture(suffix_of(file.path), file.head):
            pictures.append(file.path)
        else:
            rest.append(file.path)
    return pictures, rest


# --- what folders say ---------------------------------------------------------------------------------------

Folders = tuple[str, ...]


@dataclass(frozen=True)
class Tree:
    """How the folders of a source are read.

    Attributes:
        base: the folder that holds the splits or the classes.
        order: what the folders in it are, from the outermost on: `split` and `class`; deeper ones change nothing.
    """

    base: Folders
    order: tuple[str, ...]

    def inner(self, path: str) -> Folders | None:
        """The parts of a path from the base on; None for one that lies elsewhere."""
        parts = tuple(path.split("/"))
        return parts[len(self.base) :] if parts[: len(self.base)] == self.base else None

    def row(self, path: str) -> Row:
        """What the folders of a file say of it."""
        parts = self.inner(path)
        if parts is None:
            return Row(path)
        told = dict(zip(self.order, parts[:-1], strict=False))
        where = told.get("split", "")
        split = split_of(where)
        label = told.get("class", "") if split or "split" not in self.order else ""
        return Row("/".join(parts), split, label, where)

    def vanished(self, labels: set[str], rest: Sequence[str]) -> dict[str, str]:
        """Classes whose folders hold other files only, with what they hold."""
        held: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for path in rest:
            row = self.row(path)
            if row.label and row.label not in labels:
                held[row.label][suffix_of(path)] += 1
        return {
            label: ", ".join(f"{count:,} {suffix or 'without suffix'}" for suffix, count in kinds.most_common(3))
            for label, kinds in held.items()
            if "split" in self.order or not set(kinds) <= set(BESIDE)
        }

    def empty(self, folders: frozenset[str], files: Sequence[str]) -> Iterator[str]:
        """Words on folders of classes in which there is nothing at all."""
        filled = {
            "/".join(parts[:depth]) for file in files for parts in [file.split("/")] for depth in range(len(parts))
        }
        depth = len(self.base) + len(self.order)
        empty = [
            each
            for each in sorted(folders - filled)
            if each.count("/") + 1 == depth and not odd_part(f"{each}/x") and self.row(f"{each}/x").label
        ]
        if empty:
            names = ", ".join(shown(each) for each in empty[:3])
            yield f"{len(empty):,} empty class folder{'s' if len(empty) > 1 else ''}: {names}"


def _tree_of(folders: Sequence[Folders], source: Path) -> Tree:
    """How folders of pictures are to be read; DataError for two data sets, or for nothing to train on."""
    each_once = sorted(set(folders))
    ends = each_once[0], each_once[-1]  # what the first and the last share, all do
    common = tuple(here for here, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False)))
    depth = len(common)
    for wanted in (("train",), ("train", "val", "test")):
        found = {top for each in each_once if (top := _above_split(each[depth:], wanted)) is not None}
        if len(found) > 1:
            first, second = [shown("/".join((*common, *top, "")) or "./") for top in sorted(found)[:2]]
            raise DataError(f"{source} holds two data sets, in {first} and in {second}", try_="the path of one of them")
        if found:
            return Tree((*common, *found.pop()), ("split", "class"))
    lone = next((each for each in reversed(common) if split_of(each)), "")
    if split_of(lone) not in ("", "train"):
        raise DataError(
            f"{source} holds no image in train/<class>/: all its pictures lie in {shown(lone + '/')}",
            try_="train/<class>/ beside it, or the path of that folder; then a part of it becomes the test set",
        )
    inner = [each[depth:] for each in each_once if each[depth:]]
    if inner and all(split_of(each[0]) for each in inner):
        return Tree(common, ("split",))
    if inner and all(len(each) > 1 and split_of(each[1]) for each in inner):
        return Tree(common, ("class", "split"))
    return Tree(common, ("class",))


def _above_split(folders: Folders, wanted: Sequence[str]) -> Folders | None:
    """The folders above the first one of a split that itself has folders of classes; None without one."""
    return next((folders[:at] for at, each in enumerate(folders[:-1][:4]) if split_of(each) in wanted), None)


# --- what lists say, and what is taken ----------------------------------------------------------------------


def _with_lists(rows: Mapping[str, Row], listed: Listed, tree: Tree, notes: list[str]) -> dict[str, Row]:
    """Rows with what lists say; where a list speaks for a folder, pictures that it does not name have no class."""
    beside: defaultdict[str, list[str]] = defaultdict(list)
    for path in rows:
        parts = tree.inner(path)
        beside[parts[0] if parts and len(parts) > 1 else ""].append(path)
    whole, ignored = dict(rows), 0
    for paths in beside.values():
        named = sum(path in listed.rows for path in paths)
        if 2 * named < len(paths) and any(rows[path].label for path in paths):
            ignored += named  # a few examples, not the data set
        elif named:
            for path in paths:
                label, split = listed.rows.get(path, ("", ""))
                row = rows[path]
                whole[path] = Row(row.name, split or row.split, label, split or row.where)
    names = ", ".join(shown(name) for name in listed.names[:3])
    if ignored:
        notes.append(f"{names}: not used for {ignored:,} pictures, since folders give the classes of many more")
    if ignored < len(listed.rows):
        notes.append(f"the classes of {len(listed.rows) - ignored:,} pictures are those of {names}")
    return whole


def _taken(rows: Mapping[str, Row], source: Path, left_out: Counter[str], notes: list[str]) -> dict[str, Row]:
    """The pictures that train and test, by path: what is `train` and what `test` now; the rest is counted."""
    by_split: dict[str, dict[str, Row]] = {each: {} for each in ("train", "val", "test", "")}
    for path, row in rows.items():
        if row.label:
            by_split[row.split][path] = row
        else:
            left_out["without a class" + (f" in {row.where}/" if row.where else "")] += 1
    named = {
        split: " and ".join(f"{where}/" for where in sorted({row.where for row in found.values()}))
        for split, found in by_split.items()
    }
    train = by_split["train"] or by_split[""]
    if train is not by_split["train"] and (by_split["val"] or by_split["test"]):
        raise _no_training(source, named)
    classes = {row.label for row in train.values()}
    usable = [split for split in ("test", "val") if _comparable(by_split[split], classes)]
    for split in ("val", "test", ""):
        if split not in usable[:1] and by_split[split] is not train:
            known = "in" if split in usable else "without a known class in"
            left_out[f"{known} {named[split]}" if split else "without a split"] += len(by_split[split])
    if not usable:
        notes.append(OWN_TEST)
        return parted(train)
    if usable[0] == "val" or len(usable) == 2:
        unused = f"; {named['val']} is not used" if len(usable) == 2 else ""
        notes.append(f"{named[usable[0]]} is the test set{unused}")
    return train | {path: row._replace(split="test") for path, row in by_split[usable[0]].items()}


def _comparable(rows: Mapping[str, Row], classes: set[str]) -> bool:
    """Whether pictures can test; a lone folder of another name holds pictures whose class nobody knows."""
    found = {row.label for row in rows.values()}
    return len(found) > 1 or bool(found & classes)


def parted(rows: Mapping[str, Row]) -> dict[str, Row]:
    """A share of each class for the test, of two pictures one; the same ones whatever order they come in."""
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for path, row in rows.items():
        by_class[normalize("NFC", row.label)].append(path)
    parted = {}
    for paths in by_class.values():
        paths.sort(key=lambda path: _lot(rows[path].name))
        count = min(len(paths) - 1, max(1, round(TEST_SHARE * len(paths))))
        for at, path in enumerate(paths):
            parted[path] = rows[path]._replace(split="test" if at < count else "train")
    return parted


def _lot(name: str) -> bytes:
    return hashlib.sha256(f"{SPLIT_SEED}/{normalize('NFC', name)}".encode()).digest()


def _places(rows: Mapping[str, Row], words: Mapping[str, str]) -> dict[str, Place]:
    """Names and classes in one form: macOS writes an accent behind its letter, other systems one letter for both."""
    places, taken = {}, set()
    for path, row in rows.items():
        name, label = normalize("NFC", row.name), normalize("NFC", row.label)
        name = row.name if name in taken else name  # two folders may differ in that alone
        taken.add(name)
        places[path] = Place(name, row.split, words.get(label, label))
    return places


# --- what cannot be used ------------------------------------------------------------------------------------


def _no_training(source: Path, named: Mapping[str, str]) -> DataError:
    there = " and ".join(filter(None, (named["val"], named["test"])))
    return DataError(f"{source} holds no image in train/<class>/, only in {there}", try_=f"a layout of {LAYOUT}")


def _no_picture(source: Path, rest: Sequence[str]) -> DataError:
    if any(BATCHES in path.split("/") for path in rest):
        return DataError(
            f"{source} holds {BATCHES}, which is read from a folder only",
            try_=f"unpack it and give the folder that contains {BATCHES}",
        )
    kinds = Counter(suffix_of(path) or "without suffix" for path in rest)
    told = (
        f"only {', '.join(f'{count:,} {kind}' for kind, count in kinds.most_common(4))}" if kinds else "nothing at all"
    )
    inside = next((path for path in rest if path.lower().endswith((".npz", ".zip", ".tar", ".tgz", ".gz", ".xz"))), "")
    return DataError(
        f"{source} holds no image in train/<class>/ nor anywhere else: {told}",
        try_=f"--data '{source}/{inside}'" if inside and source.is_dir() else f"a layout of {LAYOUT}",
    )


def _no_class(source: Path, pictures: Sequence[str], tree: Tree) -> DataError:
    place = shown("/".join((*tree.base, "")) or "./")
    return DataError(
        f"{source} holds {len(pictures):,} images, but nothing says their classes; all are in {place}, the first "
        f"{shown(pictures[0])}",
        try_="a folder for each class, or labels.csv beside them with the columns path and class",
    )
