"""Which files of a folder or an archive are images of which class. Names, sizes and counts are hostile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError

SPLITS = ("train", "test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff")
MAX_MEMBERS = 2_000_000
MAX_BYTES = 32 * 2**20  # of one member
MAX_NAME = 4096  # characters

LAYOUT = "train/<class>/*.png|jpg... and test/<class>/*"
BATCHES = "cifar-10-batches-py"


@dataclass(frozen=True)
class Member:
    """One image file.

    Attributes:
        name: `<split>/<class>/<file>`, text that UTF-8 can encode.
        split: `train` or `test`.
        label: the class.
        read: gives the file's bytes; raises OSError.
        done: bytes of the source behind this member, for progress.
    """

    name: str
    split: str
    label: str
    read: Callable[[], bytes]
    done: int


def shown(name: str) -> str:
    """A hostile name for one line of a terminal: quoted, escaped, at most 100 characters."""
    return repr(name if len(name) <= 100 else f"{name[:60]}...{name[-36:]}")


def reason_of(error: Exception) -> str:
    """What a library says of hostile bytes, for one line of a terminal and without an object's address."""
    return shown(str(error).split("<_io")[0].strip() or type(error).__name__).strip("'\"")


class Layout:
    """Which files are images of which class; learns the single top folder from the first image.

    Attributes:
        ignored: regular files that are no images of a class.
        batches: whether torchvision's folder of CIFAR-10 was among them.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self.ignored = 0
        self.batches = False
        self._top: str | None = None
        self._seen: set[str] = set()
        self._members = 0

    def count(self) -> None:
        """One more member, of whatever kind.

        Raises:
            DataError: there are more than MAX_MEMBERS.
        """
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise DataError(
                f"{self.source} holds more than {MAX_MEMBERS:,} members", try_="an archive of fewer, larger parts"
            )

    def place(self, raw: str, size: int) -> tuple[str, str, str] | None:
        """(name, split, class) of a regular file, None for a file to ignore.

        Raises:
            DataError: the name leaves the archive, comes twice or has a second top folder; the file is too large.
        """
        # Bytes that are no UTF-8 arrive as surrogates, which no page and no JSON could carry.
        text = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        parts = self._safe_parts(text)
        if size < 0 or size > MAX_BYTES:
            raise DataError(
                f"{shown(text)} in {self.source} declares {size:,} bytes; the bound is {MAX_BYTES:,}",
                try_=f"a folder or archive of {LAYOUT} alone",
            )
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            return None
        self.batches |= BATCHES in parts
        found = self._strip_top(parts)
        if found is None or not text.lower().endswith(SUFFIXES):
            self.ignored += 1
            return None
        name = "/".join(found)
        if name in self._seen:
            raise DataError(f"{shown(name)} comes twice in {self.source}", try_="an archive where every name is once")
        self._seen.add(name)
        return name, found[0], found[1]

    def _safe_parts(self, text: str) -> list[str]:
        parts = [part for part in text.split("/") if part not in ("", ".")]
        absolute = text.startswith(("/", "\\")) or text[1:2] == ":"
        if absolute or ".." in parts or "\0" in text or len(text) > MAX_NAME:
            raise DataError(
                f"{self.source} has a member with an unsafe name: {shown(text)}",
                try_=f"an archive made inside its folder, with relative names: {LAYOUT}",
            )
        return parts

    def _strip_top(self, parts: list[str]) -> list[str] | None:
        if len(parts) not in (3, 4) or parts[-3] not in SPLITS:
            return None
        top, rest = "".join(parts[:-3]), parts[-3:]
        if self._top is None:
            self._top = top
        if self._top != top:
            first, second = (shown(f"{name}/" if name else "./") for name in (self._top, top))
            raise DataError(
                f"{self.source} holds two data sets, in {first} and in {second}", try_="one of them, named by itself"
            )
        return rest
