"""Who drew from a global generator, where other threads of the process may have: a call is made again and watched.

In a notebook, a server or a Dask worker other threads draw from Python's, numpy's and torch's generators whenever they
like. That a state moved says nothing then, and to put it back would make those threads draw the same numbers twice.
"""

import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

TORCH, NUMPY, PYTHON, GPU = "torch's", "numpy's", "python's", "the GPU's"


def alone() -> bool:
    """Whether no other thread of Python's runs that might draw."""
    return threading.active_count() == 1


def own_draws(call: Callable[[], object]) -> set[str]:
    """Which global generators this thread draws from, and does not put back, during a call; an error ends the look.

    Draws of threads that the call itself starts are not seen.
    """
    found: set[str] = set()
    with suppress(Exception, SystemExit), _python_calls(found), _SeededOperations(found), _numpy(found):
        call()
    return found


@contextmanager
def _python_calls(found: set[str]) -> Iterator[None]:
    """Notes calls of the global generators' methods; a profiler sees those of its own thread alone."""
    generators = {id(random._inst): PYTHON, id(torch.default_generator): TORCH}
    generators |= {id(each): GPU for each in torch.cuda.default_generators}

    def look(frame: FrameType, event: str, called: Any) -> None:  # noqa: ANN401 (anything can be called)
        name = generators.get(id(getattr(called, "__self__", None))) if event == "c_call" else None
        if name is not None and called.__name__ in ("setstate", "set_state"):
            found.discard(name)
        elif name is not None and called.__name__ not in ("getstate", "get_state", "initial_seed"):
            found.add(name)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)


class _SeededOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations of torch that draw from a global generator; a mode holds for its own thread alone."""

    def __init__(self, found: set[str]) -> None:
        """Note into a set."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = found

    def __torch_dispatch__(
        self,
        operation: Any,  # noqa: ANN401 (one of torch's, which have no type)
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 (what the operation gives)
        """The operation as it is."""
        result = operation(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in operation.tags and (kwargs or {}).get("generator") is None:
            first = result[0] if isinstance(result, tuple) else result
            self.found.add(TORCH if first.device.type == "cpu" else GPU)
        return result


@contextmanager
def _numpy(found: set[str]) -> Iterator[None]:
    """Notes whether numpy's generator moved while nobody else could draw: whoever draws takes its lock for it."""
    lock: Any = np.random.mtrand.get_bit_generator().lock
    if type(lock) is not type(threading.RLock()):  # an older numpy's, which this thread could not take twice
        yield
        return
    with lock:  # as long as it is held the state can be put back, too, under nobody
        before = np.random.get_state()  # noqa: NPY002
        np.random.random_sample()  # noqa: NPY002  or who seeds it as in the call before would not move it
        there = comparable(np.random.get_state())  # noqa: NPY002
        try:
            yield
            if comparable(np.random.get_state()) != there:  # noqa: NPY002
                found.add(NUMPY)
        finally:
            np.random.set_state(before)  # noqa: NPY002


def comparable(state: Any) -> tuple[object, ...]:  # noqa: ANN401 (numpy gives one of two forms)
    """A state of numpy's global generator in a form that `==` takes."""
    kind, words, *rest = state
    return (kind, words.tobytes(), *rest)
