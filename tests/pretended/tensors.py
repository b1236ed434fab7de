"""Tensors of the CPU that say they are on a device, and what happens when an operation meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pretended.generators import Generator
from pretended.machine import Machine

NO_DOUBLE = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64"
# Answered from what the host knows: no kernel.
FREE = {
    "lift_fresh", "is_same_size", "_reshape_alias", "detach", "_unsafe_view", "record_stream", "is_nonzero",
    "empty_like", "new_empty", "new_empty_strided",
}  # fmt: skip
# The size of the result is known to the device alone, or the library reads whether it went well.
SIZED_BY_VALUES = {
    "nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "bincount", "histc",
    "_linalg_svd", "_linalg_eigh", "linalg_inv_ex", "linalg_cholesky_ex", "linalg_lu_factor_ex", "_linalg_solve_ex",
}  # fmt: skip
READ = {"_local_scalar_dense", "equal", "is_nonzero"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
PRODUCTS = {"convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm"}
HALF = (torch.float16, torch.bfloat16)
DOUBLE = (torch.float64, torch.complex128)


class PretendedTensor(Tensor):
    """A tensor of the CPU whose every operation goes through `__torch_dispatch__`.

    To PyTorch's dispatcher it is one of the device, so autocast takes it for such; its memory is the CPU's.
    """

    machine: Machine
    number: int
    host: Tensor  # a plain tensor over the same memory

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def on(machine: Machine, values: Tensor, index: int) -> PretendedTensor:
        """A plain tensor's memory as a tensor of a device."""
        if machine.kind == "mps" and values.dtype in DOUBLE:
            raise machine.refuse(TypeError(NO_DOUBLE))
        values = values.detach()
        lease = machine.lease(values.untyped_storage(), index)
        made: PretendedTensor = torch.Tensor._make_subclass(
            PretendedTensor, values, False, dispatch_device=False, device_for_backend_keys=torch.device(machine.kind)
        )
        made.machine, made.number, made.host = machine, index, values
        made.__dict__["lease"] = lease
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it says it is."""
        return torch.device(self.machine.kind, self.number)

    is_cuda = property(lambda self: self.machine.kind == "cuda")
    is_mps = property(lambda self: self.machine.kind == "mps")
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        """The number of its device."""
        return self.number

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on the values, once it is clear that a device would."""
        return dispatched(func, args, kwargs or {})

    # --- what the host asks for -----------------------------------------------------------------------------

    def numpy(self, *, force: bool = False) -> Any:
        """A device's memory is none of numpy's."""
        if force:
            return to_host(self).numpy(force=True)
        words = f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy it to host memory."
        raise self.machine.refuse(TypeError(words))

    def __array__(self, dtype: object = None) -> Any:
        """As numpy itself asks."""
        return self.numpy()

    def tolist(self) -> Any:
        """One copy of all."""
        self.machine.waited("tolist")
        return self.host.tolist()

    def data_ptr(self) -> int:
        """Where its values are."""
        return self.host.data_ptr()

    def record_stream(self, stream: object) -> None:
        """There is one stream."""

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """What it is; a real one would be read, and the host wait."""
        self.machine.waited("repr")
        return f"{self.host!r} on {self.device}"

    def __format__(self, how: str) -> str:
        """As PyTorch does: a single value is read."""
        return format(self.item(), how) if self.dim() == 0 else object.__format__(self, how)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """The values once more, as a parameter where it is one."""
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
        with torch.no_grad():
            made: Tensor = self.clone()
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, self.requires_grad)
        made.requires_grad_(self.requires_grad)
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: object) -> Any:
        """Files of tensors on a device are opened nowhere else."""
        raise self.machine.refuse(RuntimeError("a tensor of the device was pickled"))


# --- operations -----------------------------------------------------------------------------------------------


