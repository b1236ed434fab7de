"""The processes that train one model together, as torchrun starts them: all that bench knows of there being several.

Every process runs the same loop on its own part of each batch. The first one writes the run folder and decides; what it
decided, the others are told. Of a process alone nothing is asked.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bench.errors import BenchError, DataError, RunError, UsageError, in_one_line
from bench.gpus import gpus_found
from bench.machine import choose_device
from bench.recipes.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.distributed import ProcessGroup
    from torch.distributed.distributed_c10d import Store

Value = TypeVar("Value")
# What one process waits for another at most: until all have started, and afterwards, when one may have to decode data.
JOINING, PATIENCE = timedelta(minutes=2), timedelta(minutes=30)
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")  # torchrun sets them all
# What gloo and NCCL say where another process is gone or does not answer.
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed? ?out|socket", re.IGNORECASE)
NORMS = {  # what batch norms see of a batch that processes share
    "none": "",
    "synchronised": "; batch norms see the whole batch",
    "local": "; batch norms see that part alone, since they can share a batch only on GPUs",
    "own": "; batch norms see that part alone, since they are of a class that bench does not know",
}


@dataclass(frozen=True)
class Team:
    """How many processes there are and which one this is; by default one alone.

    Attributes:
        rank: from 0; the first writes and decides.
        world: processes in all.
        local: number on this machine, from 0.
        beside: processes on this machine.
        address: of the machine of the first.
        store: where a process leaves word of its failure.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    beside: int = 1
    address: str = ""
    store: Store | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes and decides."""
        return self.rank == 0

    # --- whose part is which ---------------------------------------------------------------------------------

    def part(self, count: int) -> slice:
        """Which rows of a batch of so many are this process's; parts differ by one row at most.

        Raises:
            UsageError: fewer rows than processes.
        """
        if count < self.world:
            raise UsageError(
                f"a batch of {count} images is too small for {self.world} processes",
                try_=f"--batch-size {self.world * 8}, or fewer processes",
            )
        return self.rows(count)

    def rows(self, count: int) -> slice:
        """The same, where some may get none."""
        return slice(self.rank * count // self.world, (self.rank + 1) * count // self.world)

    def recipe(self, recipe: Recipe) -> Recipe:
        """A recipe with the batch of one process, for what a step takes."""
        return replace(recipe, batch_size=-(-recipe.batch_size // self.world))

    def share(self, count: int) -> float:
        """The share of this process's part in a batch of so many."""
        return len(range(count)[self.rows(count)]) / count

    def weighed(self, value: Tensor, count: int) -> Tensor:
        """A mean over this process's part, such that the sum over processes is that over all `count`."""
        return value if self.world == 1 else value * self.share(count)

    def scaled(self, loss: Tensor, count: int) -> Tensor:
        """The mean loss of this process's part, so that the mean over processes is that of the batch's `count`."""
        return loss if count % self.world == 0 else loss * (self.share(count) * self.world)

    # --- what is asked of the others -------------------------------------------------------------------------

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, in float64 on the CPU; of one process the values as they are."""
        if self.world == 1:
            return values
        import torch
        from torch import distributed

        summed = values.detach().to("cpu", torch.float64, copy=True)
        distributed.all_reduce(summed)
        return summed

    def most(self, number: int) -> int:
        """The largest of the numbers that processes give."""
        if self.world == 1:
            return number
        import torch
        from torch import distributed

        found = torch.tensor(number)
        distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
        return int(found)

    def agreed(self, decide: Callable[[], Value]) -> Value:
        """What the first process decides, in all of them."""
        if self.world == 1:
            return decide()
        from torch import distributed

        box: list[Any] = [decide() if self.first else None]
        distributed.broadcast_object_list(box)
        found: Value = box[0]
        return found

    @contextmanager
    def led(self, enter: Callable[[], AbstractContextManager[Value]]) -> Iterator[Value]:
        """What a context gives that the first process alone enters, in all of them."""
        with enter() if self.first else nullcontext() as found:
            given: Any = self.agreed(lambda: found)
            yield given

    def gathered(self, value: Value) -> list[Value]:
        """What every process has, by rank."""
        if self.world == 1:
            return [value]
        from torch import distributed

        box: list[Any] = [None] * self.world
        distributed.all_gather_object(box, value)
        return box

    def check_alike(self, **facts: str) -> None:
        """DataError where a process has something else than the first one; names it."""
        for name, value in facts.items():
            found = self.gathered(value)
            for rank, each in enumerate(found):
                if each != found[0]:
                    raise DataError(
                        f"process {rank} has another {name} than process 0: {each:.16}, not {found[0]:.16}",
                        try_=f"the same {name} on every machine",
                    )

    # --- the net ---------------------------------------------------------------------------------------------

    def device(self, name: str, warn: Callable[[str], object] = lambda words: None) -> torch.device:
        """The device that a name means to this process: of several, each has the GPU of its own number.

        Raises:
            UsageError: there are fewer GPUs than processes, or a single one was named for all.
        """
        if self.world == 1:
            return choose_device(name, warn)
        if ":" in name or name == "mps":
            raise UsageError(
                f"--device {name} is one device, and there are {self.world} processes",
                try_="--device cuda, where each process takes a GPU of its own, or --device cpu",
            )
        count = gpus_found()[0]
        if name == "cpu" or (name == "auto" and not count):
            return choose_device("cpu")
        if 0 < count < self.beside:
            raise UsageError(
                f"there are {self.beside} processes on this machine, and {count} GPU{'s' if count > 1 else ''}",
                try_=f"torchrun --nproc-per-node {count}, or --device cpu",
            )
        return choose_device(f"cuda:{self.local}" if count else name, warn)

    def draw_apart(self, device: torch.device) -> None:
        """Let torch's own generators, which dropout draws from, give each process other numbers."""
        if self.first:
            return
        import torch

        torch.default_generator.manual_seed((torch.initial_seed() + self.rank) % 2**63)
        if device.type == "cuda":
            torch.cuda.manual_seed(torch.initial_seed())

    def group(self, device: torch.device) -> ProcessGroup | None:
        """Over what gradients go: NCCL between GPUs; None for gloo, which all else goes over."""
        if self.world == 1 or device.type != "cuda":
            return None
        from torch import distributed

        return cast("ProcessGroup", distributed.new_group(backend="nccl", timeout=PATIENCE))

    def synchronise(self, model: nn.Module, device: torch.device, group: ProcessGroup | None) -> None:
        """Let batch norms see the whole batch, where they can: on GPUs. Parameters and names stay."""
        if self.world > 1 and norms_of(model, device) == "synchronised":
            from timm.layers.norm_act import convert_sync_batchnorm  # torch's takes the ReLU out of timm's norms

            for parent in list(model.modules()):
                for name, child in parent.named_children():
                    if _can_synchronise(child):
                        setattr(parent, name, convert_sync_batchnorm(child, group))  # type: ignore[no-untyped-call]

    def wrapped(
        self, model: nn.Module, forward: nn.Module, group: ProcessGroup | None, shape: tuple[int, ...]
    ) -> nn.Module:
        """A forward of a model whose gradients are means over all processes; all get the first one's weights.

        Args:
            shape: (N, C, H, W) of a batch.
        """
        if self.world == 1:
            return forward
        from torch.nn.parallel import DistributedDataParallel

        unused = not reaches_all(model, shape)
        return DistributedDataParallel(
            forward, process_group=group, gradient_as_bucket_view=True, find_unused_parameters=unused
        )

    def one_net(self, model: nn.Module) -> None:
        """Give all the first one's buffers: batch norms that see a part only have statistics of their own."""
        if self.world > 1:
            from torch import distributed

            for each in model.buffers():
                found = each.detach().cpu()
                distributed.broadcast(found, 0)
                each.copy_(found)

    # --- coming together -------------------------------------------------------------------------------------

    def join(self) -> None:
        """Wait until every process is here; RunError where one does not come."""
        from torch import distributed

        assert self.store is not None
        here, until = [f"here/{rank}" for rank in range(self.world)], time.monotonic() + JOINING.total_seconds()
        self.store.set(here[self.rank], "")
        while not self.store.check(here):  # a wait of the store's own would hear no signal
            if time.monotonic() > until:
                missing = [str(rank) for rank, key in enumerate(here) if not self.store.check([key])]
                raise RunError(
                    f"process {', '.join(missing)} of {self.world} did not start", try_="the same on every machine"
                )
            time.sleep(0.05)
        distributed.init_process_group(
            "gloo", store=self.store, rank=self.rank, world_size=self.world, timeout=PATIENCE
        )

    # --- failures --------------------------------------------------------------------------------------------

    @contextmanager
    def hearing(self, again: Callable[[], str]) -> Iterator[None]:
        """In the first process another one's failure becomes an error in words.

        Args:
            again: gives the command that goes on.

        Raises:
            RunError: another process failed, which it left word of, or is gone.
        """
        try:
            yield
        except BaseException as error:
            # torchrun ends this one as soon as another one failed, so a signal may be all that is heard of it.
            lost = is_lost(error)
            if self.world == 1 or not self.first or not (lost or not isinstance(error, Exception)):
                raise
            found = self._left_word()
            if found is None and not lost:
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's may come while this is told
            told = found or {"message": "another process of this training has ended or does not answer", "code": 1}
            failure = RunError(told["message"], try_=told.get("try") or again())
            failure.exit_code = told["code"]
            if "trace" in told:
                failure.add_note(told["trace"])
            raise failure from error

    def _left_word(self) -> dict[str, Any] | None:
        """What another process that failed left."""
        if self.store is not None:
            with suppress(RuntimeError):  # the store went, too
                for rank in range(1, self.world):
                    if self.store.check([f"failed/{rank}"]):
                        found: dict[str, Any] = json.loads(self.store.get(f"failed/{rank}"))
                        return found
        return None

    def leave_word(self, error: BaseException) -> None:
        """Tell the first process why this one fails."""
        if self.first or self.store is None or not isinstance(error, Exception) or is_lost(error):
            return
        where = f"process {self.rank} of {self.world}"
        told = {"message": f"{where}: {error.message if isinstance(error, BenchError) else in_one_line(error)}"}
        told |= {"try": error.try_} if isinstance(error, BenchError) else {}
        code, trace = getattr(error, "exit_code", 1), "".join(traceback.format_exception(error))
        with suppress(RuntimeError):
            self.store.set(f"failed/{self.rank}", json.dumps({**told, "code": code, "trace": trace}))


