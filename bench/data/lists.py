"""Lists beside pictures that say which class each is of: labels.csv, metadata.jsonl, val_annotations.txt and such."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from unicodedata import normalize

from bench.errors import DataError

MAX_LIST = 64 * 2**20  # bytes of one
MAX_LISTS = 64

SPLIT_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
}
# By the names that their columns have, the more telling first.
PATHS = ("path", "file_name", "filename", "file", "filepath", "file_path", "image_path", "img_path", "image", "img",
         "image_name", "image_file", "image_id", "imageid", "picture", "name", "id", "images", "files", "filenames",
         "file_names", "paths")  # fmt: skip
LABELS = ("class_name", "classname", "label_name", "class", "label", "labels", "category", "target", "species", "breed",
          "diagnosis", "y", "class_id", "label_id", "classes")  # fmt: skip
SPLITS = ("split", "set", "subset", "partition", "phase", "usage", "data_set", "dataset")

_ENDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
_TABLE = re.compile(r".*\.(csv|tsv|jsonl|ndjson)", re.IGNORECASE)
_TEXT = re.compile(
    r"(train|val|valid|validation|test|files?|images?|words|wnids|loc_synset_mapping|.*annotations?|.*labels?|.*list)"
    r"([_-](list|labels?|annotations?|files))?\.txt",
    re.IGNORECASE,
)
_SYNSET = re.compile(r"n\d{8}")
_OF_SYNSETS = ("words.txt", "loc_synset_mapping.txt")

Rows = Iterator[tuple[str, str, str]]  # path, class and split, as they are written


@dataclass(frozen=True)
class Listed:
    """What lists say of pictures.

    Attributes:
        names: of the lists.
        rows: class and split (empty where nothing says it) of each picture's path.
        missing: rows of pictures that are not there.
        first: the first such row's picture.
    """

    names: tuple[str, ...]
    rows: Mapping[str, tuple[str, str]]
    missing: int
    first: str


def split_of(word: str) -> str:
    """`train`, `val` or `test` by a folder's name or a list's word for it; empty for anything else."""
    lowered = word.strip().lower()
    return next((split for split, words in SPLIT_WORDS.items() if lowered in words), "")


def may_be_list(path: str, size: int) -> bool:
    """Whether a file may say which class pictures are of, by its name."""
    if path.count("/") > 2 or size > MAX_LIST or not path.lower().endswith(_ENDS):
        return False
    name = path.rpartition("/")[2]
    return bool(_TABLE.fullmatch(name) or _TEXT.fullmatch(name)) and "submission" not in name.lower()


def read_lists(lists: Mapping[str, bytes], paths: Sequence[str]) -> Listed | None:
    """What all lists say; None where none of them names a picture that is there.

    Args:
        lists: contents by path.
        paths: of all pictures.

    Raises:
        DataError: a list cannot be read, or gives a picture two classes, or a split nobody knows.
    """
    rows: dict[str, tuple[str, str]] = {}
    names, missing, first = [], 0, ""
    for name, content in sorted(lists.items()):
        find = _finder(paths, name)
        found: dict[str, tuple[str, str]] = {}
        lost: list[str] = []
        for word, label, split in _rows(name, content, find):
            path = find(word)
            if path is None:
                lost.append(word)
            elif label:
                before = found.setdefault(path, (label, split))
                if before[0] != label:
                    raise _two_classes(name, word, before[0], label)
        if not found:
            continue  # a list of other things
        names.append(name)
        missing, first = missing + len(lost), first or (lost[0] if lost else "")
        for path, (label, split) in found.items():
            if rows.setdefault(path, (label, split))[0] != label:
                raise _two_classes(name, path, rows[path][0], label)
    return Listed(tuple(names), rows, missing, first) if rows else None


def class_words(lists: Mapping[str, bytes]) -> dict[str, str]:
    """What ImageNet's lists call its classes: `n01443537` is `n01443537 goldfish`, so that their order stays."""
    found = {}
    for name, content in lists.items():
        if PurePosixPath(name).name.lower() in _OF_SYNSETS:
            for line in _text(content).splitlines():
                synset, _, words = line.replace("\t", " ", 1).partition(" ")
                if _SYNSET.fullmatch(synset) and words.strip():
                    found[synset] = f"{synset} {words.split(',')[0].strip()}"
    return found


def _two_classes(name: str, word: str, first: str, second: str) -> DataError:
    return DataError(
        f"{name!r} gives {word!r:.80} two classes, {first!r:.40} and {second!r:.40}",
        try_="a list with one class for each image",
    )


