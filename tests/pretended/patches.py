"""What of torch is replaced while a machine is pretended."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pretended.generators import Generator
from pretended.machine import Machine
from pretended.tensors import (
    NO_DOUBLE,
    PretendedTensor,
    ambient,
    between,
    cast,
    check_kernels,
    has_kernels,
    pinned,
    tensors_in,
    to_device,
    to_host,
    with_each,
)

OLD_DRIVER = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version {found}). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


GROUPING = "_group_tensors_by_device_and_dtype"
GROUP = torch._C._group_tensors_by_device_and_dtype
# Autocast's lists for CUDA, https://docs.pytorch.org/docs/stable/amp.html: by names of torch, Tensor and functional. It
# does not see what a function written in Python calls inside, as nn.MultiheadAttention's does.
NARROWED = {
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "matmul",
    "__matmul__", "__rmatmul__", "mm", "mv", "bmm", "addmm", "addmv", "addbmm", "baddbmm", "chain_matmul", "multi_dot",
    "prelu", "einsum", "scaled_dot_product_attention",
}  # fmt: skip
WIDENED = {
    "softmax", "log_softmax", "softmin", "softplus", "layer_norm", "group_norm", "local_response_norm", "normalize",
    "cross_entropy", "nll_loss", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss",
    "huber_loss", "kl_div", "poisson_nll_loss", "cosine_similarity", "pdist", "cdist", "dist", "norm", "renorm",
    "exp", "expm1", "log", "log10", "log2", "log1p", "pow", "__pow__", "__rpow__", "reciprocal", "rsqrt", "acos",
    "asin", "cosh", "sinh", "tan", "erfinv", "sum", "prod", "cumsum", "cumprod",
}  # fmt: skip


@contextmanager
def pretended(kind: str = "cuda", **facts: Any) -> Iterator[Machine]:
    """Everything below runs on a machine with a device; see `Machine` for what it can be told."""
    machine = Machine(kind, **facts)
    machine.generators = tuple(Generator.of(machine, index) for index in range(machine.count))
    swapping = torch.__future__.get_swap_module_params_on_conversion()
    run = threading.Thread.run

    def run_in_mode(thread: threading.Thread) -> None:
        with Made(machine), Asked(machine):  # modes are of a thread
            run(thread)

    with ExitStack() as stack:
        stack.enter_context(patch.object(torch, "Generator", generator_class(machine)))
        stack.enter_context(patch.object(threading.Thread, "run", run_in_mode))
        stack.enter_context(patch.object(torch._C, GROUPING, grouped))
        for owner, names in ((of_cuda if kind == "cuda" else of_mps)(machine)).items():
            for name, value in names.items():
                stack.enter_context(patch.object(owner, name, value, create=owner is torch._C))
        # A module that moves keeps its parameters, as on a device.
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapping)
        stack.enter_context(Made(machine))
        stack.enter_context(Asked(machine))
        yield machine


def grouped(lists: list[list[Tensor | None]], with_indices: bool = False) -> dict[Any, Any]:
    """What optimisers sort by device, in C++, where all of ours are on the CPU."""
    found = GROUP(lists, with_indices)
    return {
        (next(each.device for each in groups[0] if each is not None), dtype): (groups, places)
        for (_, dtype), (groups, places) in found.items()
    }


def generator_class(machine: Machine) -> Any:
    """torch.Generator that knows the machine's devices."""

    class OfMachine(Generator):
        def __init__(self, device: Any = "cpu") -> None:
            super().__init__()
            place = machine.place(device)
            if place is not None:
                self.machine, self.index = machine, place

    return OfMachine


# --- what is asked of torch and its tensors ------------------------------------------------------------------


