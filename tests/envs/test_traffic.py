"""The twin's traffic against highway-env's drivers, and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

from infogail.envs.physics.dynamics import Car
from infogail.envs.physics.traffic import drive_in_traffic, initial_lane_traffic, lane_at

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
                car = IDMVehicle(road, [x, y], heading, speed, ("0", "1", int(target_lane)), target_speed)
                car.timer, car.DELTA = timer, self.delta[k, b].item()
            car.action = {"steering": 0, "acceleration": acceleration}
            car.crashed, car.impact = bool(crashed), np.array([impact_x, impact_y]) if struck else None
            road.vehicles.append(car)
        return road

    def reference_step(self, acceleration: np.ndarray, steering: np.ndarray, steps: int = 1) -> Tensor:
        """highway-env's physics, one command to the ego for all steps; what becomes of the traffic, (11, V, B)."""
        for road, a, s in zip(self.roads, acceleration, steering, strict=True):
            road.vehicles[0].act({"acceleration": a, "steering": s})
            for _ in range(steps):
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
    heading = np.where(wild & (rng.random(shape) < 0.1), rng.uniform(-np.pi, np.pi, shape), heading)
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
    follows = (lane[None] == new[:, None]) & (x[None] < begun_x[:, None]) & (x[None] > begun_x[:, None] - 40)
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
    assert all(total >= 5 for total in totals.values()), totals


@pytest.mark.parametrize("lanes", [3, 4])
def test_vehicles_exactly_side_by_side(lanes: int):
    """highway-env's list order decides who of them is in front and behind."""
    scenes, rng = random_scenes(200, lanes, seed=10 + lanes, grid=5.0), np.random.default_rng(0)
    x, y = scenes.traffic[:2]
    together = (x[:, None] == x[None]) & ((y[:, None] - y[None]).abs() < 2)
    assert (together.sum(1) >= 3).sum() > 100  # three on one lane, or between two
    commands = random_commands(200, rng)
    assert_same(scenes.twin_step(scenes.traffic, *commands), scenes.reference_step(*commands))


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_traffic_left_to_itself_takes_the_same_course(lanes: int):
    """20 decisions of 3 physics steps, each physics on its own."""
    scenes, rng = random_scenes(8, lanes, seed=20 + lanes, size=12), np.random.default_rng(1)
    traffic = scenes.traffic
    for _ in range(20):
        commands = random_commands(8, rng)
        traffic = scenes.twin_step(traffic, *commands, steps=3)
        assert_same(traffic, scenes.reference_step(*commands, steps=3), atol=1e-8)


def scene_of(*cars: tuple[float, float, float, float], target_speed: float = 30.0, timer: float = 0.0) -> Scenes:
    """One scene of `cars` = (x, y, speed, target lane), the ego first, on two lanes."""
    traffic = np.zeros((len(ROWS), len(cars), 1))
    for k, (x, y, speed, target_lane) in enumerate(cars):
        traffic[[0, 1, 3, 9, 10], k, 0] = x, y, speed, target_lane, timer
    target_speeds = np.full((len(cars), 1), target_speed)
    target_speeds[0] = 0
    return Scenes(traffic, target_speeds, np.full((len(cars), 1), 4.0), lanes=2)


STAY = np.zeros(1), np.zeros(1)
FAR = (9000.0, 0.0, 0.0, 0)


def test_idm_by_hand():
    # 20 m/s of a desired 25: 1 - 0.8⁴ = 0.5904. The gap desired to a car at 15 m/s, 50 m ahead: 5 + 5 m for standing,
    # 1.5 s · 20 m/s = 30 m for the time, and 20 · 5 / (2 √(3 · 5)) = 12.909944 m for closing in: 52.909944 m in all,
    # whose ratio to 50 m, squared, is 1.1197849. Acceleration 3 (0.5904 - 1.1197849) = -1.5881547 m/s².
    # The one in front sees nobody: 3 (1 - 0.6⁴) = 2.6112 m/s².
    scene = scene_of((50, 0, 0, 0), (100, 0, 20, 0), (150, 0, 15, 0), target_speed=25.0)
    after = scene.twin_step(scene.traffic, *STAY)
    np.testing.assert_allclose(after[4, 1:, 0], [-1.5881547, 2.6112], rtol=0, atol=1e-7)
    np.testing.assert_allclose(after[3, 1:, 0], [20 - 1.5881547 / 15, 15 + 2.6112 / 15], rtol=0, atol=1e-8)


def test_steering_by_hand():
    # 0.6 m right of the centre: 1 m/s to the left is wanted, at 10 m/s the heading whose sine is -0.1, and the heading
    # is to come there in 0.2 s, so it turns by a third of that in 1/15 s.
    scene = scene_of(FAR, (100, 4.6, 10, 1))
    after = scene.twin_step(scene.traffic, *STAY)
    np.testing.assert_allclose(after[2, 1], np.arcsin(-0.1) / 3, rtol=0, atol=1e-12)


