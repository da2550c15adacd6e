"""The twin's traffic against highway-env's drivers, and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

from envs.dynamics import Car
from envs.traffic import Motion, drive_in_traffic, idm_acceleration, initial_traffic

DT = 1 / 15
ROWS = (*Car._fields, "target_lane", "timer")


class Scenes:
    """The same scenes for the twin and for highway-env."""

    def __init__(self, traffic: np.ndarray, target_speed: np.ndarray, delta: np.ndarray, lanes: int):
        self.traffic, self.lanes = torch.tensor(traffic), lanes
        self.target_speed, self.delta = torch.tensor(target_speed), torch.tensor(delta)
        self.roads = [self._road(b) for b in range(traffic.shape[2])]

    def _road(self, b: int) -> Road:
        road = Road(RoadNetwork.straight_road_network(self.lanes, speed_limit=30))
        for k, row in enumerate(self.traffic[:, :, b].T.tolist()):
            x, y, heading, speed, acceleration, impact_x, impact_y, crashed, struck, target_lane, timer = row
            if k == 0:
                car = Vehicle(road, [x, y], heading, speed)
            else:
                target_speed = self.target_speed[k, b].item()
                car = IDMVehicle(road, [x, y], heading, speed, ("0", "1", int(target_lane)), target_speed, timer=timer)
                car.DELTA = self.delta[k, b].item()
            car.action = {"steering": 0, "acceleration": acceleration}
            car.crashed, car.impact = bool(crashed), np.array([impact_x, impact_y]) if struck else None
            road.vehicles.append(car)
        return road

    def reference_step(self, acceleration: np.ndarray, steering: np.ndarray) -> Tensor:
        """One physics step of highway-env; what becomes of the traffic, (11, V, B)."""
        for road, a, s in zip(self.roads, acceleration, steering, strict=True):
            road.vehicles[0].act({"acceleration": a, "steering": s})
            road.act()
            road.step(DT)
        return torch.tensor(np.transpose([[fields(car) for car in road.vehicles] for road in self.roads]))

    def twin_step(self, traffic: Tensor, acceleration: np.ndarray, steering: np.ndarray, steps: int = 1) -> Tensor:
        commands = torch.tensor(acceleration).to(traffic), torch.tensor(steering).to(traffic)
        drivers = self.target_speed.to(traffic), self.delta.to(traffic)
        return drive_in_traffic(traffic, *commands, *drivers, self.lanes, DT, steps)


def fields(car: Vehicle) -> list[float]:
    impact = (0.0, 0.0) if car.impact is None else car.impact
    mind = (car.target_lane_index[2], car.timer) if isinstance(car, IDMVehicle) else (np.nan, np.nan)
    flags = car.crashed, car.impact is not None
    return [*map(float, (*car.position, car.heading, car.speed, car.action["acceleration"], *impact, *flags, *mind))]


def random_scenes(count: int, lanes: int, seed: int, size: int = 20, grid: float = 0.0) -> Scenes:
    """Traffic from calm to wild, so dense that all that can happen does; x on multiples of `grid` [m], if that is set.

    Every third scene has wrecks and pending impacts, drifting vehicles and all speeds; the others are orderly.
    """
    rng = np.random.default_rng(seed)
    shape = size, count
    wild = np.arange(count) % 3 == 0
    lane = rng.integers(0, lanes, shape)
    x = rng.uniform(100, 100 + size / lanes * rng.uniform(8, 30, count), shape)
    if grid:
        x = np.round(x / grid) * grid
    y = 4.0 * lane + np.where(wild, rng.normal(0, 1.5, shape), rng.normal(0, 0.4, shape))
    heading = rng.normal(0, np.where(wild, 0.15, 0.02), shape)
    speed = np.where(wild, rng.uniform(0, 42, shape), rng.uniform(18, 26, shape))
    crashed, struck = (wild & (rng.random(shape) < 0.06) for _ in range(2))
    impact = rng.uniform(-0.5, 0.5, (2, *shape)) * struck
    changes = rng.random(shape) < 0.3
    target_lane = np.clip(lane + changes * rng.choice([-1, 1], shape), 0, lanes - 1)
    timer = rng.uniform(0.01, 1.1, shape)
    none = np.zeros(shape)
    traffic = np.stack((x, y, heading, speed, none, *impact, crashed, struck, target_lane, timer))
    target_speed = rng.uniform(15, 35, shape)
    target_speed[0] = 0
    return Scenes(traffic, target_speed, rng.uniform(*IDMVehicle.DELTA_RANGE, shape), lanes)


def random_commands(count: int, rng: np.random.Generator) -> np.ndarray:
    """Acceleration and steering (2, count)."""
    return rng.uniform([[-5.0], [-0.05]], [[5.0], [0.05]], (2, count))


def assert_same(twin: Tensor, reference: Tensor, atol: float = 1e-9) -> None:
    for name, ours, theirs in zip(ROWS, twin, reference, strict=True):
        mind = slice(1 if name in ("target_lane", "timer") else 0, None)  # the ego has none
        np.testing.assert_allclose(ours[mind], theirs[mind], rtol=0, atol=atol, err_msg=name)


def happened(before: Tensor, after: Tensor, lanes: int) -> dict[str, int]:
    """How many lane changes were begun and aborted in a step, how many vehicles crashed or were struck."""
    (y, target), new = before[[1, 9], 1:].numpy(), after[9, 1:].numpy()
    lane = np.clip(np.ceil(y / 4 - 0.5), 0, lanes - 1)
    begun = (target == lane) & (new != lane)
    x, begun_x = before[0, 1:].numpy(), np.where(begun, before[0, 1:].numpy(), np.nan)
    follows = (lane[None] == new[:, None]) & (x[None] < begun_x[:, None]) & (x[None] > begun_x[:, None] - 20)
    return {
        "begun": int(begun.sum()),
        "cut in": int(follows.any(1).sum()),
        "aborted": int(((target != lane) & (new == lane)).sum()),
        "crashed": int((after[7] > before[7]).sum()),
        "struck": int((after[8] > 0).sum()),
    }


@pytest.mark.parametrize("lanes", [3, 4])
@pytest.mark.parametrize(("count", "steps"), [(25, 20), pytest.param(250, 60, marks=pytest.mark.slow)])
def test_traffic_drives_as_highway_envs_does(lanes: int, count: int, steps: int):
    scenes, rng = random_scenes(count, lanes, seed=lanes), np.random.default_rng(0)
    traffic, events = scenes.traffic, []
    for _ in range(steps):
        commands = random_commands(count, rng)
        after = scenes.twin_step(traffic, *commands)
        reference = scenes.reference_step(*commands)
        assert_same(after, reference)
        events.append(happened(traffic, after, lanes))
        reference[9:, 0] = 0
        traffic = reference
    totals = {name: sum(event[name] for event in events) for name in events[0]}
    print(totals)
    assert all(total >= 10 for total in totals.values()), totals
