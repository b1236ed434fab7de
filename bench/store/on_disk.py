"""Arrays whose rows stay on disk until somebody asks for them."""

from __future__ import annotations

import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.whole_file import opened

if TYPE_CHECKING:
    import numpy as np

    from bench.contracts import Integers
    from bench.schema.run import Rows

WHOLE = 2**20  # bytes of an array that is read at once and kept
AT_ONCE = 2**22  # bytes of rows that are read or written together
Stamp = tuple[int, ...]


class ChangedError(StoreError):
    """Another process put a new file in the place of one that was being read."""


def stamp(path: Path) -> Stamp:
    """What tells a file from the one that took its place; empty where there is none."""
    with suppress(OSError):
        return stamp_of(path.stat())
    return ()


def stamp_of(found: os.stat_result) -> Stamp:
    """The same of a file that is open."""
    return found.st_ino, found.st_size, found.st_mtime_ns


class _Lazy(ABC):
    """What rows have in common that are no array yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Dimensions, as of an array."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 (as an array)
        """Rows as an array: of one place (...), or of a slice, places or a mask (M, ...)."""
        import numpy as np

        if isinstance(key, int | np.integer):
            return self.taken(np.array([range(len(self))[key]], dtype=np.int64))[0]
        return self.taken(np.arange(len(self))[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:  # noqa: ANN401
        import numpy as np

        return np.asarray(self[:], dtype)

    @abstractmethod
    def taken(self, places: Integers) -> np.ndarray[Any, Any]:
        """The rows of these places (M,): (M, ...)."""


@dataclass(frozen=True, eq=False)
class OnDisk(_Lazy):
    """An array that lies in a file as it is, row by row.

    Attributes:
        path, written: the file, and what tells it from another in its place.
        start: of the first value, in bytes.
        shape, dtype: (R, ...), as the file declares.
    """

    path: Path
    written: Stamp
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def taken(self, places: Integers) -> np.ndarray[Any, Any]:
        """The rows of these places (M,): (M, ...).

        Raises:
            ChangedError: another process has replaced the file.
        """
        import numpy as np

        found = np.empty((len(places), *self.shape[1:]), self.dtype)
        size = self.dtype.itemsize * math.prod(self.shape[1:])
        values = found.reshape(-1).view(np.uint8)
        ends = [*(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        with opened(self.path, sys.maxsize) as file:
            if stamp_of(os.fstat(file.fileno())) != self.written:
                raise ChangedError(f"{self.path} was changed by another process", try_="the same command again")
            for begin, end in zip([0, *ends], ends, strict=False):
                if begin < end:
                    file.seek(self.start + int(places[begin]) * size)
                    if file.readinto(values[begin * size : end * size].data) != (end - begin) * size:
                        raise StoreError(f"{self.path} is damaged: it ends too early", try_="delete it")
        return found


@dataclass(frozen=True, eq=False)
class Joined(_Lazy):
    """Rows of several arrays in an order of their own, none of them copied ahead.

    Attributes:
        parts: (R1, ...), (R2, ...) and so on.
        order: (R,) places in all parts, one behind the other.
    """

    parts: Sequence[Rows]
    order: Integers

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(R, ...)."""
        return (len(self.order), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """Which holds the values of all parts."""
        import numpy as np

        return np.result_type(*(part.dtype for part in self.parts))

    def taken(self, places: Integers) -> np.ndarray[Any, Any]:
        """The rows of these places (M,): (M, ...)."""
        import numpy as np

        wanted = self.order[places]
        found, start = np.empty((len(places), *self.shape[1:]), self.dtype), 0
        for part in self.parts:
            own = np.flatnonzero((wanted >= start) & (wanted < start + len(part)))
            found[own] = part[wanted[own] - start]
            start += len(part)
        return found


def joined(parts: Sequence[Rows], order: Integers) -> Rows:
    """Rows of several arrays in this order; an array where all of them are, and of what is on disk nothing is read."""
    import numpy as np

    if all(isinstance(part, np.ndarray) for part in parts):
        found: Rows = np.concatenate([np.asarray(part) for part in parts])[order]
        return found
    return Joined(parts, order)


def in_memory(rows: Rows) -> bool:
    """Whether rows are an array that is small enough to be kept."""
    return not isinstance(rows, _Lazy) and rows.dtype.itemsize * math.prod(rows.shape) <= WHOLE


def blocks(rows: Rows) -> Iterator[slice]:
    """Slices that cover all rows, of AT_ONCE bytes each or of one row."""
    each = max(1, rows.dtype.itemsize * math.prod(rows.shape[1:]))
    count = max(1, AT_ONCE // each)
    return (slice(start, min(start + count, len(rows))) for start in range(0, len(rows), count))
