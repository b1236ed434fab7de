"""What a call may not leave behind.

Each `watch_*` notes a state and waits; asked once more it says, in words, what has changed since, and puts it back.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from bench.explaining.own_draws import GPU, NUMPY, PYTHON, TORCH, alone, comparable
from bench.modes import generator_state, set_generator_state

Watcher = Iterator[list[str]]
Table = tuple[str, str, dict[Any, Any], dict[Any, Any]]  # sentence, name, the live table, its content before

PARTS = {"_modules": "module", "_parameters": "parameter", "_buffers": "buffer"}
HOOKS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
}
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def watch(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    stochastic: bool,
    own: Callable[[], Collection[str]] = tuple,
) -> dict[str, list[Watcher]]:
    """The watchers of everything that must stay, by kind, each of which has noted how things are.

    Modes come first, so that the rest is put back with gradients as they were; parts before what is in them.

    Args:
        stochastic: whether the call may draw from the global generators.
        own: which of them the call draws from; asked where one moved and another thread may have moved it.
    """
    values = Values([*model.buffers(), images, targets], [*model.parameters(), *gradients(model).values()])
    watchers = {
        "modes": [watch_modes()],
        "modules": [watch_parts(model), watch_forwards(model)],
        "hooks": [watch_hooks(model)],
        "training-flags": [watch_switches(model)],
        "grad": [watch_gradients(model, values)],
        "buffers": [watch_buffers(model, values)],
        "parameters": [watch_parameters(model, values)],
        "random-state": [watch_randomness(stochastic=stochastic, own=own)],
        "inputs": [watch_inputs(images, targets, values)],
    }
    for each in chain.from_iterable(watchers.values()):
        next(each)
    return watchers


def changes(watchers: Mapping[str, Sequence[Watcher]]) -> list[str]:
    """What has changed, in words, kind by kind; what can be put back has been."""
    return [fault for each in chain.from_iterable(watchers.values()) for fault in next(each)]


def watch_modes() -> Watcher:
    """Whether gradients are recorded, and the default dtype."""
    recording, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    yield []
    faults = []
    if torch.is_grad_enabled() is not recording:
        faults.append(f"left the recording of gradients switched {'off' if recording else 'on'}")
        torch.set_grad_enabled(recording)
    if torch.get_default_dtype() is not dtype:
        faults.append(f"left {torch.get_default_dtype()} as the default dtype")
        torch.set_default_dtype(dtype)
    yield faults


def watch_parts(model: nn.Module) -> Watcher:
    """The same module, parameter and buffer objects under the same names."""
    tables = [
        (f"changed {word}", name, vars(module)[table], dict(vars(module)[table]))
        for name, module in model.named_modules()
        for table, word in PARTS.items()
    ]
    yield []
    yield sentences((text, f"{name}.{key}".strip(".")) for text, name, keys in put_back(tables) for key in keys)


def watch_forwards(model: nn.Module) -> Watcher:
    """No module whose `forward` was replaced."""
    before = [(name, module, vars(module).get("forward")) for name, module in model.named_modules()]
    yield []
    changed = [one for one in before if vars(one[1]).get("forward") is not one[2]]
    for _, module, forward in changed:
        vars(module).pop("forward", None)
        vars(module).update({} if forward is None else {"forward": forward})
    yield sentences(("replaced the forward of", name or "the model") for name, _, _ in changed)


def watch_hooks(model: nn.Module) -> Watcher:
    """No hook more and none less, on modules and on parameters, for one module or for all."""
    tables = [
        (f"left a {word} on", name or "the model", vars(module)[table], dict(vars(module)[table]))
        for name, module in model.named_modules()
        for table, word in HOOKS.items()
    ]
    for table, word in HOOKS.items():
        everywhere = vars(torch_module)[f"_global{table}"]
        tables.append((f"left a {word} on", "every module", everywhere, dict(everywhere)))
    before = [(name, parameter, dict(parameter._backward_hooks or {})) for name, parameter in model.named_parameters()]
    yield []
    on_parameters = [
        ("left a gradient hook on", name, parameter._backward_hooks, hooks)
        for name, parameter, hooks in before
        if parameter._backward_hooks is not None
    ]
    yield sentences((text, name) for text, name, _ in put_back([*tables, *on_parameters]))


def watch_switches(model: nn.Module) -> Watcher:
    """Training mode, `inplace` and every other public yes or no that a module carries."""
    before = [
        (name or "the model", module, key, value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, bool) and key[0] != "_"
    ]
    yield []
    faults = []
    for name, module, key, value in before:
        now = vars(module).get(key)
        if now is not value:
            faults.append((f"left {key} = {now} in", name))
            setattr(module, key, value)
    yield sentences(faults)


def watch_gradients(model: nn.Module, values: Values) -> Watcher:
    """`requires_grad` and `.grad` of every parameter."""
    known, held = (
        [(name, each, each.requires_grad, each.grad) for name, each in model.named_parameters()],
        gradients(model),
    )
    yield []
    faults = [("changed requires_grad of", name) for name, p, needed, _ in known if p.requires_grad is not needed]
    faults += [("changed the .grad of", name) for name, p, _, grad in known if p.grad is not grad]
    faults += [("changed the values in .grad of", name) for name in values.changed(held)]
    for _, parameter, needed, grad in known:
        parameter.requires_grad_(needed).grad = grad
    yield sentences(faults)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """The gradients that parameters hold, by the parameter's name."""
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


