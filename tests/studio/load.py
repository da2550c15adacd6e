"""How late the steps of many drivers at once are: `python -m tests.studio.load [--drivers 8] [--seconds 20]`."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from tests.studio.conftest import RunningStudio, until


def measure(studio: RunningStudio, scenario: str, drivers: int, seconds: float) -> tuple[float, float, float]:
    """Steps per second of the slowest driver, and the 50th and 95th percentile of a step's delay [ms]."""
    late: list[list[float]] = [[] for _ in range(drivers)]
    rates = np.zeros(drivers)
    ready = threading.Barrier(drivers)

    def drive(number: int) -> None:
        begin: dict[str, Any] = {"type": "begin", "scenario": scenario, "run": None, "traffic": None, "file": None}
        with studio.socket("/ws/drive") as socket:
            socket.send(json.dumps({**begin, "style": -1, "recorder": "", "seed": number}))
            until(socket, "frame")
            ready.wait()
            socket.send(json.dumps({"type": "resume"}))
            start, steps = time.monotonic(), 0
            while time.monotonic() - start < seconds:
                message = json.loads(socket.recv(timeout=30))
                if message["type"] == "frame" and message["t"]:
                    late[number].append(message["late"])
                    steps += 1
                elif message["type"] == "ended":
                    socket.send(json.dumps({"type": "discard"}))
                elif message["type"] == "begin":
                    socket.send(json.dumps({"type": "resume"}))
            rates[number] = steps / (time.monotonic() - start)

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(drivers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p95 = np.percentile(np.concatenate(late), (50, 95))
    return float(rates.min()), float(p50), float(p95)


def main(
    drivers: int = 8,
    seconds: float = 20.0,
    scenarios: Annotated[tuple[str, ...], tyro.conf.arg(help="what they drive")] = ("pass", "turn", "highway"),
) -> None:
    """Drive, and print a table."""
    table = Table("scenario", "steps/s of the slowest", "delay, median [ms]", "95th percentile [ms]")
    with tempfile.TemporaryDirectory() as folder:
        studio = RunningStudio(Path(folder), "--max-sessions", str(drivers))
        for scenario in scenarios:
            rate, p50, p95 = measure(studio, scenario, drivers, seconds)
            table.add_row(scenario, f"{rate:.2f}", f"{p50:.2f}", f"{p95:.2f}")
        studio.stop()
    Console().print(table)


if __name__ == "__main__":
    tyro.cli(main)
