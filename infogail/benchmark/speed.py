"""`infogail speed`: compare the speed of highway-env, the batched twin and the training loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import log
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
import highway_env  # noqa: F401 (registers highway-v0)
import numpy as np
import torch
from torch.utils._triton import has_triton

from infogail.config.config import Config
from infogail.config.presets import settings
from infogail.envs.catalogue import BASIC_SCENARIOS, environment_id, get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.stepping import missing_compiler
from infogail.envs.twin import DrivingEnvironment
from infogail.learning.devices import check_device
from infogail.learning.learner import InfoGAIL
from infogail.parallel import terminal
from infogail.runs import checkpoint
from infogail.runs.folder import DEMONSTRATIONS, Manifest, RunFolder
from infogail.traffic.population import population

NUM_ENVS = (256, 1024, 4096, 16384)
DEVICE_ENVS = (4096, 65_536, 1_048_576)
COMPARED = 4096  # environments of the twin that is compared with highway-env, also compiled
ROUNDS = 5  # highway-env and the twins take turns, so that slowdowns of the machine affect all equally
SECONDS = 0.7  # per turn
TRAFFIC, VEHICLES = 1024, (25, 50, 100, 200)  # environments and vehicles of the twin of highway-v0
HIGHWAY_V0 = {"lanes": 4, "vehicles": 51, "density": 1.0, "policy_frequency": 1}  # its defaults, including the ego
TRAFFIC_STEPS = 45  # physics steps of traffic, 3 s


def measure(seed: int, progress: Callable[[str], None] = lambda message: None) -> dict[str, Any]:
    """Steps per second by scenario, medians of `ROUNDS` rounds, with random actions and including resets and
    observations.

    highway-env is measured with its own `Kinematics` observation ("kinematics") and with our smaller one ("features").
    If there is a C++ compiler, the compiled twin is measured too. Ratios are medians of the ratios of each round.
    """
    torch.set_num_threads(Config().run.threads)
    basic = {name: _measure_scenario(name, seed, progress) for name in BASIC_SCENARIOS}
    return basic | {"highway": _measure_highway(seed, progress)}


def measure_device(device: str, seed: int, sizes: Sequence[int] = DEVICE_ENVS) -> dict[str, dict[str, float]]:
    """Steps per second of the compiled twin on `device`, by scenario and number of environments: medians of `ROUNDS`
    rounds, with random actions and including resets and observations.

    Raises:
        BadInput: this machine lacks the device, or what compiling for it takes.
    """
    check_device(device)
    on_cpu = torch.device(device).type == "cpu"
    if missing := missing_compiler() if on_cpu else None if has_triton() else "Triton":
        raise BadInput(f"--device {device}: compiling takes {missing}; install it")
    results: dict[str, dict[str, float]] = {}
    for name in BASIC_SCENARIOS:
        results[name] = {}
        for size in sizes:
            loop = _twin_loop(name, size, seed, compile=True, device=device)
            wait = (lambda: None) if on_cpu else torch.cuda.synchronize
            results[name][f"{size:,} environments"] = median(_rate(loop, wait) for _ in range(ROUNDS))
    return results


def _measure_scenario(name: str, seed: int, progress: Callable[[str], None]) -> dict[str, Any]:
    progress(f"{name}: preparing")
    references = {"kinematics": _reference_loop(name, seed, {"observation": {"type": "Kinematics"}})}
    references["features"] = _reference_loop(name, seed)
    twins = {("eager", count): _twin_loop(name, count, seed) for count in NUM_ENVS}
    if not missing_compiler():
        twins["compiled", COMPARED] = _twin_loop(name, COMPARED, seed, compile=True)
    rounds = []
    for k in range(ROUNDS):
        progress(f"{name}: round {k + 1} of {ROUNDS}")
        rounds.append({key: _rate(loop) for key, loop in (references | twins).items()})
    progress(f"{name}: training loop")
    environment: Any = gymnasium.make_vec(environment_id(name), COMPARED, vectorization_mode="vector_entry_point")
    forms = dict.fromkeys(form for form, _ in twins)
    return {
        "reference_steps_per_second": {key: median(rates[key] for rates in rounds) for key in references},
        "twin_steps_per_second": {
            form: {str(count): median(rates[form, count] for rates in rounds) for f, count in twins if f == form}
            for form in forms
        },
        "ratio": {
            form: {key: median(rates[form, COMPARED] / rates[key] for rates in rounds) for key in references}
            for form in forms
        },
        "bytes_per_environment": environment.unwrapped.bytes_per_environment,
        "vehicle_steps": vehicle_steps(get_scenario(name)),
    } | _measure_training(name, seed)


def _measure_training(scenario: str, seed: int, iterations: int = 6) -> dict[str, float]:
    """Speed of InfoGAIL's whole loop with the default settings, after two warm-up iterations; checkpoint overhead."""
    # Clustering the demonstrations involves no environment steps.
    task = get_scenario(scenario)
    config = settings(task, overrides={"rim_tries": 1, "rim_steps": 1})
    demonstrations = record(task, 20, seed)[0].demonstrations
    learner = InfoGAIL(DrivingEnvironment(task, config.run.num_envs), demonstrations, config)
    for _ in range(2):
        learner.iterate()
    start = time.perf_counter()
    steps = sum(learner.iterate()["rollout/env_steps"] for _ in range(iterations))
    seconds = time.perf_counter() - start
    with (
        TemporaryDirectory(dir=".") as folder,  # on the disk that runs are written to
        RunFolder.create(Path(folder) / "run", Manifest(scenario, "infogail", config), b"", force=False) as run,
    ):
        start = time.perf_counter()
        for k in range(iterations):
            checkpoint.save(run, k, checkpoint.state_of(learner.parts()), b"")
        saving = time.perf_counter() - start
    return {
        "training_steps_per_second": steps / seconds,
        "checkpoint_share": saving / seconds / config.run.checkpoint_interval,
    }


