"""Data-parallel training across the processes that torchrun starts: each drives its share of the environments.

All processes start from the same networks (`broadcast_parameters`) and average their gradients before each step
(`average_gradients`), so their networks stay identical; each process has its own random numbers, environments and
batches (`shard_config`). Process 0 leads: it alone writes files and messages. In a single process all of this is a
no-op.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from enum import Enum
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from infogail.config.config import SETTINGS, Config
from infogail.config.setting import option
from infogail.envs.errors import BadInput
from infogail.parallel.launch import launched, leads

SEED_STRIDE = 1_000_003
"""Difference between consecutive processes' seeds: large enough that runs with neighbouring seeds share no random
numbers, and not a power of 2, since torch's generators use only the lower 32 bits."""
GRACE = timedelta(seconds=10)  # for process 0 to print the error; torchrun ends the others once it has exited
PRINTED = "printed"

T = TypeVar("T")
_store: dist.Store | None = None  # shared by the processes, for everything but tensors


class Group(Enum):
    """Which processes take part in an update."""

    WORLD = "all processes of this training"
    ALONE = "this process"

    @property
    def size(self) -> int:
        """The number of processes."""
        return world_size() if self is Group.WORLD else 1


def join() -> None:
    """Join the other processes if torchrun started several, according to its environment variables.

    gloo transfers CPU tensors, nccl GPU tensors.

    Raises:
        BadInput: the other processes cannot be reached.
    """
    global _store
    if not launched() or dist.is_initialized():
        return
    with _together():
        _store, this_rank, size = next(iter(dist.rendezvous("env://")))
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group(backend(), store=dist.PrefixStore("infogail", _store), rank=this_rank, world_size=size)


def leave() -> None:
    """Undo `join`; a no-op in a single process."""
    if dist.is_initialized():
        dist.destroy_process_group()


def backend() -> str:
    """torch.distributed's backends, by device."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0 to world_size - 1."""
    return dist.get_rank() if dist.is_initialized() else 0


def shard_range(count: int) -> range:
    """This process's shard of the independent tasks 0 to `count` - 1: every `world_size`-th.

    Updates within a task must pass `Group.ALONE`, or they would wait for processes that work on other tasks.
    """
    return range(rank(), count, world_size())


def shard_config(config: Config) -> Config:
    """This process's share of `config`: its part of the `sharded` settings (environments and batches), and its own
    seed.

    Raises:
        BadInput: a sharded setting is not a multiple of the number of processes.
    """
    size = world_size()
    if size == 1:
        return config
    totals = {name: x for name, x in config.flat().items() if SETTINGS[name].field.metadata["sharded"]}
    if uneven := [f"{option(name)} {total}" for name, total in totals.items() if total % size]:
        raise BadInput(f"{size} processes cannot share {', '.join(uneven)} evenly; give multiples of {size}")
    if config.run.num_envs < size * config.codes.num_codes:
        least = f"at least one for each of the {config.codes.num_codes} codes in each of the {size} processes"
        raise BadInput(f"--num-envs {config.run.num_envs}: give {least}")
    seed = (config.run.seed + rank() * SEED_STRIDE) % 2**63
    return config.with_(seed=seed, **{name: total // size for name, total in totals.items()})


def broadcast_parameters(parameters: Iterable[Tensor], group: Group = Group.WORLD) -> None:
    """Overwrite the `parameters` of all processes with those of process 0, in place."""
    if group.size == 1:
        return
    tensors = [parameter.detach() for parameter in parameters]
    flat = _flat(tensors)
    with _together():
        dist.broadcast(flat, src=0)
    _unflatten(flat, tensors)


def average_gradients(optimiser: torch.optim.Optimizer, group: Group = Group.WORLD) -> None:
    """Average the gradients of the optimiser's parameters over the processes, in a single message: for networks this
    small, the number of messages dominates the cost."""
    if group.size == 1:
        return
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    _unflatten(mean(_flat(gradients)), gradients)


def mean(x: Tensor, group: Group = Group.WORLD) -> Tensor:
    """The mean of `x` over the processes, with the gradient of this process's `x`.

    For a loss that is a function of a batch mean (`rim_loss`), apply it to that mean: then `average_gradients` yields
    the gradient of the loss of the total batch.
    """
    if group.size == 1:
        return x
    total = x.detach().clone()
    with _together():
        dist.all_reduce(total)
    total /= world_size()
    return x + (total - x).detach() if x.requires_grad else total


def mean_log(log: dict[str, float]) -> dict[str, float]:
    """`log` with each measure (float) averaged over the processes; counts (int) are already totals."""
    measures = [name for name, value in log.items() if isinstance(value, float)]
    if world_size() == 1 or not measures:
        return log
    means = mean(torch.tensor([log[name] for name in measures], dtype=torch.float64))
    return log | dict(zip(measures, means.tolist(), strict=True))


def all_gather(x: Tensor) -> Tensor:
    """The `x` (n, …) of all processes, in rank order: (world_size · n, …)."""
    if world_size() == 1:
        return x
    shards = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())]
    with _together():
        dist.all_gather(shards, x.contiguous())
    return torch.cat(shards)


def gather_to_leader(value: T) -> list[T]:
    """In process 0, the `value` of each process in rank order; elsewhere an empty list."""
    if world_size() == 1:
        return [value]
    values: list[T] = [value] * world_size() if leads() else []
    with _together():
        dist.gather_object(value, values if leads() else None)
    return values


def all_gather_objects(value: T) -> list[T]:
    """In every process, the `value` of each process in rank order."""
    if world_size() == 1:
        return [value]
    values = [value] * world_size()
    with _together():
        dist.all_gather_object(values, value)
    return values


def first_truthy(value: T) -> T:
    """In every process, the first truthy `value` of any process in rank order, or process 0's if none is."""
    values = all_gather_objects(value)
    return next(filter(None, values), values[0])


def run_on_leader(work: Callable[[], T]) -> T:
    """Call `work` in process 0 only; all processes return its result, or raise its exception."""
    if world_size() == 1:
        return work()
    outcome: list = [None, None]
    if leads():
        try:
            outcome[0] = work()
        except Exception as error:
            outcome[1] = error
    with _together():
        dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def print_once(message: str) -> None:
    """Print one line on standard error for all processes: process 0's, unless it prints none."""
    if not leads():
        # This wait ends when process 0 has printed, or when torchrun terminates the others because one failed.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        with suppress(RuntimeError):
            if _store is None:
                time.sleep(GRACE.total_seconds())
            else:
                _store.wait([PRINTED], GRACE)
    with suppress(RuntimeError):
        if _store is not None and _store.check([PRINTED]):
            return
    print(message, file=sys.stderr)
    with suppress(RuntimeError):
        if _store is not None:
            _store.set(PRINTED, "")


@contextmanager
def _together() -> Iterator[None]:
    """Wraps collective operations: the loss of a process becomes a `BadInput`."""
    try:
        yield
    except RuntimeError as error:  # gloo and nccl: "connection closed by peer"
        remedy = "torchrun shows which; resume from the last checkpoint with --resume"
        raise BadInput(f"another process of this training ended or cannot be reached; {remedy}") from error


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: list[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])
