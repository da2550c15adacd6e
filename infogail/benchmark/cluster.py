"""Run tasks on the cores of a Ray cluster, with the same interface as `workers` on one machine."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from infogail.envs.errors import BadInput
from infogail.parallel.signals import Stopped
from infogail.parallel.workers import WorkerLost
from infogail.runs.folder import put_run

ANSWER = 5.0  # [s] for the cluster to answer
GRACE = 20.0  # [s] for cancelled tasks to clean up: they finish their current iteration
RETRIES = 5  # of a task whose worker or node was killed; limited, since one that runs out of memory always will

Files = dict[str, bytes]
"""The contents of a folder's files, by name within the folder."""


def check_address(address: str) -> None:
    """Check the address of a Ray cluster within seconds; Ray itself would retry for a quarter of an hour.

    Raises:
        BadInput: Ray is not installed, or nothing answers at `address`.
    """
    if find_spec("ray") is None:
        raise BadInput("--ray requires the extra 'dist'; install it with pip install 'infogail[dist]'")
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise BadInput(f"--ray {address}: give auto or HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        problem = getattr(error, "strerror", None) or error
        raise BadInput(f"--ray {address}: cannot be reached ({problem}); start it with 'ray start --head'") from error


@contextmanager
def cluster(address: str, on_report: Callable[[float], None] = lambda amount: None) -> Iterator[Callable[..., Any]]:
    """A `map` on the cluster at `address`, one core and one torch thread per task; on an error the rest is dropped.

    The nodes need not share files with this machine. A path among the arguments refers to a file, or to a run folder,
    which need not exist yet: the task works on a copy, and the folder that it leaves atomically replaces the local one.
    Partial results of a killed worker or node are discarded: its tasks restart elsewhere.

    Args:
        address: `auto` or HOST:PORT, of a cluster of which this machine is a node.
        on_report: called with 1 for each finished task.

    Raises:
        BadInput: see `check_address`; or not a Ray cluster, or one with other versions, or a node lacks a module.
        WorkerLost: the same task was killed repeatedly.
    """
    check_address(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # connect once instead of Ray's twenty attempts
    import ray
    from ray.exceptions import RayError, RayTaskError

    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        cache = str(Path(gettempdir()) / "infogail-matplotlib")  # instead of the home folder
        # Set before torch and matplotlib are imported on the nodes.
        environment = {"env_vars": {"OMP_NUM_THREADS": "1", "MPLCONFIGDIR": cache}}
        ray.init(address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        raise BadInput(f"--ray {address}: {' '.join(str(error).split())}") from error
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
    waiting: list[Any] = []

    def mapped(function: Callable, *iterables: Iterable) -> Iterator[Any]:
        jobs = list(zip(*iterables, strict=True))
        paths = {arg for job in jobs for arg in job if isinstance(arg, Path)}
        files = {path: ray.put(path.read_bytes()) for path in paths if path.is_file()}  # once, shared by all tasks
        numbers, results, next_one = {}, {}, 0
        for number, job in enumerate(jobs):
            sent = {arg: files.get(arg) or _read(arg) for arg in job if isinstance(arg, Path)}
            reference = task.remote(function, job, list(sent), *sent.values())
            numbers[reference] = number
            waiting.append(reference)
        while waiting:
            (done, *_), waiting[:] = ray.wait(waiting)
            try:
                result, folders = ray.get(done)
            except RayTaskError as error:
                if missing := re.search("No module named '.*'", str(error)):
                    raise BadInput(f"--ray {address}: {missing[0]} on a node; install this infogail there") from error
                raise
            except RayError as error:
                problem = type(error).__name__
                raise WorkerLost(f"the cluster lost a cell permanently ({problem}); is there enough memory?") from error
            number = numbers.pop(done)  # drop the last reference, so that Ray can free the result
            for path, content in folders.items():
                put_run(path, content)
            results[number] = result
            on_report(1.0)
            while next_one in results:
                yield results.pop(next_one)
                next_one += 1

    try:
        yield mapped
    finally:
        with suppress(Exception):  # the cluster may be gone
            for reference in waiting:
                ray.cancel(reference)
            if waiting:
                ray.wait(waiting, num_returns=len(waiting), timeout=GRACE)
        ray.shutdown()
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray installed its own


def _work(function: Callable, args: tuple, paths: list[Path], *contents: bytes | Files) -> tuple[Any, Mapping]:
    """On a node: call `function`; returns its result, and the contents of the folders that it changed, by path."""
    with TemporaryDirectory(prefix="infogail-") as name:
        copies = {path: Path(name) / str(number) / path.name for number, path in enumerate(paths)}
        sent = dict(zip(paths, contents, strict=True))
        for path, content in sent.items():
            copies[path].parent.mkdir()
            for part, data in ({"": content} if isinstance(content, bytes) else content).items():
                (copies[path] / part).parent.mkdir(parents=True, exist_ok=True)
                (copies[path] / part).write_bytes(data)
        try:
            result = function(*(copies.get(arg, arg) if isinstance(arg, Path) else arg for arg in args))
        except Stopped as stop:
            if stop.status == 128 + signal.SIGINT:  # how Ray cancels a task, not a failure
                raise KeyboardInterrupt from stop
            raise
        folders = {path: _read(copies[path]) for path in paths if not copies[path].is_file()}
        return result, {path: content for path, content in folders.items() if content != sent[path]}


def _read(folder: Path) -> Files:
    """All files in `folder`, if it exists, except hidden ones, which are locks or partial files."""
    files = (path for path in folder.rglob("[!.]*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
