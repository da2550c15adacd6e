"""`infogail speed`: how fast twin, training, traffic and forecasts are here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from infogail.cli.checks import at_least

# Torch, highway-env and other heavy packages are imported by the commands that need them, to keep --help fast.


@dataclass(frozen=True)
class Speed:
    """Benchmark highway-env, the batched twin and the training loop together, and print the speed ratios."""

    json: bool = False
    """Print JSON instead of a table."""
    seed: int = 0
    """Seed for initial scenes and actions."""
    path: Annotated[Path | None, tyro.conf.arg(name="run", metavar="RUN")] = None
    """Highway run to compare, as traffic, with highway-env's own; or a run that learned from people, whose recorded
    traffic to measure."""
    device: str | None = None
    """Measure only the compiled twin, on this device, such as cuda, with up to a million environments."""
    forecast: bool = False
    """Measure only the fit of 'infogail forecast', on 1,000 made-up paths over areas of three sizes."""

    def run(self) -> None:
        at_least("--seed", self.seed, 0)
        if self.forecast:
            self.measure_forecast()
            return
        from infogail.benchmark.speed import measure, measure_device, measure_run, print_run, print_table
        from infogail.parallel.progress import status

        if self.device is not None:
            with status(f"measuring on {self.device}"):
                on_device = measure_device(self.device, self.seed)
            if self.json:
                print(json.dumps(on_device, indent=2))
                return
            for scenario, rates in on_device.items():
                print_run(f"{scenario}, on {self.device}", {name: {"steps per second": r} for name, r in rates.items()})
            return
        with status("measuring") as update:
            of_run = measure_run(self.path, self.seed) if self.path else None
            results = measure(self.seed, update)
        if self.json:
            print(json.dumps(results | ({of_run[0]: of_run[1]} if of_run else {}), indent=2))
            return
        print_table(results)
        if of_run:
            print_run(*of_run)

    def measure_forecast(self) -> None:
        from infogail.benchmark.speed import print_run
        from infogail.forecast.speed import measure
        from infogail.parallel.progress import status

        with status("fitting") as update:
            results = measure(self.seed, update)
        if self.json:
            print(json.dumps(results, indent=2))
        else:
            print_run("maximum causal entropy IRL", results)