class Asked(TorchFunctionMode):
    """Sees every function of torch and every method of a tensor before they run."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Moves between devices, tensors made on a device, and generators; all else as it is."""
        kwargs = dict(kwargs or {})
        if func in ANSWERED:
            return ANSWERED[func](self.machine, *args, **kwargs)
        if kwargs.pop("pin_memory", False):
            return as_pinned(func(*args, **kwargs))
        generator, device = kwargs.get("generator"), kwargs.get("device")
        autocast = torch.is_autocast_enabled(self.machine.kind)
        if generator is None and device is None and not autocast:
            return func(*args, **kwargs)
        place = self.machine.place(device)
        given = any(isinstance(each, PretendedTensor) for each in tensors_in((args, kwargs)))
        if generator is not None and not given:
            check_generator(self.machine, generator, place)
        if place is not None:
            return self.made_on(place, func, args, kwargs, given)
        if given and autocast:
            args, kwargs = autocasted(self.machine.kind, func.__name__, (args, kwargs))
        result = func(*args, **kwargs)
        if device is not None and given:  # on the host, by name
            return with_each(lambda each: to_host(each) if isinstance(each, PretendedTensor) else each, result)
        return result

    def made_on(self, place: int, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], given: bool) -> Any:
        """A tensor that a function makes on a device."""
        machine, name = self.machine, func.__name__
        check_kernels(machine)
        if name in ("tensor", "as_tensor", "asarray", "new_tensor"):
            return to_device(machine, func(*args, **{**kwargs, "device": "cpu"}), place)
        if given:
            made = func(*args, **{**kwargs, "device": "cpu"})
            if isinstance(made, PretendedTensor):
                return made if made.number == place else between(machine, made, place)
            return to_device(machine, made, place)
        return func(*args, **{**kwargs, "device": torch.device(machine.kind, place)})  # `Made` sees it next


class Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees tensors being made on a device, those too that PyTorch's own Python code makes, its FLOP counter's say."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the compiler is imported at once, for seconds

    def __init__(self, machine: Machine) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.machine = machine

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make it on the CPU, and say that it is on the device."""
        kwargs = kwargs or {}
        place = self.machine.place(kwargs.get("device"))
        if place is None:
            return func(*args, **kwargs)
        if self.machine.kind == "mps" and kwargs.get("dtype") in (torch.float64, torch.complex128):
            raise self.machine.refuse(TypeError(NO_DOUBLE))
        if "empty" not in func._schema.name:
            self.machine.ran(func._schema.name.partition("::")[2])
        with ambient(self.machine, func, place, kwargs):
            made = func(*args, **{**kwargs, "device": torch.device("cpu")})
        return made if isinstance(made, PretendedTensor) else PretendedTensor.on(self.machine, made, place)


def autocasted(kind: str, name: str, values: Any) -> Any:
    """Arguments of a function as autocast hands them on; its kernels do not take our tensors for the device's."""
    narrow = torch.get_autocast_dtype(kind)
    if name in NARROWED:
        return with_each(cast(torch.float32, narrow), values)
    if name in WIDENED:
        return with_each(cast(narrow, torch.float32), values)
    return values


def check_generator(machine: Machine, generator: torch.Generator, place: int | None) -> None:
    """RuntimeError where a generator is of another device than what is made."""
    wanted = torch.device("cpu") if place is None else torch.device(machine.kind, place)
    if generator.device != wanted:
        words = f"Expected a '{wanted}' device type for generator but found '{generator.device}'"
        raise machine.refuse(RuntimeError(words))


def as_pinned(values: Tensor) -> Tensor:
    """The same in pinned memory."""
    made = values.detach().clone()
    made.__dict__["pretended_pinned"] = True
    return made


