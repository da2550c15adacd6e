"""What happened in an episode of any highway-env environment, physics step by physics step, and what it amounts to.

Numbers are read from the cars' motion alone, by geometry, so that they mean the same for every planner:

- **Time to collision** is when two cars, as boxes along the planner's heading, would touch if both kept their velocity.
- **Hard braking** is an acceleration below -3 m/s², of the planner or of the car behind it in its lane.
- **Fault**: the car behind is at fault for a rear-end collision, unless the car in front had entered its lane within
  `CUT_IN` at a gap below the safe distance of Responsibility-Sensitive Safety (Shalev-Shwartz, Shammah and Shashua,
  arXiv:1708.06374). In a collision side by side, the car that was further from its lane's centre, or further turned
  from its direction, is at fault. Leaving the road and hitting an obstacle are the planner's fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from highway_env.utils import wrap_to_pi
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.scenarios.safety import safe_distance
from infogail.evaluation.metrics import HARD_BRAKE, MAX_TIME_TO_COLLISION

CUT_IN = 2.0  # [s]
BEHIND = 50.0  # [m]: a car further behind does not brake for the planner
NEAR = 100.0  # [m]
ABSENT = -1
"""In place of a lane: the car is not there."""


@dataclass(frozen=True)
class Trace:
    """An episode with N physics steps and V vehicles, the planner's first; NaN while a vehicle is not there."""

    states: np.ndarray
    """(N + 1, V, 4): x [m], y [m], heading [rad], speed [m/s]"""
    offsets: np.ndarray
    """(N + 1, V, 2): distance from the centre of its lane [m], and heading relative to it [rad]"""
    lanes: np.ndarray
    """(N + 1, V) int64: index into `roads`, or `ABSENT`"""
    roads: list[tuple[Any, Any, int | None]]
    """highway-env's indices of lanes: start, end, number"""
    crashed: np.ndarray
    """(N + 1, V) bool"""
    off_road: np.ndarray
    """(N + 1,) bool: the planner is beside the road"""
    sizes: np.ndarray
    """(V, 2) [m]: length and width"""
    codes: list[int | None]
    """(V,): of drivers that have one"""
    dt: float
    """[s] of a physics step"""


class Witness:
    """Records the vehicles of a highway-env environment from now on, at every physics step."""

    def __init__(self, env: Any) -> None:
        self.env, self.road = env, env.road
        self.dt = 1 / env.config["simulation_frequency"]
        self.vehicles: dict[Vehicle, int] = {env.vehicle: 0}
        self.roads: dict[Any, int] = {}
        self.rows: list[list[tuple[int, float, float, float, float, float, float, int, bool]]] = []
        self.off_road: list[bool] = []
        step = self.road.step

        def recorded(dt: float) -> None:
            step(dt)
            self._record()

        self.road.step = recorded  # of this road alone: its environment steps it several times per decision
        self._record()

    def _record(self) -> None:
        row = []
        for vehicle in self.road.vehicles:
            number = self.vehicles.setdefault(vehicle, len(self.vehicles))
            along, aside = vehicle.lane.local_coordinates(vehicle.position)
            turned = wrap_to_pi(vehicle.heading - vehicle.lane.heading_at(along))
            lane = self.roads.setdefault(vehicle.lane_index, len(self.roads))
            x, y = vehicle.position
            row.append((number, x, y, vehicle.heading, vehicle.speed, aside, turned, lane, vehicle.crashed))
        self.rows.append(row)
        self.off_road.append(not self.env.vehicle.on_road)

    def trace(self) -> Trace:
        """What was recorded so far."""
        shape = len(self.rows), len(self.vehicles)
        numbers = np.full((*shape, 6), np.nan)
        lanes, crashed = np.full(shape, ABSENT), np.zeros(shape, bool)
        for k, row in enumerate(self.rows):
            seen = np.array([each[0] for each in row])
            numbers[k, seen] = [each[1:7] for each in row]
            lanes[k, seen] = [each[7] for each in row]
            crashed[k, seen] = [each[8] for each in row]
        sizes = np.array([(vehicle.LENGTH, vehicle.WIDTH) for vehicle in self.vehicles])
        codes = [getattr(vehicle, "code", None) for vehicle in self.vehicles]
        off_road, roads = np.array(self.off_road), list(self.roads)
        return Trace(numbers[..., :4], numbers[..., 4:], lanes, roads, crashed, off_road, sizes, codes, self.dt)