def _measure_highway(seed: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Compare highway-env's own `highway-v0`, 15 physics steps per decision, with the twin configured by `HIGHWAY_V0`,
    and with EnvPool's port if that is installed.

    "idle" keeps lane and speed, so episodes are long; with "random" actions, which are wilder in the twin, episodes
    constantly end and restart. "as trained" is our own scenario, in both physics. By number of vehicles: milliseconds
    per decision in all of the twin's environments.
    """
    reference = {action: _highway_v0_loop(action == "idle", seed) for action in ("idle", "random")}
    reference["as trained"] = _reference_loop("highway", seed)
    twin = {a: _twin_loop("highway", TRAFFIC, seed, idle=a == "idle", **HIGHWAY_V0) for a in ("idle", "random")}
    twin["as trained"] = _twin_loop("highway", TRAFFIC, seed)
    envpool = {action: _envpool_loop(action == "idle", seed) for action in ("idle", "random")} if has_envpool() else {}
    sizes = {v: _twin_loop("highway", TRAFFIC, seed, idle=True, **HIGHWAY_V0 | {"vehicles": v}) for v in VEHICLES}
    rounds = []
    for k in range(ROUNDS):
        progress(f"highway: round {k + 1} of {ROUNDS}")
        rounds.append(
            [{key: _rate(loop) for key, loop in loops.items()} for loops in (reference, twin, sizes, envpool)]
        )
    return {
        "reference_steps_per_second": {key: median(rates[key] for rates, *_ in rounds) for key in reference},
        "twin_steps_per_second": {key: median(rates[key] for _, rates, *_ in rounds) for key in twin},
        "ratio": {key: median(twins[key] / references[key] for references, twins, *_ in rounds) for key in twin},
        "twin_milliseconds": {str(v): median(1000 * TRAFFIC / rates[v] for _, _, rates, _ in rounds) for v in VEHICLES},
        "envpool_steps_per_second": {key: median(rates[key] for *_, rates in rounds) for key in envpool},
        "envpool_ratio": {key: median(twins[key] / rates[key] for _, twins, _, rates in rounds) for key in envpool},
        "vehicle_steps": dict.fromkeys(("idle", "random"), vehicle_steps(get_scenario("highway", **HIGHWAY_V0)))
        | {"as trained": vehicle_steps(get_scenario("highway"))},
    }


def has_envpool() -> bool:
    """Whether the extra "speed" is installed."""
    return find_spec("envpool") is not None


def vehicle_steps(scenario: Scenario) -> int:
    """Physics steps of single vehicles in one decision of one environment, by which scenarios compare."""
    return scenario.num_vehicles * scenario.simulation_frequency // scenario.policy_frequency


def print_table(results: dict[str, Any]) -> None:
    """Print the result of `measure` as tables."""
    _print_basic({name: results[name] for name in BASIC_SCENARIOS})
    highway, fewest = results["highway"], min(VEHICLES)
    keys = "reference_steps_per_second", "twin_steps_per_second", "ratio"
    names = "highway-env", f"twin, {TRAFFIC:,} envs", "twin / highway-env"
    rows = [[name, *map(_figure, highway[key].values())] for name, key in zip(names, keys, strict=True)]
    if highway["envpool_ratio"]:
        for name, key in (("EnvPool", "envpool_steps_per_second"), ("twin / EnvPool", "envpool_ratio")):
            rows.append([name, *map(_figure, highway[key].values()), "-"])
    rates = highway["twin_steps_per_second"].items()
    rows.append(["twin, vehicle-steps", *(_figure(rate * highway["vehicle_steps"][key]) for key, rate in rates)])
    headings = "", "highway-v0, idle", "highway-v0, random", "as trained"
    terminal.print_table("highway: steps per second", headings, rows)
    if not highway["envpool_ratio"]:
        print("EnvPool is not installed, so it is left out; pip install 'infogail[speed]' brings it")
    headings, rows = ("V", "ms per decision", f"÷ that of {fewest}", f"V log V ÷ that of {fewest}"), []
    for vehicles, spent in highway["twin_milliseconds"].items():
        growth = int(vehicles) * log(int(vehicles)) / (fewest * log(fewest))
        slower = spent / highway["twin_milliseconds"][str(fewest)]
        rows.append([vehicles, f"{spent:.0f}", f"{slower:.2f}", f"{growth:.2f}"])
    terminal.print_table(f"twin of highway-v0, {TRAFFIC:,} envs, by vehicles V", headings, rows)


def _print_basic(results: dict[str, Any]) -> None:
    columns = [_rows(result) for result in results.values()]
    rows = [[heading, *(_figure(column[heading]) for column in columns)] for heading in columns[0]]
    terminal.print_table(f"steps per second, torch threads: {torch.get_num_threads()}", ["", *results], rows)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _rows(result: dict[str, Any]) -> dict[str, float]:
    rows = {f"highway-env, {name}": rate for name, rate in result["reference_steps_per_second"].items()}
    for form, rates in result["twin_steps_per_second"].items():
        rows |= {f"{form} twin, {int(count):,} envs": rate for count, rate in rates.items()}
        rows[f"{form} twin, vehicle-steps"] = max(rates.values()) * result["vehicle_steps"]
    for form, ratios in result["ratio"].items():
        rows |= {f"{form} twin, {COMPARED:,} envs / highway-env, {name}": ratio for name, ratio in ratios.items()}
    rows["whole training loop"] = result["training_steps_per_second"]
    rows["% of training time for checkpoints"] = 100 * result["checkpoint_share"]
    return rows | {"bytes per environment": result["bytes_per_environment"]}


def _reference_loop(
    name: str, seed: int, config: Mapping[str, Any] | None = None, idle: bool = False, **road: Any
) -> Callable[[], int]:
    env = gymnasium.make(environment_id(name), config=dict(config or {}), **road)
    env.reset(seed=seed)
    shape = (64, *(env.action_space.shape or ()))
    actions = np.random.default_rng(seed).uniform(-1.0, 1.0, shape).astype(np.float32)
    if idle:
        actions *= 0.0

    def steps() -> int:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return steps


def _highway_v0_loop(idle: bool, seed: int) -> Callable[[], int]:
    env = gymnasium.make("highway-v0")
    env.reset(seed=seed)
    env.action_space.seed(seed)
    idle_action = 1

    def steps(count: int = 10) -> int:
        for _ in range(count):
            _, _, terminated, truncated, _ = env.step(idle_action if idle else env.action_space.sample())
            if terminated or truncated:
                env.reset()
        return count

    return steps


def _envpool_loop(idle: bool, seed: int) -> Callable[[], int]:
    """EnvPool's C++ port of highway-v0, as many environments as in the twin's, on one thread."""
    import envpool  # the extra "speed"

    env = envpool.make("Highway-v0", "gymnasium", num_envs=TRAFFIC, num_threads=1, seed=seed)
    env.reset()
    rng, idle_action = np.random.default_rng(seed), np.ones(TRAFFIC, np.int32)

    def steps() -> int:
        env.step(idle_action if idle else rng.integers(0, env.action_space.n, TRAFFIC, dtype=np.int32))
        return TRAFFIC

    steps()  # warm up
    return steps


def _twin_loop(name: str, num_envs: int, seed: int, idle: bool = False, **settings: Any) -> Callable[[], int]:
    settings |= {"vectorization_mode": "vector_entry_point", "tensors": True}
    env = gymnasium.make_vec(environment_id(name), num_envs, **settings)
    env.reset(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    actions = (torch.rand((8, *(env.action_space.shape or ())), generator=generator) * 2 - 1).to(settings.get("device"))
    if idle:
        actions *= 0.0

    def steps() -> int:
        for action in actions:
            env.step(action)
        return actions[..., 0].numel()

    steps()  # warm up
    return steps


def _rate(steps: Callable[[], int], wait: Callable[[], None] = lambda: None) -> float:
    """Steps per second; `wait` returns when the device has finished."""
    wait()
    start = time.perf_counter()
    done = 0
    while time.perf_counter() - start < SECONDS:
        done += steps()
        wait()
    return done / (time.perf_counter() - start)


def measure_run(run: Path, seed: int) -> tuple[str, dict[str, dict[str, float]]]:
    """A title and rows of measurements: for a highway run, its cost as traffic; for a run that learned from people, the
    speed of simulation with them."""
    scenario = Manifest.load(run).scenario
    if get_scenario(scenario).recorded:
        number = COMPARED if get_scenario(scenario).compilable else TRAFFIC
        return f"{scenario}, the twin with {number:,} environments", measure_replay(run, seed, number)
    return "traffic of highway-v0, microseconds per vehicle and physics step", measure_traffic(run, seed)


def measure_replay(run: Path, seed: int, number: int) -> dict[str, dict[str, float]]:
    """Steps per second in the recorded traffic that `run` learned from, with an idle ego: medians of `ROUNDS` rounds.

    The twin of `number` environments is measured with one thread, with one per core, and, if it can be, compiled.
    """
    people: dict[str, Any] = {"recording": run / DEMONSTRATIONS, "idle": True}
    scenario = Manifest.load(run).scenario
    reference, twin = _reference_loop(scenario, seed, **people), _twin_loop(scenario, number, seed, **people)
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    loops = {"highway-env": (reference, 1), "twin, 1 thread": (twin, 1), f"twin, {cores} threads": (twin, cores)}
    if get_scenario(scenario).compilable and missing_compiler() is None:
        loops["twin, 1 thread, compiled"] = _twin_loop(scenario, number, seed, compile=True, **people), 1
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        rounds.append({})
        for name, (loop, count) in loops.items():
            torch.set_num_threads(count)
            rounds[-1][name] = _rate(loop)
    torch.set_num_threads(threads)
    return {name: {"steps per second": median(rates[name] for rates in rounds)} for name in loops}


def measure_traffic(run: Path, seed: int) -> dict[str, dict[str, float]]:
    """Microseconds per vehicle and physics step of highway-v0's traffic, driven by IDM and MOBIL or by `run`, from the
    same scenes: for decisions, and in total with motion and collisions. Medians of `ROUNDS` alternating rounds."""
    types = {"IDMVehicle": "highway_env.vehicle.behavior.IDMVehicle", "StyledVehicle": population(run)}
    rounds = [{name: traffic_costs(path, seed + k) for name, path in types.items()} for k in range(ROUNDS)]
    return {
        name: {
            what: 1e6 * median(costs[name][k] for costs in rounds) for k, what in enumerate(("deciding", "everything"))
        }
        for name in types
    }


def traffic_costs(other_vehicles_type: str, seed: int) -> tuple[float, float]:
    """[s] per vehicle and physics step of highway-v0: for decisions, and in total."""
    env: Any = gymnasium.make("highway-v0", config={"other_vehicles_type": other_vehicles_type}).unwrapped
    env.reset(seed=seed)
    deciding, start = 0.0, time.perf_counter()
    for _ in range(TRAFFIC_STEPS):
        before = time.perf_counter()
        env.road.act()
        deciding += time.perf_counter() - before
        env.road.step(1 / env.config["simulation_frequency"])
    everything = time.perf_counter() - start
    shares = TRAFFIC_STEPS * len(env.road.vehicles)
    return deciding / shares, everything / shares


def print_run(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print the result of `measure_run` as a table."""
    lines = [[name, *(f"{value:,.1f}" for value in row.values())] for name, row in rows.items()]
    terminal.print_table(title, ["", *next(iter(rows.values()))], lines)