def test_aborting_makes_way_for_those_later_in_the_list():
    # Three at 10 m/s, 20 m apart, all from lane 0 to lane 1; the desired gap is 10 + 1.5 · 10 = 25 m. The middle one is
    # behind the first and goes back. Whether the last one still sees it changing depends on who decides first.
    last, middle, first = (100, 0, 10, 1), (120, 0, 10, 1), (140, 0, 10, 1)
    for cars, expected in (((middle, last, first), [0, 1, 1]), ((last, middle, first), [0, 0, 1])):
        scene = scene_of(FAR, *cars)
        after = scene.twin_step(scene.traffic, *STAY)
        assert after[9, 1:, 0].tolist() == expected
        assert_same(after, scene.reference_step(*STAY))


@pytest.mark.parametrize(("ego_speed", "target_lane"), [(20.0, 0), (0.0, 1)])
def test_nobody_cuts_in_before_a_moving_ego(ego_speed: float, target_lane: int):
    # Behind a car that stands, with the other lane free but for the ego 60 m back. The ego has no target speed, so IDM
    # has it brake hard whenever it moves, as though for the one that would cut in.
    scene = scene_of((100, 4, ego_speed, 1), (160, 0, 20, 0), (200, 0, 0, 0), timer=1.01)
    after = scene.twin_step(scene.traffic, *STAY)
    assert after[9, 1, 0] == target_lane
    assert_same(after, scene.reference_step(*STAY))


@pytest.mark.parametrize(("y", "target_lane"), [(-3.9, 1), (-4.1, 0)])
def test_a_lane_more_than_8_m_away_is_out_of_reach(y: float, target_lane: int):
    scene = scene_of(FAR, (160, y, 20, 0), (200, 0, 0, 0), timer=1.01)
    after = scene.twin_step(scene.traffic, *STAY)
    assert after[9, 1, 0] == target_lane
    assert_same(after, scene.reference_step(*STAY))


def test_initial_traffic_is_as_idm_vehicles_start():
    states = random_scenes(30, 4, seed=3).traffic[:4]
    traffic = initial_lane_traffic(states, lanes=4)
    road = Road(RoadNetwork.straight_road_network(4, speed_limit=30))
    reference = [
        [fields(IDMVehicle(road, s[:2], s[2], s[3])) for s in scene] for scene in states.permute(2, 1, 0).numpy()
    ]
    np.testing.assert_allclose(traffic, np.transpose(reference), rtol=0, atol=1e-12)


def test_half_way_between_two_lanes_it_is_the_lower():
    y = torch.tensor([-9.0, 2.0, 2.001, 6.0, 5.999, 10.0, 10.001, 30.0])
    assert lane_at(y, 4).tolist() == [0, 0, 1, 1, 1, 2, 3, 3]


def test_an_environment_does_not_see_the_others():
    mine, others, rng = random_scenes(60, 4, seed=5), random_scenes(60, 4, seed=6), np.random.default_rng(2)
    commands, other_commands = random_commands(60, rng), random_commands(60, rng)
    among_mine = mine.twin_step(mine.traffic, *commands, steps=30)
    for k in (0, 7):  # a wild one and an orderly one
        for a, b in (
            (others.traffic, mine.traffic),
            (others.target_speed, mine.target_speed),
            (others.delta, mine.delta),
            (other_commands, commands),
        ):
            a[..., k] = b[..., k]
    among_others = others.twin_step(others.traffic, *other_commands, steps=30)
    for k in (0, 7):
        torch.testing.assert_close(among_others[..., k], among_mine[..., k], rtol=0, atol=1e-9)


def test_steps_may_be_taken_one_at_a_time():
    scenes = random_scenes(30, 3, seed=7)
    scenes.traffic[3, 0] = 30.0  # above 40 m/s, highway-env overwrites the ego's command until the next is given
    before = scenes.traffic.clone()
    commands = random_commands(30, np.random.default_rng(3))
    traffic = scenes.traffic
    for _ in range(5):
        traffic = scenes.twin_step(traffic, *commands)
    assert torch.equal(traffic, scenes.twin_step(scenes.traffic, *commands, steps=5))
    assert torch.equal(scenes.traffic, before)  # and the input is not written to


def test_float32_is_close_to_float64():
    scenes, commands = random_scenes(300, 4, seed=8), random_commands(300, np.random.default_rng(4))
    single = scenes.twin_step(scenes.traffic.float(), *commands, steps=3)
    assert single.dtype == torch.float32
    error = (single - scenes.twin_step(scenes.traffic, *commands, steps=3)).abs().amax((0, 1))
    assert (error < 2e-3).double().mean() > 0.95  # elsewhere a decision was close
