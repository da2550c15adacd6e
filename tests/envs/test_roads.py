"""Road coordinates and road exits against highway-env's own lanes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from highway_env.road.road import Road
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.catalogue import get_scenario
from infogail.envs.physics.roads import LANE_WIDTH, bend_coordinates, bend_network, straight_network

BENDS = [(radius, direction) for radius in (25.0, 33.0, 40.0) for direction in (-1.0, 1.0)]


@pytest.mark.parametrize(("radius", "direction"), BENDS)
def test_bend_coordinates_are_those_of_the_lanes(radius, direction):
    network = bend_network(radius, direction, 60.0, [0.0])
    rng = np.random.default_rng(0)
    arc = radius * math.pi / 2
    # Where each part of the road begins, counted as `bend_coordinates` does.
    for (start, end), begin in {("start", "bend"): -60.0, ("bend", "exit"): 0.0, ("exit", "end"): arc}.items():
        lane = network.get_lane((start, end, 0))
        for along, right in zip(rng.uniform(0.01, lane.length - 0.01, 200), rng.uniform(-5, 5, 200), strict=True):
            position = lane.position(along, right)
            distance, inside, turned = bend_coordinates(*position, np.float64(radius), np.float64(direction))
            lane_along, lane_right = lane.local_coordinates(position)
            np.testing.assert_allclose(distance, begin + lane_along, rtol=0, atol=1e-9)
            np.testing.assert_allclose(inside, direction * lane_right, rtol=0, atol=1e-9)
            np.testing.assert_allclose(direction * turned, lane.heading_at(along), rtol=0, atol=1e-9)


def test_bend_coordinates_by_hand():
    # Radius 30 m, toward positive y. The middle of the arc is at 45°: x = 30 sin 45°, y = 30 (1 - cos 45°); 2 m nearer
    # the centre (0, 30) it is at 28 m. Then 10 m beyond the bend, 1 m outside: x = 31, y = 30 + 10.
    s = math.sqrt(0.5)
    x, y = np.array([-12.0, 28 * s, 31.0]), np.array([0.5, 30 - 28 * s, 40.0])
    distance, inside, turned = bend_coordinates(x, y, np.full(3, 30.0), np.ones(3))
    np.testing.assert_allclose(distance, [-12.0, 7.5 * math.pi, 15 * math.pi + 10], rtol=0, atol=1e-12)
    np.testing.assert_allclose(inside, [0.5, 2.0, -1.0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(turned, [0.0, math.pi / 4, math.pi / 2], rtol=0, atol=1e-12)


def places(scenario: str, scene: dict, rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Positions and the road's heading there, on the road and up to 3 m beside it."""
    if scenario == "pass":
        lane, half = straight_network(-600.0, 1000.0, [0.0]).get_lane(("start", "end", 0)), 1.5 * LANE_WIDTH
        lanes = [lane] * 3
    else:
        network = bend_network(float(scene["radius"]), float(scene["direction"]), 60.0, [0.0])
        lanes, half = (
            [network.get_lane(part) for part in (("start", "bend", 0), ("bend", "exit", 0), ("exit", "end", 0))],
            LANE_WIDTH,
        )
    spots = []
    for lane in lanes:
        for along, right in zip(rng.uniform(0, lane.length, 60), rng.uniform(-half - 3, half + 3, 60), strict=True):
            spots.append((lane.position(along, right), lane.heading_at(along)))
    return spots


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_off_road_is_where_highway_env_finds_no_lane(scenario):
    task, rng = get_scenario(scenario), np.random.default_rng(1)
    outside = total = 0
    for _ in range(5):
        scene = {
            name: np.float64(rng.choice([d.low, d.high]) if d.only_ends else rng.uniform(d.low, d.high))
            for name, d in task.draws.items()
        }
        road = Road(task.road_network(scene))
        for position, heading in places(scenario, scene, rng):
            states = np.zeros((task.num_vehicles, 4))
            states[0] = (*position, heading, 10.0)
            vehicle = Vehicle(road, position, heading, 10.0)
            assert bool(task.off_road(states, scene)) == (not vehicle.on_road), position
            outside, total = outside + (not vehicle.on_road), total + 1
    assert 0.2 * total < outside < 0.8 * total
