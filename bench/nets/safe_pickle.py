"""The tensors of a pickle, without running anything of it.

A checkpoint that pickles whole objects imports and calls what its author wanted when it is read the usual way. Here
every class and function but those that rebuild a tensor is replaced by one that does nothing, so that no foreign code
runs, whatever the file says.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

# What torch and numpy write to rebuild tensors and arrays, and nothing that could be told to do anything else.
KNOWN = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
TENSOR_FUNCTIONS = {
    getattr(torch._utils, name) for module, name in KNOWN if module == "torch._utils"
}  # torch's own names


def _parameter_with_state(data: object, requires_grad: bool, hooks: object, state: object) -> object:
    """A parameter with attributes of its own, which some nets hang on it for their optimiser; without them."""
    return torch._utils._rebuild_parameter(data, requires_grad, OrderedDict()) if isinstance(data, Tensor) else None  # type: ignore[no-untyped-call]


def _of_subclass(function: object, kind: object, values: tuple[object, ...], state: object) -> object:
    """A tensor of a subclass, as the plain tensor that it is made from."""
    return function(*values) if function in TENSOR_FUNCTIONS else None  # type: ignore[operator]


REPLACED = {
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter_with_state,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_subclass,
}
PARTS = ("_parameters", "_buffers", "_modules")  # of a pickled module


class Inert:
    """Stands for an object whose class is not run; keeps what the file says of it."""

    state: object = None
    values: list[object]
    entries: dict[object, object]

    def __new__(cls, *values: object, **named: object) -> Inert:
        """Whatever it is made from is kept, and left alone."""
        made = object.__new__(cls)
        made.values, made.entries = [*values], {}
        return made

    def __call__(self, *values: object, **named: object) -> Inert:
        """What an inert function gives is inert."""
        return Inert()

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """An entry of a dict's kind."""
        self.entries[key] = value

    def append(self, value: object) -> None:
        """An entry of a list's kind."""
        self.values.append(value)

    def extend(self, values: Iterable[object]) -> None:
        """Several of them."""
        self.values.extend(values)


class InertUnpickler(pickle.Unpickler):
    """Finds nothing but the rebuilding of tensors."""

    def find_class(self, module_name: str, global_name: str) -> Any:  # noqa: ANN401 (whatever a pickle names)
        """The few functions of torch and dtypes; for all else a class that does nothing."""
        if (module_name, global_name) == ("_codecs", "encode"):  # how bytes are pickled, those of arrays among them
            return lambda text, encoding="latin1": text.encode("latin1")
        if (module_name, global_name) in REPLACED:
            return REPLACED[module_name, global_name]
        if (module_name, global_name) in KNOWN:
            return super().find_class(module_name, global_name)
        if module_name == "torch" and isinstance(getattr(torch, global_name, None), torch.dtype):
            return getattr(torch, global_name)
        return Inert


def read_inert(path: Path) -> object:
    """A checkpoint with every foreign object inert; a pickled module comes as its state dict.

    Raises:
        Exception: whatever a damaged file makes torch raise.
    """
    inert = SimpleNamespace(Unpickler=InertUnpickler, load=lambda file, **named: InertUnpickler(file, **named).load(),
                            __name__="inert")  # fmt: skip
    # torch takes no pickle_module together with weights_only=True; ours knows even less than that one would.
    return plain(torch.load(path, map_location="cpu", pickle_module=inert, weights_only=False))


def plain(value: object, known: dict[int, object] | None = None) -> object:
    """Dicts and lists all the way down, modules as state dicts, arrays as tensors.

    Of any other object what it holds: a dict of its entries and attributes, or a list of what it was made from.

    Args:
        known: what has been made of dicts, lists and objects by their id, so that one that is shared or holds itself is
            made once.
    """
    known = {} if known is None else known
    if isinstance(value, Inert):
        if id(value) not in known:
            known[id(value)] = None
            known[id(value)] = _content(value, known)
        return known[id(value)]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value) if value.dtype.kind in "fiub" and value.dtype.isnative else None
    if isinstance(value, dict | list | tuple) and id(value) not in known:
        if isinstance(value, dict):
            named = known[id(value)] = dict[object, object]()
            named |= {key: plain(each, known) for key, each in value.items()}
        else:
            listed = known[id(value)] = list[object]()
            listed += [plain(each, known) for each in value]
    return known[id(value)] if isinstance(value, dict | list | tuple) else value


def _content(value: Inert, known: dict[int, object]) -> object:
    """What an inert object holds."""
    attributes: dict[object, object] = {}
    for part in value.state if isinstance(value.state, tuple) else (value.state,):  # of two where there are slots
        attributes |= part if isinstance(part, dict) else {}
    if set(PARTS) <= set(attributes):
        return module_state({str(name): each for name, each in attributes.items()})
    value.entries |= attributes
    return plain(value.entries or value.values, known)


def module_state(state: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """The state dict of a pickled module, from the attributes it was pickled with."""
    left_out = state.get("_non_persistent_buffers_set")
    transient = left_out if isinstance(left_out, set) else set()
    parameters, buffers, children = (each if isinstance(each, dict) else {} for each in map(state.get, PARTS))
    found = {
        f"{prefix}{name}": value.detach()
        for name, value in [*parameters.items(), *buffers.items()]
        if isinstance(value, Tensor) and name not in transient
    }
    for name, child in children.items():
        if isinstance(child, Inert) and isinstance(child.state, dict):
            found |= module_state(child.state, f"{prefix}{name}.")
    return found