def watch_buffers(model: nn.Module, values: Values) -> Watcher:
    """The bits of every buffer."""
    buffers = dict(model.named_buffers())
    yield []
    changed = values.changed(buffers)
    values.put_back(buffers[name] for name in changed)
    yield sentences(("changed buffer", name) for name in changed)


def watch_parameters(model: nn.Module, values: Values) -> Watcher:
    """The values of every parameter. Those that were changed stay so: on the CPU there is no copy of them.

    Version counters would cost nothing, but miss what is written through `.data`, and blame an explainer that
    changes weights and puts them back.
    """
    parameters = dict(model.named_parameters())
    yield []
    yield sentences(("changed parameter", name) for name in values.changed(parameters))


def watch_randomness(*, stochastic: bool, own: Callable[[], Collection[str]] = tuple) -> Watcher:
    """The global generators of torch, numpy and python; put back unless other threads run, which may have drawn.

    A stochastic explainer may draw. So may a call that imports its backend, since modules draw on import (rich does).
    """
    imported, undisturbed = len(sys.modules), alone()
    on_gpus = states_of_gpus()
    on_cpu, of_python = torch.get_rng_state(), random.getstate()
    of_numpy: Any = np.random.get_state()  # noqa: NPY002  plug-ins use the global generator
    yield []
    moved = {
        TORCH: not torch.equal(torch.get_rng_state(), on_cpu),
        NUMPY: comparable(np.random.get_state()) != comparable(of_numpy),  # noqa: NPY002
        PYTHON: random.getstate() != of_python,
        GPU: not all(map(torch.equal, states_of_gpus().values(), on_gpus.values())),
    }
    drawn = [one for one, has in moved.items() if has]
    undisturbed = undisturbed and alone()
    if drawn and undisturbed:
        torch.set_rng_state(on_cpu)
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)
        for device, state in on_gpus.items():
            set_generator_state(device, state)
    if stochastic or len(sys.modules) != imported or not drawn:
        yield []
        return
    blamed = drawn if undisturbed else [one for one in drawn if one in own()]
    yield sentences(("drew from", f"{one} global generator") for one in blamed)


def states_of_gpus() -> dict[torch.device, Tensor]:
    """The states of the GPUs' global generators, where somebody has used one."""
    count = torch.cuda.device_count() if torch.cuda.is_initialized() else 0  # type: ignore[no-untyped-call]
    devices = [torch.device("cuda", index) for index in range(count)]
    devices += [torch.device("mps")] if torch.backends.mps.is_available() else []
    return {each: state for each in devices if (state := generator_state(each)) is not None}


def watch_inputs(images: Tensor, targets: Tensor, values: Values) -> Watcher:
    """The values of images and targets, and what autograd knows of the images."""
    given = {"images": images, "targets": targets}
    needs, grad = images.requires_grad, images.grad
    yield []
    changed = values.changed(given)
    faults = [("changed the", name) for name in changed]
    values.put_back(given[name] for name in changed)
    if images.requires_grad is not needs or images.grad is not grad:
        faults.append(("left", "a gradient on the images"))
        images.requires_grad_(needs).grad = grad
    yield sentences(faults)


def put_back(tables: Iterable[Table]) -> list[tuple[str, str, list[Any]]]:
    """(sentence, name, changed keys) of every table that no longer holds the very same objects; refilled."""
    changed = []
    for text, name, now, before in tables:
        if len(now) == len(before) and all(now.get(key) is value for key, value in before.items()):
            continue
        keys = [key for key in {**before, **now} if now.get(key) is not before.get(key)]
        now.clear()
        now.update(before)
        changed.append((text, name, keys))
    return changed


