"""The pretended device itself: what a device refuses, what makes the host wait for it, and real values."""

import copy
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from pretended import Count, Machine, PretendedTensor, pretended
from torch import Tensor, nn

HERE = "tests/test_pretended.py"


@pytest.fixture(params=["cuda", "mps"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with pretended(request.param) as found:
        yield found


@pytest.fixture
def gpu() -> Iterator[Machine]:
    with pretended("cuda") as found:
        yield found


@pytest.fixture
def two() -> Iterator[Machine]:
    with pretended("cuda", count=2) as found:
        yield found


def small() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)]
    return nn.Sequential(*layers)


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def trained_step(net: nn.Module, images: Tensor, *, fused: bool) -> Tensor:
    """Weights after two steps, flat."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, fused=fused)
    for _ in range(2):
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()
    return torch.cat([each.detach().flatten() for each in net.parameters()])


# --- real values ---------------------------------------------------------------------------------------------


def test_training_there_is_training_here_bit_for_bit(machine: Machine) -> None:
    here, net = trained_step(small(), IMAGES, fused=True), small()
    there = trained_step(net.to(machine.device), IMAGES.to(machine.device), fused=True)
    assert there.device == machine.device and machine.refused == []
    assert torch.equal(there.cpu(), here)


def test_a_net_that_moves_keeps_its_parameters_and_comes_back_whole(machine: Machine) -> None:
    net = small()
    before, weight = copy.deepcopy(net.state_dict()), net[0].weight
    net.to(machine.device)
    assert net[0].weight is weight and weight.device == machine.device and isinstance(weight, nn.Parameter)
    twin = copy.deepcopy(net)
    assert twin[0].weight.device == machine.device and isinstance(twin[0].weight, nn.Parameter)
    assert twin[0].weight.data_ptr() != weight.data_ptr()
    for name, value in net.to("cpu").state_dict().items():
        assert type(value) is not PretendedTensor and torch.equal(value, before[name])


def test_gradients_pass_through_moves_between_host_and_device(machine: Machine) -> None:
    start = torch.tensor([1.0, 2.0], requires_grad=True)
    (((start * 3).to(machine.device) ** 2).to("cpu") * 2).sum().backward()
    assert start.grad is not None and torch.equal(start.grad, torch.tensor([36.0, 72.0]))


def test_a_step_in_place_is_seen_through_every_view(machine: Machine) -> None:
    whole = torch.zeros(4, device=machine.device)
    whole[1:3] += 1
    whole.view(2, 2)[0, 0] = 5
    assert whole.tolist() == [5, 1, 1, 0]


# --- refusals ------------------------------------------------------------------------------------------------


def on(machine: Machine, *shape: int) -> Tensor:
    return torch.ones(*shape, device=machine.device)


MIXED: dict[str, Callable[[Machine], object]] = {
    "a sum": lambda m: on(m, 3) + torch.ones(3),
    "the other way round": lambda m: torch.ones(3) * on(m, 3),
    "in place": lambda m: torch.ones(3).add_(on(m, 3)),
    "a product": lambda m: on(m, 2, 3) @ torch.ones(3, 2),
    "concatenation": lambda m: torch.cat([on(m, 2), torch.ones(2)]),
    "a stack": lambda m: torch.stack([torch.ones(2), on(m, 2)]),
    "a net of the host": lambda m: small()(IMAGES.to(m.device)),
    "images of the host": lambda m: small().to(m.device)(IMAGES),
    "labels of the host": lambda m: nn.functional.cross_entropy(on(m, 2, 3), torch.tensor([0, 1])),
    "where": lambda m: torch.where(on(m, 3) > 0, on(m, 3), torch.zeros(3)),
    "a list": lambda m: torch._foreach_add_([on(m, 2)], [torch.ones(2)]),
    "a host's tensor indexed there": lambda m: torch.ones(4)[torch.zeros(2, dtype=torch.int64, device=m.device)],
    "written by index": lambda m: on(m, 4).index_put_((torch.tensor([1]),), torch.ones(1)),
    "gather": lambda m: on(m, 2, 3).gather(1, torch.zeros(2, 1, dtype=torch.int64)),
}


@pytest.mark.parametrize("work", MIXED.values(), ids=MIXED)
def test_tensors_of_two_devices_meet_in_an_error(machine: Machine, work: Callable[[Machine], object]) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        work(machine)
    assert len(machine.refused) == 1 and HERE in machine.refused[0]


def test_numbers_and_indices_of_the_host_are_taken(machine: Machine) -> None:
    values = torch.arange(4.0, device=machine.device)
    assert (values * torch.tensor(2.0) + 1).tolist() == [1, 3, 5, 7]
    assert values[torch.tensor([3, 0])].tolist() == [3, 0] and values[2].item() == 2


def test_two_gpus_are_two_devices(two: Machine) -> None:
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cuda:1"):
        on(two, 2) + torch.ones(2, device="cuda:1")
    moved = on(two, 2).to("cuda:1")
    assert moved.device == torch.device("cuda", 1) and (moved + 1).device == moved.device
    with torch.cuda.device(1):
        assert torch.ones(2, device="cuda").device == moved.device
    assert torch.ones(2, device="cuda").device == two.device
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        moved.to("cuda:2")


@pytest.mark.parametrize("ask", [lambda t: t.numpy(), np.asarray, lambda t: np.float32([t.sum(), 1])[t]])
def test_numpy_gets_nothing_of_the_device(machine: Machine, ask: Callable[[Tensor], object]) -> None:
    with pytest.raises(TypeError, match="device type tensor to numpy"):
        ask(on(machine, 3))


FOREIGN: dict[str, Callable[[Machine], object]] = {
    "host's for a tensor there": lambda m: torch.rand(2, device=m.device, generator=torch.Generator()),
    "host's in place": lambda m: on(m, 2).normal_(generator=torch.Generator()),
    "host's, like another": lambda m: torch.bernoulli(on(m, 2), generator=torch.Generator()),
    "device's for a tensor here": lambda m: torch.randperm(4, generator=torch.Generator(m.device)),
    "device's in place": lambda m: torch.ones(2).normal_(generator=torch.Generator(m.device)),
}


@pytest.mark.parametrize("draw", FOREIGN.values(), ids=FOREIGN)
def test_generators_of_another_device_are_refused(machine: Machine, draw: Callable[[Machine], object]) -> None:
    with pytest.raises(RuntimeError, match="device type for generator but found"):
        draw(machine)


def test_states_of_generators_fit_their_device_alone(machine: Machine) -> None:
    there, here = torch.Generator(machine.device).manual_seed(7), torch.Generator().manual_seed(7)
    state = there.get_state()
    first = torch.rand(3, device=machine.device, generator=there)
    there.set_state(state)
    assert torch.equal(torch.rand(3, device=machine.device, generator=there), first)
    for generator, foreign in ((there, here.get_state()), (here, state)):
        with pytest.raises((RuntimeError, TypeError)):
            generator.set_state(foreign)


def test_what_is_drawn_there_leaves_the_host_generator_alone(machine: Machine) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = nn.functional.dropout(on(machine, 64))
    second = torch.rand_like(on(machine, 64))
    assert torch.equal(torch.get_rng_state(), before) and not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(nn.functional.dropout(on(machine, 64)), first)


WIDE: dict[str, Callable[[Machine], object]] = {
    "made": lambda m: torch.zeros(2, dtype=torch.float64, device=m.device),
    "moved": lambda m: torch.zeros(2, dtype=torch.float64).to(m.device),
    "cast": lambda m: on(m, 2).double(),
    "by to": lambda m: on(m, 2).to(torch.float64),
    "a net": lambda m: small().to(m.device).double(),
    "summed": lambda m: on(m, 2).sum(dtype=torch.float64),
}


@pytest.mark.parametrize("make", WIDE.values(), ids=WIDE)
def test_float64_is_for_cuda_and_not_for_mps(make: Callable[[Machine], object]) -> None:
    with pretended("cuda") as gpu:
        make(gpu)
    with pretended("mps") as mac, pytest.raises(TypeError, match="doesn't support float64"):
        make(mac)


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ((7, 5), ("sm_75", "sm_80"), True),
        ((6, 0), ("sm_75", "sm_80"), False),
        ((8, 6), ("sm_80",), True),
        ((9, 0), ("sm_80",), False),
        ((9, 0), ("sm_80", "compute_80"), True),
        ((12, 0), ("sm_90a", "sm_120"), True),
    ],
)
def test_kernels_are_those_of_the_wheel(capability: tuple[int, int], archs: tuple[str, ...], runs: bool) -> None:
    with pretended(capability=capability, archs=archs) as gpu:
        assert torch.cuda.get_device_capability() == capability and torch.cuda.get_arch_list() == list(archs)
        if runs:
            on(gpu, 2).sum()
            return
        for work in (lambda: on(gpu, 2), lambda: torch.ones(2).to("cuda"), lambda: torch.ones(2).cuda()):
            with pytest.raises(RuntimeError, match="no kernel image"):
                work()


def test_a_gpu_in_use_fails_at_its_first_operation() -> None:
    with pretended(trouble="in use"):
        assert torch.cuda.is_available()
        with pytest.raises(RuntimeError, match="busy or unavailable"):
            torch.ones(2, device="cuda")


def test_an_old_driver_warns_and_has_no_gpu() -> None:
    with pretended(trouble="old driver", driver=11040):
        with pytest.warns(UserWarning, match=r"driver on your system is too old \(found version 11040\)"):
            assert not torch.cuda.is_available()
        assert torch.cuda.device_count() == 0


# --- half precisions -----------------------------------------------------------------------------------------


def test_autocast_rounds_to_half_forward_and_backward() -> None:
    with pretended(capability=(7, 5)) as t4:
        left = torch.tensor([[1.0, 2**-12], [3.0, 4.0]], device=t4.device, requires_grad=True)
        right = torch.full((2, 1), 1.0, device=t4.device)
        with torch.autocast("cuda", torch.float16):
            made = left @ right
            wide = made.softmax(dim=0)
        assert made.dtype is torch.float16 and made.tolist() == [[1.0], [7.0]] and wide.dtype is torch.float32
        made.backward(torch.full_like(made, 1 + 2**-10))
        assert left.grad is not None and left.grad.dtype is torch.float32
        assert left.grad[0, 0].item() == 1 + 2**-10
        (made.float() * 1e6).sum()  # a gradient of 1e6 would be infinite in half precision
        with torch.autocast("cuda", torch.float16):
            (left @ right).float().mul(1e6).sum().backward()
        assert left.grad.isinf().any()


def test_bf16_products_below_capability_8_are_refused() -> None:
    for capability, runs in (((7, 5), False), ((8, 0), True)):
        with pretended(capability=capability) as gpu, torch.autocast("cuda", torch.bfloat16):
            if runs:
                assert (on(gpu, 2, 2) @ on(gpu, 2, 2)).dtype is torch.bfloat16
                continue
            with pytest.raises(RuntimeError, match=r"bfloat16 is emulated on a GPU of capability 7\.5"):
                on(gpu, 2, 2) @ on(gpu, 2, 2)


def test_the_scaler_skips_a_step_that_overflows_without_waiting() -> None:
    with pretended(capability=(7, 5)) as t4:
        weight = torch.ones(2, device=t4.device, requires_grad=True)
        optimizer, scaler = torch.optim.SGD([weight], lr=0.5, fused=True), torch.amp.GradScaler("cuda")
        for factor, due in ((1.0, 0.5), (torch.inf, 0.5), (1.0, 0.0)):
            optimizer.zero_grad()
            scaler.scale((weight * factor).sum()).backward()
            with t4.counting() as count:
                scaler.step(optimizer)
                scaler.update()
            assert weight.tolist() == [due, due] and count.waits == {}
        assert scaler.get_scale() == 2**15


# --- waits, operations, memory -------------------------------------------------------------------------------


def here(count: Count) -> list[str]:
    """What was waited for; every place is in this file."""
    assert all(place.startswith(f"{HERE}:") for _, place in count.waits)
    return sorted(what for what, _ in count.waits.elements())


WAITS: dict[str, tuple[Callable[[Machine, Tensor], object], list[str]]] = {
    "item": (lambda m, t: t[0].item(), ["a value is read"]),
    "float": (lambda m, t: float(t[0]), ["a value is read"]),
    "if": (lambda m, t: 1 if t.any() else 0, ["a value is read"]),
    "format": (lambda m, t: f"{t[0]:.3f}", ["a value is read"]),
    "tolist": (lambda m, t: t.tolist(), ["tolist"]),
    "equal": (lambda m, t: torch.equal(t, t + 1), ["a value is read"]),
    "cpu": (lambda m, t: t.cpu(), ["a copy to the host"]),
    "to": (lambda m, t: t.to("cpu"), ["a copy to the host"]),
    "copy_ down": (lambda m, t: torch.empty(4).copy_(t), ["a copy to the host"]),
    "copy_ up": (lambda m, t: t.copy_(torch.ones(4)), ["a copy to the device"]),
    "up": (lambda m, t: torch.ones(4).to(m.device), ["a copy to the device"]),
    "tensor": (lambda m, t: torch.tensor([1.0, 2.0], device=m.device), ["a copy to the device"]),
    "nonzero": (lambda m, t: t.nonzero(), ["nonzero"]),
    "yes and no": (lambda m, t: t[t > 0], ["an index of yes and no"]),
    "an index from here": (lambda m, t: t[torch.tensor([0, 1])], ["an index of the host"]),
    "a list as index": (lambda m, t: t[[0, 1]], ["an index of the host"]),
    "unique": (lambda m, t: t.unique(), ["_unique2"]),
    "bincount": (lambda m, t: t.long().bincount(), ["bincount"]),
    "every value": (lambda m, t: [each.item() for each in t], ["a value is read"] * 4),
    "nothing": (lambda m, t: (t * 2 + t[1:2]).sum().sqrt(), []),
    "made there": (lambda m, t: torch.zeros(3, device=m.device) + torch.arange(3, device=m.device), []),
    "written to a place": (lambda m, t: t.__setitem__(2, 5.0), []),
}


@pytest.mark.parametrize(("work", "waits"), WAITS.values(), ids=WAITS)
def test_what_makes_the_host_wait_is_counted(
    machine: Machine, work: Callable[[Machine, Tensor], object], waits: list[str]
) -> None:
    values = torch.ones(4, device=machine.device)
    with machine.counting() as count:
        work(machine, values)
    assert here(count) == waits


def test_synchronising_is_waiting(machine: Machine) -> None:
    from bench.clock import now

    with machine.counting() as count:
        now(machine.device)
    ((what, place),) = count.waits
    assert what.startswith("synchronize") and place.startswith("bench/clock.py:")


def test_operations_are_counted_and_views_are_none(machine: Machine) -> None:
    values = torch.ones(2, 3, device=machine.device)
    with machine.counting() as outer:
        (values.T.reshape(-1)[:2] + 1).relu_()
        with machine.counting() as inner:
            torch._foreach_add_([values, values], 1.0)
    assert inner.operations == {"_foreach_add_": 1}
    assert outer.operations == {"clone": 1, "add": 1, "relu_": 1, "_foreach_add_": 1}


def test_a_copy_that_does_not_wait_is_junk_until_somebody_has_waited(gpu: Machine) -> None:
    values = torch.ones(3, device=gpu.device)
    with gpu.counting() as count:
        copy, target = values.to("cpu", non_blocking=True), torch.zeros(3).pin_memory()
        target[:].copy_(values, non_blocking=True)
        assert copy.isnan().all() and not target.any() and count.waits == {}
        torch.cuda.synchronize()
    assert torch.equal(copy, torch.ones(3)) and torch.equal(target, torch.ones(3)) and count.waits.total() == 1


def test_memory_is_what_lives_and_more_than_there_is_is_an_error(gpu: Machine) -> None:
    gpu.memory, at_first = 10_000, torch.cuda.memory_allocated()
    values = torch.ones(1000, device="cuda")
    view = values[10:]
    assert torch.cuda.memory_allocated() - at_first == 4000
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        values.repeat(2)
    del values
    assert torch.cuda.memory_allocated() - at_first == 4000
    view += 1
    del view
    assert torch.cuda.memory_allocated() == at_first and torch.cuda.max_memory_allocated() - at_first == 4000
    torch.ones(2000, device="cuda")


def test_memory_held_by_a_graph_counts(gpu: Machine) -> None:
    start = torch.ones(1000, device="cuda", requires_grad=True)
    end = start.exp().exp().exp().sum()
    assert torch.cuda.memory_allocated() == 4 * 4000 + 4
    end.backward()
    del end
    assert torch.cuda.memory_allocated() == 2 * 4000


def test_other_threads_are_on_the_machine_too(machine: Machine) -> None:
    found: list[torch.device] = []
    thread = threading.Thread(target=lambda: found.append((torch.ones(2, device=machine.device) + 1).device))
    thread.start()
    thread.join()
    assert found == [machine.device]


def test_afterwards_there_is_no_device() -> None:
    before = torch.cuda.is_available(), torch.Generator, threading.Thread.run
    with pretended("cuda"):
        assert torch.cuda.is_available()
    assert (torch.cuda.is_available(), torch.Generator, threading.Thread.run) == before
    assert not torch.__future__.get_swap_module_params_on_conversion()