def dispatched(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operation that met a pretended tensor."""
    name: str = func._schema.name.partition("::")[2]
    everything = list(tensors_in((args, kwargs)))
    ours = [each for each in everything if isinstance(each, PretendedTensor)]
    machine, index = ours[0].machine, ours[0].number
    check_places(machine, name, everything, args)
    check_kernels(machine)
    kwargs = (
        {**kwargs, "generator": drawn_from(machine, index, kwargs["generator"])} if "generator" in kwargs else kwargs
    )
    count(machine, func, name, args)
    if name == "copy_" and not isinstance(args[0], PretendedTensor):
        return receive(args[0], args[1], bool(kwargs.get("non_blocking") or args[2:3] == (True,)))
    with ambient(machine, func, index, kwargs):
        result = computed(machine, func, name, plain(args), plain(kwargs))
    if name in READ:
        return result
    known = {id(each.host): each for each in ours} if func._schema.is_mutable else {}
    if func._schema.is_mutable:
        for each in ours:
            if each.host.shape != each.shape:
                raise NotImplementedError(f"{name} changes the shape of a pretended tensor in place")
    return with_each(
        lambda each: known[id(each)] if id(each) in known else PretendedTensor.on(machine, each, index), result
    )


def tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors among the arguments of an operation. PyTorch's own pytree does the same at ten times the price."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(each)


def with_each(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same with another tensor in the place of each."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: with_each(change, each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(with_each(change, each) for each in value)
    return value


def plain(value: Any) -> Any:
    """The same with the values in the places of pretended tensors."""
    return with_each(lambda each: each.host if isinstance(each, PretendedTensor) else each, value)


def check_places(machine: Machine, name: str, everything: Iterable[Tensor], args: tuple[Any, ...]) -> None:
    """RuntimeError where tensors of two devices meet. Numbers and indices may be the host's."""
    tensors = list(everything)
    if name in ("copy_", "_to_copy"):
        return
    if name in INDEXED and isinstance(args[0], PretendedTensor):
        indices = list(tensors_in(args[1]))
        strangers = [each for each in indices if not isinstance(each, PretendedTensor)]
        if strangers:
            machine.waited("an index of the host")
        tensors = [each for each in tensors if all(each is not one for one in strangers)]
    places = {str(each.device) for each in tensors if each.dim() or isinstance(each, PretendedTensor)}
    if len(places) > 1:
        found = " and ".join(sorted(places))
        words = f"Expected all tensors to be on the same device, but found at least two devices, {found}! ({name})"
        raise machine.refuse(RuntimeError(words))


def check_kernels(machine: Machine) -> None:
    """RuntimeError where the wheel has no kernels for this GPU, or somebody else holds it."""
    if machine.kind != "cuda":
        return
    if machine.trouble == "in use":
        raise machine.refuse(torch.AcceleratorError("CUDA error: all CUDA-capable devices are busy or unavailable"))
    if not has_kernels(machine.archs, machine.capability):
        words = "CUDA error: no kernel image is available for execution on the device"
        raise machine.refuse(torch.AcceleratorError(words))


def has_kernels(archs: Iterable[str], capability: tuple[int, int]) -> bool:
    """Whether a wheel runs on a GPU: binaries serve later minors of their major, PTX all that come after."""
    for arch in archs:
        kind, _, digits = arch.partition("_")
        made_for = int(digits.rstrip("af")[:-1]), int(digits.rstrip("af")[-1])
        if made_for <= capability and (kind == "compute" or made_for[0] == capability[0]):
            return True
    return False


def drawn_from(machine: Machine, index: int, generator: Generator | None) -> Generator | None:
    """The generator of an operation; RuntimeError where it is of another device."""
    found = generator.device if generator else torch.device(machine.kind, index)
    if found != torch.device(machine.kind, index):
        words = f"Expected a '{machine.kind}:{index}' device type for generator but found '{found}'"
        raise machine.refuse(RuntimeError(words))
    return generator


@contextmanager
def ambient(machine: Machine, func: Any, index: int, kwargs: dict[str, Any]) -> Iterator[None]:
    """What draws without a generator draws from the device's own."""
    if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator"):
        yield
        return
    with drawing_from(machine.generators[index]):
        yield


@contextmanager
def drawing_from(own: Generator) -> Iterator[None]:
    """The CPU's own generator stands in for one of a device, and is put back."""
    of_cpu = torch.get_rng_state()
    torch.set_rng_state(super(Generator, own).get_state())
    try:
        yield
    finally:
        super(Generator, own).set_state(torch.get_rng_state())
        torch.set_rng_state(of_cpu)


def count(machine: Machine, func: Any, name: str, args: tuple[Any, ...]) -> None:
    """Count the kernel, and the wait where there is one."""
    if not func.is_view and name not in FREE:
        machine.ran(name)
    if name in READ:
        machine.waited("a value is read")
    elif name in SIZED_BY_VALUES or (name == "repeat_interleave" and not isinstance(args[0], int)):
        machine.waited(name)
    elif name in INDEXED and any(each.dtype in (torch.bool, torch.uint8) for each in of_device(args[1])):
        machine.waited("an index of yes and no")
    elif name == "copy_" and not isinstance(args[0], PretendedTensor):
        pass  # `receive` knows whether anybody waits
    elif name == "copy_" and not isinstance(args[1], PretendedTensor) and args[1].dim():
        machine.waited("a copy to the device")


def of_device(values: object) -> list[Tensor]:
    """All tensors of a device in it."""
    return [each for each in tensors_in(values) if isinstance(each, PretendedTensor)]


def computed(machine: Machine, func: Any, name: str, args: Any, kwargs: Any) -> Any:
    """The result on plain values; products of half precisions with sums in float32, as tensor cores make them."""
    dtype = next((each.dtype for each in tensors_in((args, kwargs))), None)
    if name not in PRODUCTS or dtype not in HALF:
        return func(*args, **kwargs)
    if machine.kind == "cuda" and dtype is torch.bfloat16 and machine.capability < (8, 0):
        capability = ".".join(map(str, machine.capability))
        raise machine.refuse(RuntimeError(f"{name} in bfloat16 is emulated on a GPU of capability {capability}"))
    wide, narrow = cast(dtype, torch.float32), cast(torch.float32, dtype)
    return with_each(narrow, func(*with_each(wide, args), **with_each(wide, kwargs)))


def cast(of: torch.dtype, to: torch.dtype) -> Callable[[Tensor], Tensor]:
    """A function that gives a tensor of one dtype another, and leaves others."""
    return lambda each: each.to(to) if each.dtype is of else each


# --- copies between host and device -------------------------------------------------------------------------


def to_host(values: PretendedTensor, *, non_blocking: bool = False) -> Tensor:
    """A copy on the host, which backward goes through."""
    if torch.is_grad_enabled() and values.requires_grad:
        copy: Tensor = _ToHost.apply(values, non_blocking)
        return copy
    return _fetched(values, non_blocking)


def to_device(machine: Machine, values: Tensor, index: int, *, non_blocking: bool = False) -> Tensor:
    """A copy on a device, which backward goes through."""
    check_kernels(machine)
    machine.ran("copy to the device")
    if not (non_blocking and pinned(values)):
        machine.waited("a copy to the device")
    if torch.is_grad_enabled() and values.requires_grad and not values.is_leaf:
        copy: Tensor = _ToDevice.apply(values, machine, index)
        return copy
    made = PretendedTensor.on(machine, values.detach().clone(), index)
    return made.requires_grad_(values.requires_grad)


def between(machine: Machine, values: PretendedTensor, index: int) -> Tensor:
    """A copy on another device, which backward goes through; nobody waits."""
    copy: Tensor = _Between.apply(values, machine, index)
    return copy


def receive(target: Tensor, source: PretendedTensor, non_blocking: bool) -> Tensor:
    """`target.copy_(source)`, for a target on the host."""
    machine = source.machine
    if non_blocking and pinned(target):
        machine.pending.append((target, source.host.clone()))
        return target
    machine.waited("a copy to the host")
    return target.copy_(source.host)


def _fetched(values: PretendedTensor, non_blocking: bool) -> Tensor:
    machine, copy = values.machine, values.host.clone()
    machine.ran("copy to the host")
    if not non_blocking:
        machine.waited("a copy to the host")
        return copy
    # PyTorch makes the target of such a copy pinned memory, and does not wait.
    target = torch.full_like(copy, torch.nan if copy.is_floating_point() else 1)
    target.__dict__["pretended_pinned"] = True
    machine.pending.append((target, copy))
    return target


def pinned(values: Tensor) -> bool:
    """Whether a tensor of the host, or what it is a view of, lies in pinned memory."""
    whole = values._base if values._is_view() else values
    return any(vars(each).get("pretended_pinned", False) for each in (values, whole) if each is not None)


class _ToHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: PretendedTensor, non_blocking: bool) -> Tensor:
        ctx.machine, ctx.index = values.machine, values.number
        return _fetched(values, non_blocking)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return PretendedTensor.on(ctx.machine, slope.clone(), ctx.index), None


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, machine: Machine, index: int) -> Tensor:
        return PretendedTensor.on(machine, values.detach().clone(), index)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        assert isinstance(slope, PretendedTensor)
        slope.machine.waited("a copy to the host")
        return slope.host.clone(), None, None


class _Between(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: PretendedTensor, machine: Machine, index: int) -> Tensor:
        ctx.machine, ctx.index = machine, values.number
        return PretendedTensor.on(machine, values.host.clone(), index)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        assert isinstance(slope, PretendedTensor)
        return PretendedTensor.on(ctx.machine, slope.host.clone(), ctx.index), None, None