def _finder(paths: Sequence[str], name: str) -> Callable[[str], str | None]:
    """How a list finds a picture: by its path from the list's folder, by the end of its path, or by its bare name.

    Of several with one bare name those count that lie where the list does, and in the folder of the list's split.
    """
    whole = {normalize("NFC", path): path for path in paths}
    below, split = name[: name.rfind("/") + 1], _split_of_list(name)
    bare: dict[tuple[int, str], str | None] = {}  # by how near to the list it lies, and its bare name
    for path in paths:
        picture, inner = PurePosixPath(normalize("NFC", path)), path.removeprefix(below).split("/")[0]
        near = path.startswith(below) + (path.startswith(below) and bool(split) and split_of(inner) == split)
        for key in {(near, picture.name), (near, picture.stem)}:
            bare[key] = None if key in bare else path  # several pictures of one name are found by their paths only

    def find(word: str) -> str | None:
        parts = [part for part in normalize("NFC", word).replace("\\", "/").split("/") if part not in ("", ".")]
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for path in (below + tail, tail):
                if path in whole:
                    return whole[path]
        found = next((found for near in (2, 1, 0) if (found := bare.get((near, parts[-1])))), None) if parts else None
        # A row that names another folder than the picture's own means another picture, perhaps of another class.
        folders = PurePosixPath(normalize("NFC", found).removeprefix(below)).parts[:-1] if found else ()
        return None if len(parts) > 1 and folders and parts[-2] != folders[-1] else found

    return find


def _split_of_list(name: str) -> str:
    """The split that a list's own name or folder says; empty where they say none."""
    *folders, last = name.split("/")
    return next((split_of(each) for each in (re.split(r"[._-]", last)[0], *folders) if split_of(each)), "")


def _rows(name: str, content: bytes, find: Callable[[str], str | None]) -> Rows:
    """The rows of a list, with the split that the list's own name or folder says where no column does."""
    path, split, text = PurePosixPath(name), _split_of_list(name), _text(content)
    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _of_objects(name, text, split)
        elif path.suffix.lower() == ".txt" and "\t" not in text[:10_000]:
            pairs = (line.strip().rsplit(None, 1) for line in text.splitlines())
            yield from _of_table(name, iter([each for each in pairs if len(each) == 2]), split, find)
        else:
            first = text[:100_000].split("\n", 1)[0]
            delimiter = max(",;\t", key=first.count)
            yield from _of_table(name, csv.reader(io.StringIO(text), delimiter=delimiter), split, find)
    except (csv.Error, ValueError, RecursionError) as error:
        raise DataError(f"{name!r} cannot be read as a list of pictures: {error}", try_="a complete list") from error


def _text(content: bytes) -> str:
    """Text of whatever coding; Excel's are known by their marks."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _of_objects(name: str, text: str, split: str) -> Rows:
    for line in text.splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"a line is no object: {line[:40]!r}")
        columns = _columns(list(row))
        if columns is None:
            return
        values = [row[list(row)[column]] if column is not None else split for column in columns]
        if isinstance(values[1], (list, dict)):
            raise DataError(
                f"{name!r} gives {values[0]!r:.80} several classes", try_="a list with one class for each image"
            )
        label = "" if values[1] is None else str(values[1])
        yield str(values[0]), label, _known_split(name, str(values[2])) if columns[2] is not None else split


def _of_table(name: str, rows: Iterable[list[str]], split: str, find: Callable[[str], str | None]) -> Rows:
    rows = iter(rows)
    head = next((row for row in rows if row), [])
    columns = _columns(head)
    if columns is None:  # no names of columns: one holds the path, the next one the class
        place = next((column for column, word in enumerate(head) if find(word)), None)
        if place is None or len(head) < 2:
            return
        columns, rows = (place, 1 if place == 0 else 0, None), chain([head], rows)
    path, label, told = columns
    for row in rows:
        if len(row) > max(path, label, told or 0):
            yield row[path], row[label].strip(), split if told is None else _known_split(name, row[told])


def _columns(head: Sequence[str]) -> tuple[int, int, int | None] | None:
    """Where path, class and split stand among named columns; None where the first two do not."""
    names = [re.sub(r"[\s-]+", "_", str(each).strip().lower()) for each in head]
    found = [next((names.index(each) for each in kind if each in names), None) for kind in (PATHS, LABELS, SPLITS)]
    return None if found[0] is None or found[1] is None else (found[0], found[1], found[2])


def _known_split(name: str, word: str) -> str:
    found = split_of(word)
    if word.strip() and not found:
        raise DataError(f"{name!r} names a split {word!r:.40}", try_="train, val and test in its column of splits")
    return found
