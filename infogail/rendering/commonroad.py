"""Driven episodes as CommonRoad scenarios, for the tools of https://commonroad.in.tum.de.

The lanes of the road are lanelets; every vehicle, the driver's first, is an obstacle with one state per physics step.
CommonRoad's y points to the left of x, highway-env's to the right: y and all angles are negated. Files have no planning
problem, as recordings have none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from highway_env.road.lane import AbstractLane, StraightLane
from highway_env.road.road import RoadNetwork
from highway_env.utils import wrap_to_pi

from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput, one_line
from infogail.envs.files import check_output, write_atomically
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import Scenario
from infogail.evaluation.episodes import Episode
from infogail.rendering.film import drive_from, starts_from
from infogail.rendering.viewer import CURVE, LINES
from infogail.runs.driver import load
from infogail.runs.folder import DEMONSTRATIONS

DECIMALS = 6  # of the numbers in a file; commonroad-io cuts off the others
PRESENT = 1e5  # [m]: a vehicle farther from the origin is not there
MOVING = 0.5  # [m/s]: a slower vehicle is taken to move in the direction of its heading
MARKINGS = {"striped": "DASHED", "continuous": "SOLID"}


def write_scenarios(
    run: Path,
    out: Path,
    seed: int = 0,
    force: bool = False,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Path]:
    """Let every code of `run` drive from the same start as in `render`, and write a file of each into the folder `out`.

    Args:
        force: overwrite existing files.

    Returns:
        the files: ZAM_SCENARIO-1_1_T-1.xml of code 0, and so on; ZAM is CommonRoad's country of made-up roads.

    Raises:
        NonEmptyFolder: a file exists, and `force` is false.
        BadInput: commonroad-io is not installed.
    """
    try:
        import commonroad  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"--commonroad: needs commonroad-io ({one_line(error)}); pip install 'infogail[data]'"
        ) from error
    driver = load(run)
    name = re.sub(r"\W", "", driver.scenario.label.title())
    files = [out / f"ZAM_{name}-1_{code + 1}_T-1.xml" for code in range(driver.num_codes)]
    for path in files:
        check_output(path, force)
    recording = Recording.load(run / DEMONSTRATIONS, driver.scenario)
    scenario, judge = recording.scenario, recording.scenario.fit_judge(recording)
    env = DrivingEnv(scenario)
    progress("driving every code")
    (start,) = starts_from(recording, seed)
    driven = drive_from(driver, env, recording, start, judge)
    env.close()
    for path, episode in zip(files, driven, strict=True):
        progress(f"writing {path}")
        title = driver.labels.title(episode.code)
        content = commonroad_scenario(scenario, episode, path.stem)
        write_atomically(path, _encoded(content, f"infogail: {driver.algorithm} on {scenario.name}, {title}", path))
    return files


def commonroad_scenario(scenario: Scenario, episode: Episode, name: str) -> Any:
    """The episode as commonroad-io's `Scenario`.

    Args:
        name: its benchmark ID.
    """
    from commonroad.scenario.scenario import Scenario as Written
    from commonroad.scenario.scenario import ScenarioID

    states, dt = driven_again(scenario, episode), 1 / scenario.simulation_frequency
    written = Written(dt, ScenarioID.from_benchmark_id(name, "2020a"))
    lanelets = _lanelets(scenario.road_network(episode.scene))
    written.add_objects(lanelets)
    vehicles = zip(np.moveaxis(states, 1, 0), scenario.sizes(states), strict=True)
    parts = ((part, first, size) for vehicle, size in vehicles for first, part in _present(vehicle))
    for number, (part, first, size) in enumerate(parts, len(lanelets) + 1):
        written.add_objects(_obstacle(number, part, first, size, dt))
    return written


def driven_again(scenario: Scenario, episode: Episode) -> np.ndarray:
    """(T', V, …): the states after each physics step, from repeating the episode's actions."""
    # With one decision per physics step, the motion is the same.
    env = DrivingEnv(scenario, {"policy_frequency": scenario.simulation_frequency})
    env.reset(options={"scene": episode.scene})
    states = [env.vehicle_state]
    for action in episode.actions.repeat(scenario.simulation_frequency // scenario.policy_frequency, axis=0):
        env.step(action)
        states.append(env.vehicle_state)
    env.close()
    return np.stack(states)


def _lanelets(network: RoadNetwork) -> list[Any]:
    """One for each lane, numbered from 1."""
    from commonroad.scenario.lanelet import Lanelet, LaneletType, LineMarking

    lanes = network.lanes_dict()
    number = {index: k for k, index in enumerate(lanes, 1)}

    def marking(lane: AbstractLane, side: int) -> Any:
        return LineMarking[MARKINGS.get(LINES.get(lane.line_types[side], ""), "NO_MARKING")]

    lanelets = []
    for (start, end, k), lane in lanes.items():
        along = np.linspace(0.0, lane.length, 2 if type(lane) is StraightLane else CURVE)
        left, centre, right = (
            _turned(np.array([lane.position(s, side * lane.width_at(s) / 2) for s in along])) for side in (-1, 0, 1)
        )
        beside = [number.get((start, end, k + side)) for side in (-1, 1)]
        lanelets.append(
            Lanelet(
                left,
                centre,
                right,
                number[start, end, k],
                predecessor=[number[index] for index in lanes if index[1:] == (start, k)],
                successor=[number[index] for index in lanes if index[0] == end and index[2] == k],
                adjacent_left=beside[0],
                adjacent_left_same_direction=True if beside[0] else None,
                adjacent_right=beside[1],
                adjacent_right_same_direction=True if beside[1] else None,
                line_marking_left_vertices=marking(lane, 0),
                line_marking_right_vertices=marking(lane, 1),
                lanelet_type={LaneletType.UNKNOWN},
            )
        )
    return lanelets


def _turned(points: np.ndarray) -> np.ndarray:
    """Points (n, 2) with y to the left."""
    return points * (1.0, -1.0)


def _present(states: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The first step, and the states (n, …), of each part of a vehicle's trajectory (T', …) in which it is there."""
    there = np.abs(states[:, 0]) < PRESENT
    edges = np.flatnonzero(np.diff(there, prepend=False, append=False))
    for first, end in edges.reshape(-1, 2).tolist():
        if end - first > 1:
            yield first, states[first:end]


def _obstacle(number: int, states: np.ndarray, first: int, size: np.ndarray, dt: float) -> Any:
    """A car with a trajectory (n, 4 or more), n > 1, that begins at step `first`."""
    from commonroad.geometry.obstacle_shapes.rect_obstacle_shape import RectObstacleShape
    from commonroad.prediction.prediction import TrajectoryPrediction
    from commonroad.scenario.obstacle import DynamicObstacle, ObstacleType
    from commonroad.scenario.state import CustomState, InitialState
    from commonroad.scenario.trajectory import Trajectory

    position, heading, speed = _turned(states[:, :2]), wrap_to_pi(-states[:, 2]), states[:, 3]
    ahead = np.diff(position, axis=0)
    course = np.arctan2(ahead[:, 1], ahead[:, 0])
    forward = np.where(speed[:-1] < 0, np.pi, 0.0)
    slip = np.where(np.abs(speed[:-1]) < MOVING, 0.0, wrap_to_pi(course - heading[:-1] - forward))
    rates = slip, wrap_to_pi(np.diff(heading)) / dt, np.diff(speed) / dt
    slips, yaw_rates, accelerations = (np.append(rate, rate[-1]) for rate in rates)  # until the next state
    fields = [
        {
            "time_step": first + k,
            "position": position[k],
            "orientation": float(heading[k]),
            "velocity": float(speed[k]),
            "acceleration": float(accelerations[k]),
            "yaw_rate": float(yaw_rates[k]),
            "slip_angle": float(slips[k]),
        }
        for k in range(len(states))
    ]
    shape = RectObstacleShape(width=float(size[1]), length=float(size[0]))
    trajectory = Trajectory(first + 1, [CustomState(**each) for each in fields[1:]])
    prediction = TrajectoryPrediction(trajectory, shape)
    return DynamicObstacle(number, ObstacleType.CAR, shape, InitialState(**fields[0]), prediction)


def _encoded(written: Any, source: str, path: Path) -> bytes:
    """The content of the file `path`."""
    # Not `commonroad.common.file_writer`: that requires a protobuf too old for Ray.
    from commonroad.common.writer.file_writer_interface import OverwriteExistingFile
    from commonroad.common.writer.file_writer_xml import XMLFileWriter
    from commonroad.scenario.scenario import Tag

    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")  # for commonroad-io writes to files alone
    about = {"author": "infogail", "affiliation": "", "source": source, "tags": {Tag.SIMULATED}}
    writer = XMLFileWriter(written, None, **about, decimal_precision=DECIMALS)
    try:
        writer.write_scenario_to_file(str(draft), OverwriteExistingFile.ALWAYS)
        return draft.read_bytes()
    finally:
        draft.unlink(missing_ok=True)