def time_to_collision(trace: Trace) -> np.ndarray:
    """(N + 1,) [s]: to the first collision of the planner with any car, at most `MAX_TIME_TO_COLLISION`; 0 in one."""
    ego, others = trace.states[:, :1], trace.states[:, 1:]
    if not others.shape[1]:
        return np.full(len(ego), MAX_TIME_TO_COLLISION)
    cos, sin = np.cos(ego[..., 2]), np.sin(ego[..., 2])

    def along(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack((x * cos + y * sin, y * cos - x * sin), -1)

    away = along(others[..., 0] - ego[..., 0], others[..., 1] - ego[..., 1])  # (N + 1, V - 1, 2)
    velocity = along(*(others[..., 3] * trig(others[..., 2]) for trig in (np.cos, np.sin)))
    velocity[..., 0] -= ego[..., 3]
    turned = others[..., 2] - ego[..., 2]
    size, own = trace.sizes[1:], trace.sizes[0]
    length = abs(np.cos(turned)) * size[:, 0] + abs(np.sin(turned)) * size[:, 1]
    width = abs(np.sin(turned)) * size[:, 0] + abs(np.cos(turned)) * size[:, 1]
    reach = np.stack((length + own[0], width + own[1]), -1) / 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        edges = np.stack((-reach - away, reach - away)) / velocity
        still = np.where(abs(away) < reach, np.inf, np.nan)  # at equal velocities: always or never beside each other
        enters, leaves = np.sort(edges, axis=0)
        enters = np.where(velocity == 0, -still, enters).max(-1)
        leaves = np.where(velocity == 0, still, leaves).min(-1)
    meets = (enters <= leaves) & (leaves >= 0)  # NaN, of a car that is not there, compares as false
    times = np.where(meets, np.maximum(enters, 0.0), MAX_TIME_TO_COLLISION)
    return times.min(1).clip(max=MAX_TIME_TO_COLLISION)


def until(trace: Trace) -> int:
    """The physics step at which the planner crashes, or the last one."""
    crashed = trace.crashed[:, 0]
    return int(crashed.argmax()) if crashed.any() else len(crashed) - 1


def followers(trace: Trace) -> np.ndarray:
    """(N + 1,) int64: the car behind the planner in its lane, within `BEHIND`; 0 if there is none."""
    ego, others = trace.states[:, :1], trace.states[:, 1:]
    dx, dy = (others[..., k] - ego[..., k] for k in range(2))
    ahead = dx * np.cos(ego[..., 2]) + dy * np.sin(ego[..., 2])
    behind = (trace.lanes[:, 1:] == trace.lanes[:, :1]) & (ahead < 0) & (ahead > -BEHIND)
    distance = np.where(behind, -ahead, np.inf)
    return np.where(behind.any(1), distance.argmin(1) + 1, 0) if distance.shape[1] else np.zeros(len(ego), int)


def brakes_hard(trace: Trace) -> tuple[bool, bool]:
    """Whether the planner brakes hard before any crash, and whether a car behind it does."""
    end = until(trace)
    hard = np.diff(trace.states[: end + 1, :, 3], axis=0) / trace.dt < HARD_BRAKE - 1e-6
    hard &= ~trace.crashed[1 : end + 1]
    behind = followers(trace)[:end]
    pressed = hard[np.arange(end), behind] & (behind > 0)
    return bool(hard[:, 0].any()), bool(pressed.any())


def lane_changes(trace: Trace) -> int:
    """How often the planner enters another lane of the same road."""
    return len(entries(trace, 0))


def entries(trace: Trace, vehicle: int) -> list[int]:
    """Physics steps at which a vehicle enters another lane of the same road."""
    lanes = trace.lanes[: until(trace) + 1, vehicle]
    changed = np.flatnonzero((lanes[1:] != lanes[:-1]) & (lanes[1:] != ABSENT) & (lanes[:-1] != ABSENT)) + 1
    return [k for k in changed.tolist() if trace.roads[lanes[k]][:2] == trace.roads[lanes[k - 1]][:2]]


def struck(trace: Trace) -> int:
    """The vehicle that the planner collides with; 0 if it is an obstacle, or there is none."""
    end = until(trace)
    crashed = trace.crashed[end].copy()
    if not crashed[0]:
        return 0
    crashed[0] = False
    distances = np.linalg.norm(trace.states[end, :, :2] - trace.states[end, 0, :2], axis=-1)
    touching = crashed & (distances < np.hypot(*(trace.sizes + trace.sizes[0]).T) / 2 + 1.0)
    return int(np.where(touching, distances, np.inf).argmin()) if touching.any() else 0


def at_fault(trace: Trace) -> bool:
    """Whether the planner is to blame for its crash, see the rules above; false if it does not crash."""
    end = until(trace)
    if not trace.crashed[end, 0]:
        return False
    other = struck(trace)
    if not other:
        return True
    before = max(end - 1, 0)  # a collision moves cars apart, and turns nothing
    ego, hit = trace.states[before, [0, other]]
    ahead = (hit[:2] - ego[:2]) @ (np.cos(ego[2]), np.sin(ego[2]))
    overlap = (trace.sizes[0, 0] + trace.sizes[other, 0]) / 2
    if abs(ahead) < overlap - 0.5 * trace.sizes[0, 0]:  # side by side

        def astray(vehicle: int) -> float:
            aside, turned = abs(trace.offsets[before, vehicle])
            return float(aside + trace.sizes[vehicle, 0] * np.sin(min(turned, np.pi / 2)))

        return astray(0) >= astray(other)
    front, rear = (other, 0) if ahead > 0 else (0, other)
    cut_in = cuts_in(trace, front, rear, end)
    return (front == 0) if cut_in else (rear == 0)


def cuts_in(trace: Trace, front: int, rear: int, end: int) -> bool:
    """Whether `front` entered the lane of `rear` within `CUT_IN` before step `end`, at less than a safe distance."""
    first = end - round(CUT_IN / trace.dt)
    for k in reversed(entries(trace, front)):
        if k < first:
            break
        if trace.lanes[k, front] == trace.lanes[k, rear]:
            a, b = trace.states[k, [front, rear]]
            gap = np.linalg.norm(a[:2] - b[:2]) - trace.sizes[[front, rear], 0].mean()
            return bool(gap < safe_distance(b[3], a[3]))
    return False
