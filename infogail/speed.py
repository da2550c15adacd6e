"""`infogail speed`: how fast highway-env, the batched twin and the training loop are, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from envs import SCENARIO_NAMES, environment_id
from envs.demonstrations import record
from envs.vector import missing_compiler
from infogail.config import Config
from infogail.learner import InfoGAIL

NUM_ENVS = (256, 1024, 4096, 16384)
ROUNDS = 5  # highway-env and the twins take turns, so that a slow moment of the machine hits all alike
SECONDS = 0.7  # of each turn


def measure(seed: int, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """Steps per second, medians of `ROUNDS` rounds, by scenario; random actions, resets and observations included.

    Where there is a C++ compiler the twin is measured compiled too. Ratios are medians of each round's own ratio.
    """
    torch.set_num_threads(Config().threads)
    return {name: _measure_scenario(name, seed, progress) for name in SCENARIO_NAMES}


def _measure_scenario(name: str, seed: int, progress: Callable[[str], None]) -> dict[str, Any]:
    progress(f"{name}: preparing")
    reference = _reference_loop(name, seed)
    forms = ("eager",) if missing_compiler() else ("eager", "compiled")
    twins = {(form, count): _twin_loop(name, count, form == "compiled", seed) for form in forms for count in NUM_ENVS}
    rounds = []
    for k in range(ROUNDS):
        progress(f"{name}: round {k + 1} of {ROUNDS}")
        rounds.append((_rate(reference), {key: _rate(loop) for key, loop in twins.items()}))
    progress(f"{name}: training loop")
    environment: Any = gymnasium.make_vec(environment_id(name), 4096, vectorization_mode="vector_entry_point")
    return {
        "reference_steps_per_second": median(reference for reference, _ in rounds),
        "twin_steps_per_second": {
            form: {str(count): median(rates[form, count] for _, rates in rounds) for count in NUM_ENVS}
            for form in forms
        },
        "ratio": {form: median(rates[form, 4096] / reference for reference, rates in rounds) for form in forms},
        "bytes_per_environment": environment.unwrapped.bytes_per_environment,
        "training_steps_per_second": training_steps_per_second(name, seed),
    }


def training_steps_per_second(scenario: str, seed: int, iterations: int = 6) -> float:
    """Environment steps per second through InfoGAIL's whole loop, default settings, after two iterations to warm up."""
    learner = InfoGAIL(record(scenario, 20, seed)[0].demonstrations, Config(rim_tries=1, rim_steps=1))
    for _ in range(2):
        learner.iterate()
    start = time.perf_counter()
    steps = sum(learner.iterate()["rollout/env_steps"] for _ in range(iterations))
    return steps / (time.perf_counter() - start)


def print_table(results: dict[str, Any]) -> None:
    """The same for people."""
    table = Table(title=f"steps per second, {torch.get_num_threads()} torch threads")
    for heading in ("scenario", "highway-env", "twin", *(f"{count:,} envs" for count in NUM_ENVS), "ratio at 4,096"):
        table.add_column(heading, justify="left" if heading in ("scenario", "twin") else "right")
    for name, result in results.items():
        for form, rates in result["twin_steps_per_second"].items():
            cells = (f"{rates[str(count)]:,.0f}" for count in NUM_ENVS)
            reference = f"{result['reference_steps_per_second']:,.0f}"
            table.add_row(name, reference, form, *cells, f"{result['ratio'][form]:,.0f}")
    console = Console()
    console.print(table)
    for name, result in results.items():
        console.print(
            f"{name}: training {result['training_steps_per_second']:,.0f} steps per second, "
            f"{result['bytes_per_environment']:.0f} bytes per environment"
        )


def _reference_loop(name: str, seed: int) -> Callable[[], int]:
    env = gymnasium.make(environment_id(name))
    env.reset(seed=seed)
    actions = np.random.default_rng(seed).uniform(-1.0, 1.0, (64, 2)).astype(np.float32)

    def steps() -> int:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return steps


def _twin_loop(name: str, num_envs: int, compiled: bool, seed: int) -> Callable[[], int]:
    env = gymnasium.make_vec(environment_id(name), num_envs, vectorization_mode="vector_entry_point", compile=compiled)
    env.reset(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    actions = torch.rand((8, num_envs, 2), generator=generator) * 2 - 1

    def steps() -> int:
        for some in actions:
            env.step(some)
        return actions[..., 0].numel()

    steps()  # warm up
    return steps


def _rate(steps: Callable[[], int]) -> float:
    start = time.perf_counter()
    done = 0
    while time.perf_counter() - start < SECONDS:
        done += steps()
    return done / (time.perf_counter() - start)