ALONE = Team()


@contextmanager
def formed() -> Iterator[Team]:
    """The processes that torchrun started, ready to talk to each other; without torchrun this one alone.

    Raises:
        UsageError: somebody else's code in this process has begun to use torch.distributed.
        RunError: another process failed.
    """
    team = launched()
    if team.world == 1:
        yield team
        return
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if distributed.is_initialized():
        raise UsageError("torch.distributed is in use already", try_="destroy_process_group() before bench.train")
    with team.hearing(lambda: "the same command again"):
        begun, *_ = next(rendezvous("env://", timeout=JOINING))
        number = (begun.add("bench/joined", 1) - 1) // team.world  # the same torchrun may train more than once
        team = replace(team, store=PrefixStore(f"bench/{number}", begun))
    with team.hearing(lambda: "the same command again"):
        try:
            team.join()
            yield team
        except BaseException as error:
            team.leave_word(error)
            raise
    distributed.destroy_process_group()


def launched(environment: Mapping[str, str] = os.environ) -> Team:
    """The processes that torchrun started, by what it says in the environment; without it this one alone."""
    if not all(environment.get(name) for name in VARIABLES):
        return ALONE
    rank, world, local, beside = (int(environment[name]) for name in VARIABLES[:4])
    return Team(rank, world, local, beside, environment["MASTER_ADDR"]) if world > 1 else ALONE