def sentences(faults: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence per kind of fault: `left a forward hook on layer3, layer4 and 2 more`."""
    names: dict[str, list[str]] = {}
    for text, name in faults:
        names.setdefault(text, []).append(name)
    return [
        f"{text} {', '.join(those[:2])}" + (f" and {len(those) - 2} more" if len(those) > 2 else "")
        for text, those in names.items()
    ]


class Values:
    """The bits that tensors hold now; asked later which of them have changed, and put back.

    On the CPU tensors are looked at one by one. On a device, where each of them would cost a copy, a comparison and a
    wait for its answer, all are copied in one piece and compared at once.
    """

    def __init__(self, copied: Iterable[Tensor], summed: Iterable[Tensor]) -> None:
        """Note how things are.

        Args:
            copied: can be put back.
            summed: on the CPU known by the sum of their bits, from which a mere reordering of values escapes: a copy of
                all parameters would cost more than the rest together.
        """
        copied, summed = list(copied), list(summed)
        elsewhere = [each for each in (*copied, *summed) if not each.is_cpu]
        self.sums = {id(each): (each, sum_of_words(each)) for each in summed if each.is_cpu}
        self.copies = {id(each): (each, copy_of(each)) for each in copied if each.is_cpu}
        self.pieces = [
            OnePiece([each for each in elsewhere if each.device == device])
            for device in dict.fromkeys(each.device for each in elsewhere)
        ]

    def changed(self, named: Mapping[str, Tensor]) -> list[str]:
        """The names of those whose bits have changed until somebody first asked."""
        return [name for name, each in named.items() if id(each) in self._changed]

    @cached_property
    def _changed(self) -> set[int]:
        found = {key for key, (now, before) in self.sums.items() if sum_of_words(now) != before}
        found |= {key for key, (now, before) in self.copies.items() if not alike(now, before)}
        return found | {id(each) for piece in self.pieces for each in piece.changed()}

    @torch.no_grad()
    def put_back(self, tensors: Iterable[Tensor]) -> None:
        """The values of tensors of which there is a copy."""
        for each in tensors:
            of_device = (piece.copies for piece in self.pieces if id(each) in piece.copies)
            each.copy_(self.copies[id(each)][1] if each.is_cpu else next(of_device)[id(each)])


class OnePiece:
    """The bits of tensors of one device, copied into one tensor of bytes."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors
        self.layouts = [(each.dtype, each.shape, flat(each)[1]) for each in tensors]
        self.octets = octets_of(tensors)

    def changed(self) -> list[Tensor]:
        """Those whose bits are others now. One wait for the device where there are none."""
        if torch.equal(self.octets, octets_of(self.tensors)):
            return []
        return [each for each in self.tensors if not alike(each, self.copies[id(each)])]

    @cached_property
    def copies(self) -> dict[int, Tensor]:
        """How each tensor was, by its identity."""
        sizes = [shape.numel() * dtype.itemsize for dtype, shape, _ in self.layouts]
        parts = zip(self.tensors, self.layouts, torch.split(self.octets, sizes), strict=True)
        # A clone begins where a number may begin.
        return {
            id(each): part.clone().view(dtype).as_strided(shape, strides)
            for each, (dtype, shape, strides), part in parts
        }


def octets_of(tensors: Sequence[Tensor]) -> Tensor:
    """(B,) uint8, the bits of all."""
    return torch.cat([flat(each)[0].view(torch.uint8) for each in tensors])


def flat(values: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """All values in one row, in the order in which they lie in memory if they lie without gaps; their strides in it."""
    values = values.detach()
    gapless = values.is_contiguous() or values.is_contiguous(memory_format=torch.channels_last)
    if not gapless:
        values = values.contiguous()
    return values.as_strided((values.numel(),), (1,)), values.stride()


def bits(values: Tensor) -> Tensor:
    """The same values as integers of their size, in which NaN equals itself and -0 differs from 0."""
    plain = torch.view_as_real(values) if values.is_complex() else values
    return plain.detach().view(INTEGERS[plain.element_size()])


def alike(one: Tensor, other: Tensor) -> bool:
    """Bit for bit. On the CPU by numpy, whose one thread never waits for torch's others."""
    if one.is_cpu and other.is_cpu:
        return np.array_equal(bits(one).numpy(), bits(other).numpy())
    return torch.equal(bits(one), bits(other))


def copy_of(values: Tensor) -> Tensor:
    """A copy of the values of a CPU tensor, by numpy for the same reason."""
    if values.is_complex():
        return values.detach().clone()
    return torch.from_numpy(bits(values).numpy().copy()).view(values.dtype)


def sum_of_words(values: Tensor) -> int:
    """The sum of a CPU tensor's storage, read as 64-bit words: 45 MB in 2 ms on one thread, torch's takes 5 on two."""
    octets = flat(values)[0].view(torch.uint8).numpy()
    whole = octets.size // 8 * 8
    return int(octets[:whole].view(np.int64).sum()) + int(octets[whole:].sum())