def move(machine: Machine, values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to` in all its forms."""
    device, dtype, non_blocking, copy, layout = read_to(args, kwargs)
    place = machine.place(device)
    more = {"memory_format": layout} if layout else {}
    if not isinstance(values, PretendedTensor):
        if place is None:
            return values.to(*args, **kwargs)
        # As PyTorch does: another dtype and layout are made on the host, before the copy.
        made = values.to(dtype=dtype or values.dtype, **more)
        return to_device(machine, made, place, non_blocking=non_blocking)
    if place is None and device is not None:
        # And here on the device: what is copied may be smaller.
        narrow = values.to(dtype=dtype or values.dtype, **more)
        assert isinstance(narrow, PretendedTensor)
        return to_host(narrow, non_blocking=non_blocking)
    if place is not None and place != values.number:
        machine.ran("copy between devices")
        there = between(machine, values, place)
        return there.to(dtype=dtype or values.dtype, **more)
    return values.to(dtype=dtype or values.dtype, copy=copy, **more)


def read_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, torch.dtype | None, bool, bool, Any]:
    """(device, dtype, non_blocking, copy, memory format) of a call of `Tensor.to`."""
    rest = list(args)
    device, dtype, other = kwargs.get("device"), kwargs.get("dtype"), kwargs.get("other")
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    if other is not None:
        device, dtype = other.device, other.dtype
    for _ in range(2):
        if rest and (rest[0] is None or isinstance(rest[0], str | torch.device)):
            device = rest.pop(0) or device
        elif rest and isinstance(rest[0], torch.dtype):
            dtype = rest.pop(0)
    non_blocking, copy = (*rest, *(None, None))[:2]
    return (
        device,
        dtype,
        bool(kwargs.get("non_blocking", non_blocking)),
        bool(kwargs.get("copy", copy)),
        kwargs.get("memory_format"),
    )


def move_to_host(machine: Machine, values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.cpu`."""
    return to_host(values) if isinstance(values, PretendedTensor) else values


def move_to_cuda(machine: Machine, values: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """`Tensor.cuda`."""
    return move(machine, values, torch.device("cuda") if device is None else device, non_blocking=non_blocking)


ANSWERED: dict[Any, Callable[..., Any]] = {
    torch.Tensor.to: move,
    torch.Tensor.cpu: move_to_host,
    torch.Tensor.cuda: move_to_cuda,
    torch.Tensor.pin_memory: lambda machine, values: as_pinned(values),
    torch.Tensor.is_pinned: lambda machine, values: pinned(values),
}


# --- torch.cuda and torch.mps ---------------------------------------------------------------------------------


def of_cuda(machine: Machine) -> dict[Any, dict[str, Any]]:
    """What torch.cuda says of the machine."""

    def index_of(device: Any = None) -> int:
        place = device if isinstance(device, int) else machine.place(device or "cuda")
        if place is None:
            raise ValueError(f"Expected a cuda device, but got: {device}")
        if not 0 <= place < machine.count:
            raise torch.AcceleratorError("CUDA error: invalid device ordinal")
        return place

    def is_available() -> bool:
        if machine.trouble == "old driver":
            warnings.warn(OLD_DRIVER.format(found=machine.driver), stacklevel=2)
            return False
        return True

    def exchange(index: int) -> int:
        before = machine.current
        machine.current = before if index < 0 else index_of(index)
        return before

    def properties(device: Any = None) -> SimpleNamespace:
        index, (major, minor) = index_of(device), machine.capability
        return SimpleNamespace(
            name=machine.name, major=major, minor=minor, total_memory=machine.memory, multi_processor_count=40,
            uuid=machine.uuid(index),
        )  # fmt: skip

    def out_of(counter: str) -> Callable[..., int]:
        return lambda device=None: int(getattr(machine, counter)[index_of(device)])

    def reset_peak(device: Any = None) -> None:
        machine.peak[index_of(device)] = machine.allocated[index_of(device)]

    def set_device(device: Any) -> None:
        machine.current = index_of(device)

    def set_state(state: Tensor, device: Any = "cuda") -> None:
        machine.generators[index_of(device)].set_state(state)

    def set_states(states: list[Tensor]) -> None:
        for each, state in zip(machine.generators, states, strict=True):
            each.set_state(state)

    def seed_current(seed: int) -> None:
        machine.generators[machine.current].manual_seed(seed)

    def seed_all(seed: int) -> None:
        for each in machine.generators:
            each.manual_seed(seed)

    there = machine.trouble != "old driver"
    return {
        torch.cuda: {
            "is_available": is_available,
            "is_initialized": lambda: there,
            "init": lambda: None,
            "_lazy_init": lambda: None,
            "device_count": lambda: machine.count if there else 0,
            "current_device": lambda: machine.current,
            "set_device": set_device,
            "_exchange_device": exchange,
            "_maybe_exchange_device": exchange,
            "get_device_name": lambda device=None: properties(device).name,
            "get_device_capability": lambda device=None: (properties(device).major, properties(device).minor),
            "get_device_properties": properties,
            "get_arch_list": lambda: list(machine.archs),
            "_check_bf16_tensor_supported": lambda device: has_kernels(machine.archs, machine.capability),
            "synchronize": lambda device=None: machine.waited(f"synchronize cuda:{index_of(device)}"),
            "default_generators": machine.generators,
            "get_rng_state": lambda device="cuda": machine.generators[index_of(device)].get_state(),
            "set_rng_state": set_state,
            "get_rng_state_all": lambda: [each.get_state() for each in machine.generators],
            "set_rng_state_all": set_states,
            "manual_seed": seed_current,
            "manual_seed_all": seed_all,
            "memory_allocated": out_of("allocated"),
            "memory_reserved": out_of("allocated"),
            "max_memory_allocated": out_of("peak"),
            "reset_peak_memory_stats": reset_peak,
            "mem_get_info": lambda device=None: (
                machine.memory - machine.allocated[index_of(device)],
                machine.memory,
            ),
            "empty_cache": lambda: None,
            "Event": event_class(machine),
            "Stream": stream_class(machine),
            "stream": lambda stream: nullcontext(),
            "current_stream": lambda device=None: stream_class(machine)(),
            "is_current_stream_capturing": lambda: False,
            "default_stream": lambda device=None: stream_class(machine)(),
        },
        torch._C: {"_cuda_getDriverVersion": lambda: machine.driver},
        torch.accelerator: accelerator(machine, is_available),
    }


def of_mps(machine: Machine) -> dict[Any, dict[str, Any]]:
    """What torch.mps says of the machine."""
    (generator,) = machine.generators
    return {
        torch.backends.mps: {"is_available": lambda: True, "is_built": lambda: True},
        torch.mps: {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "synchronize": lambda: machine.waited("synchronize mps"),
            "_get_default_mps_generator": lambda: generator,
            "get_rng_state": lambda device="mps": generator.get_state(),
            "set_rng_state": lambda state, device="mps": generator.set_state(state),
            "manual_seed": generator.manual_seed,
            "empty_cache": lambda: None,
            "current_allocated_memory": lambda: machine.allocated[0],
            "driver_allocated_memory": lambda: machine.allocated[0],
            "recommended_max_memory": lambda: machine.memory,
            "Event": event_class(machine),
        },
        torch.cuda: {"is_available": lambda: False, "device_count": lambda: 0},
        torch.accelerator: accelerator(machine, lambda: True),
    }


def accelerator(machine: Machine, is_available: Callable[[], bool]) -> dict[str, Any]:
    """What torch.accelerator says of the machine."""
    return {
        "is_available": is_available,
        "device_count": lambda: machine.count,
        "current_device_index": lambda: machine.current,
        "current_stream": lambda device=None: stream_class(machine)(),
        "current_accelerator": lambda check_available=False: torch.device(machine.kind),
        "synchronize": lambda device=None: machine.waited(f"synchronize {machine.kind}:{machine.current}"),
    }


def event_class(machine: Machine) -> type:
    """Events of the machine's one stream."""

    class Event:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.recorded = False

        def record(self, stream: object = None) -> None:
            self.recorded = True

        def synchronize(self) -> None:
            machine.waited("an event")

        def wait(self, stream: object = None) -> None:
            pass

        def query(self) -> bool:
            machine.arrive()
            return True

        def elapsed_time(self, other: object) -> float:
            return 1.0

    return Event


def stream_class(machine: Machine) -> type:
    """The machine's one stream."""

    class Stream:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

        def synchronize(self) -> None:
            machine.waited("a stream")

        def wait_stream(self, other: object) -> None:
            pass

        def wait_event(self, event: object) -> None:
            pass

        def is_capturing(self) -> bool:
            return False

        def record_event(self, event: Any = None) -> Any:
            return event or event_class(machine)()

        def query(self) -> bool:
            machine.arrive()
            return True

    return Stream