def program(team: Team | None = None) -> list[str]:
    """What starts bench: its name, or torchrun with as many processes as now."""
    team = team or launched()
    if team.world == 1:
        return ["bench"]
    nodes = team.world // team.beside
    # The machine with the run folder must be number 0 again, which other kinds of rendezvous do not promise.
    several = ["--nnodes", str(nodes), "--node-rank", str(team.rank // team.beside), "--master-addr", team.address]
    return ["torchrun", *(several if nodes > 1 else []), "--nproc-per-node", str(team.beside), "-m", "--", "bench"]


def launch(command: str) -> str:
    """A command of bench as it is started here."""
    rest = command.removeprefix("bench ")
    return command if rest == command else f"{shlex.join(program())} {rest}"


def refuse_launched(what: str, try_: str) -> None:
    """UsageError under torchrun, for what is done by one process."""
    team = launched()
    if team.world > 1:
        raise UsageError(f"torchrun has started {team.world} processes, and {what}", try_=try_)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    return isinstance(error, RuntimeError) and not isinstance(error, BenchError) and bool(LOST.search(str(error)))


# --- what a net brings --------------------------------------------------------------------------------------


def norms_of(model: nn.Module, device: torch.device) -> str:
    """What batch norms of a model see of a batch that several processes share: a key of NORMS."""
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [each for each in model.modules() if isinstance(each, _BatchNorm)]
    if not norms:
        return "none"
    if device.type != "cuda":
        return "local"
    return "synchronised" if all(map(_can_synchronise, norms)) else "own"


def _can_synchronise(module: nn.Module) -> bool:
    """A norm of torch's or timm's own; of somebody's own class nobody knows what else it does."""
    from timm.layers.norm_act import BatchNormAct2d
    from torch import nn

    return type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNormAct2d)


def reaches_all(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether every parameter gets a gradient: one that gets none would be waited for.

    Args:
        model: left as found: a copy is tried on two images.
        shape: (N, C, H, W) of a batch.
    """
    import torch

    tried = copy.deepcopy(model).eval()
    wanted = [each for each in tried.parameters() if each.requires_grad]
    images = torch.zeros(2, *shape[1:], device=wanted[0].device, dtype=wanted[0].dtype)
    tried(images).sum().backward()
    return all(each.grad is not None for each in wanted)
