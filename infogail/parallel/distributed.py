"""One training across the processes that torchrun starts: each drives its share of the environments.

Every process begins with the same networks (`begin_alike`) and averages every gradient with the others before each step
(`average_gradients`), so that all hold the same networks at every moment; random numbers, environments and batches are
each process's own (`share`). Process 0 leads: it alone writes and tells. In a single process all of this does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from infogail.config.config import Config
from infogail.envs.errors import BadInput
from infogail.parallel.launch import launched, leads

SEED_STRIDE = 1_000_003
"""From one process's seed to the next's: so far that neighbouring seeds share no random numbers, and not a power of 2,
since torch's generators look at the lower 32 bits only."""
GRACE = timedelta(seconds=10)  # for process 0 to tell what went wrong; torchrun ends the others once it has left
TOLD = "told"

T = TypeVar("T")
_store: dist.Store | None = None  # what the processes share besides tensors
_apart = False


def join() -> None:
    """Meet the other processes, where torchrun started several: its environment variables say so.

    Tensors in the processor's memory go by gloo, those on a GPU by nccl.

    Raises:
        BadInput: they do not meet.
    """
    global _store
    if not launched() or dist.is_initialized():
        return
    with _together():
        _store, rank, size = next(iter(dist.rendezvous("env://")))
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group(backend(), store=dist.PrefixStore("infogail", _store), rank=rank, world_size=size)


def leave() -> None:
    """Part from the others, if any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def backend() -> str:
    """Of torch.distributed: what carries which tensors."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def num_processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_initialized() and not _apart else 1


def number() -> int:
    """Of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def apart(tasks: int) -> Iterator[range]:
    """Give this process its part of `tasks` that each can do alone, to do meanwhile as if there were no others."""
    global _apart
    mine = range(number(), tasks, num_processes())
    _apart = True
    try:
        yield mine
    finally:
        _apart = False


def share(config: Config) -> Config:
    """What is this process's of a training with the settings `config`: its part of the environments and of each batch,
    and a seed of its own.

    Raises:
        BadInput: some setting cannot be shared evenly.
    """
    size = num_processes()
    if size == 1:
        return config
    shared = [some.name for some in fields(config) if some.name == "num_envs" or some.name.endswith("_batch")]
    totals = {name: getattr(config, name) for name in shared}
    if uneven := [f"--{name.replace('_', '-')} {total}" for name, total in totals.items() if total % size]:
        raise BadInput(f"{size} processes cannot share {', '.join(uneven)} evenly; give multiples of {size}")
    if config.num_envs < size * config.num_codes:
        least = f"at least one for each of the {config.num_codes} codes in each of the {size} processes"
        raise BadInput(f"--num-envs {config.num_envs}: give {least}")
    seed = (config.seed + number() * SEED_STRIDE) % 2**63
    return replace(config, seed=seed, **{name: total // size for name, total in totals.items()})


def begin_alike(parameters: Iterable[Tensor]) -> None:
    """Give all processes the `parameters` of process 0."""
    if num_processes() == 1:
        return
    tensors = [parameter.detach() for parameter in parameters]
    flat = _flat(tensors)
    with _together():
        dist.broadcast(flat, src=0)
    _unflatten(flat, tensors)


def average_gradients(optimiser: torch.optim.Optimizer) -> None:
    """Average the gradients of the optimiser's parameters over the processes: in one message, for with networks this
    small it is the number of messages that takes time."""
    if num_processes() == 1:
        return
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    _unflatten(mean(_flat(gradients)), gradients)


def mean(x: Tensor) -> Tensor:
    """The mean of `x` over the processes. Where a loss is no mean over its batch but has one inside, this goes around
    that: its gradient is the own x's, and once all gradients are averaged, that of the mean over the total batch.
    """
    if num_processes() == 1:
        return x
    total = x.detach().clone()
    with _together():
        dist.all_reduce(total)
    total /= num_processes()
    return x + (total - x).detach() if x.requires_grad else total


def mean_log(log: dict[str, float]) -> dict[str, float]:
    """`log` with the mean over the processes of each measure (float); counts (int) are already of all."""
    measures = [name for name, value in log.items() if isinstance(value, float)]
    if num_processes() == 1 or not measures:
        return log
    means = mean(torch.tensor([log[name] for name in measures], dtype=torch.float64))
    return log | dict(zip(measures, means.tolist(), strict=True))


def gather(x: Tensor) -> Tensor:
    """The `x` (n, …) of all processes, one after the other (processes · n, …)."""
    if num_processes() == 1:
        return x
    every = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(num_processes())]
    with _together():
        dist.all_gather(every, x.contiguous())
    return torch.cat(every)


def to_leader(value: T) -> list[T]:
    """In process 0 the `value` of each; in the others nothing."""
    if num_processes() == 1:
        return [value]
    values: list[T] = [value] * num_processes() if leads() else []
    with _together():
        dist.gather_object(value, values if leads() else None)
    return values


def everyones(value: T) -> list[T]:
    """The `value` of each process, in all of them."""
    if num_processes() == 1:
        return [value]
    values = [value] * num_processes()
    with _together():
        dist.all_gather_object(values, value)
    return values


def anyone(value: T) -> T:
    """In all processes the same: the first `value` of any of them that says something, else the first."""
    values = everyones(value)
    return next((some for some in values if some), values[0])


def from_leader(work: Callable[[], T]) -> T:
    """What `work` gives in process 0, in all of them; and so with what it raises."""
    if num_processes() == 1:
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


def tell(message: str) -> None:
    """Print one line on standard error for all processes: process 0's, unless it has none to tell."""
    if not leads():
        # What ends this wait is a word from process 0, or torchrun, which ends the others when one has failed.
        for some in (signal.SIGINT, signal.SIGTERM):
            signal.signal(some, signal.SIG_DFL)
        with suppress(RuntimeError):
            if _store is None:
                time.sleep(GRACE.total_seconds())
            else:
                _store.wait([TOLD], GRACE)
    with suppress(RuntimeError):
        if _store is not None and _store.check([TOLD]):
            return
    print(message, file=sys.stderr)
    with suppress(RuntimeError):
        if _store is not None:
            _store.set(TOLD, "")


@contextmanager
def _together() -> Iterator[None]:
    """Around what needs all processes."""
    try:
        yield
    except RuntimeError as error:  # gloo's and nccl's way to say "connection closed by peer"
        remedy = "torchrun says which; go on with --resume from the last checkpoint"
        raise BadInput(f"another process of this training ended or cannot be reached; {remedy}") from error


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: list[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])
