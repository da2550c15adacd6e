"""The highway's definitions against scenes worked out by hand, and its worlds in both physics."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.physics.streams import named, num_rows, scene_from_uniform
from infogail.envs.physics.traffic import SPEED_LIMIT
from infogail.envs.scenarios.highway import Highway
from infogail.envs.scenarios.manners import Manners
from infogail.envs.scenarios.styles import CentroidJudge, StyleCentroids

HIGHWAY, MANNERS = Highway(), Manners()
NUMBERS = {"lanes": 4, "vehicles": 8, "density": 2.0, "policy_frequency": 3}


def states_of(*cars: tuple[float, float, float]) -> np.ndarray:
    """(V, 4) of cars straight on at (x, y, speed), the ego first."""
    return np.array([(x, y, 0.0, speed) for x, y, speed in cars])


def seen(states: np.ndarray, scenario: Highway = HIGHWAY) -> dict[str, float]:
    """The features by name; torch's are the same."""
    features = [float(feature) for feature in scenario.observe(states, {})]
    batched = torch.stack(scenario.observe(torch.tensor(np.stack((states, states))), {}), -1)
    np.testing.assert_allclose(batched, [features, features], rtol=0, atol=1e-12)
    return dict(zip(scenario.features, features, strict=True))


def drawn(scenario: Highway, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Scenes (…, count)."""
    uniform = np.random.default_rng(seed).random((num_rows(scenario.draws), count))
    return named(scenario.draws, scene_from_uniform(scenario.draws, uniform))


def make_pair(count: int, scenario: str = "highway", **numbers: Any) -> tuple[Any, Any]:
    """Twin and reference."""
    name = environment_id(scenario)
    twin = gymnasium.make_vec(name, count, vectorization_mode="vector_entry_point", dtype="float64", **numbers)
    return twin.unwrapped, gymnasium.make(name, **numbers).unwrapped


def test_features_by_hand():
    ego = (100.0, 4.5, 20.0)
    own = (130.0, 4.2, 18.0), (150.0, 4.0, 10.0), (80.0, 4.0, 25.0), (60.0, 4.0, 40.0)
    left = ((110.0, 0.0, 22.0),)
    right = (60.0, 8.0, 20.0), (250.0, 8.0, 20.0)  # the second is beyond what sensors reach
    states = states_of(ego, *own, *left, *right)
    states[0, 2] = 0.02
    features = seen(states)
    assert features == pytest.approx(
        {
            **{"lane_offset": 0.25, "heading": 0.2, "speed": 0.0, "headway": 0.625, "left_lane": 1, "right_lane": 1},
            **{"leader_present": 1, "leader_gap": 0.6, "leader_closing": 0.2},  # 30 m, 2 m/s slower
            **{"follower_present": 1, "follower_gap": 0.4, "follower_closing": 0.5},  # 20 m, 5 m/s faster
            **{"left_leader_present": 1, "left_leader_gap": 0.2, "left_leader_closing": -0.2},
            **{"left_follower_present": 0, "left_follower_gap": 2.0, "left_follower_closing": 0},
            **{"right_leader_present": 0, "right_leader_gap": 2.0, "right_leader_closing": 0},
            **{"right_follower_present": 1, "right_follower_gap": 0.8, "right_follower_closing": 0},
        }
    )


def test_who_is_between_two_lanes_is_in_both():
    features = seen(states_of((100.0, 4.0, 20.0), (120.0, 6.0, 20.0)))
    assert (features["leader_gap"], features["right_leader_gap"], features["left_leader_present"]) == (0.4, 0.4, 0)
    features = seen(states_of((100.0, 4.0, 20.0), (120.0, 7.01, 20.0)))
    assert (features["leader_present"], features["right_leader_present"]) == (0, 1)


def test_who_is_exactly_beside_leads():
    features = seen(states_of((100.0, 4.0, 20.0), (100.0, 8.0, 15.0)))
    assert (features["right_leader_present"], features["right_leader_gap"], features["right_leader_closing"]) == (
        *(1, 0, 0.5),
    )
    assert features["right_follower_present"] == 0


@pytest.mark.parametrize(
    ("y", "offset", "left", "right"),
    [(0.0, 0.0, 0, 1), (2.0, 1.0, 0, 1), (2.002, -0.999, 1, 1), (6.0, 1.0, 1, 1), (8.0, 0.0, 1, 0), (9.5, 0.75, 1, 0)],
)
def test_lanes_and_what_is_beside_them(y, offset, left, right):
    """Half-way between two lanes it is the left one."""
    features = seen(states_of((100.0, y, 20.0), (300.0, 0.0, 20.0)))
    assert (features["lane_offset"], features["left_lane"], features["right_lane"]) == pytest.approx(
        (offset, left, right)
    )


@pytest.mark.parametrize(("lanes", "inside", "outside"), [(1, (-2, 2), (-2.01, 2.01)), (3, (-2, 10), (-2.01, 10.01))])
def test_the_road_ends_where_the_outer_lanes_do(lanes, inside, outside):
    scenario = Highway(lanes=lanes)
    for ys, expected in ((inside, False), (outside, True)):
        states = np.stack([states_of((100.0, y, 20.0), (0.0, 0.0, 20.0)) for y in ys])
        assert (scenario.off_road(states, {}) == expected).all()
    assert Highway(lanes=4).lane_offset(states_of((0.0, 5.0, 0.0)), {}) == -1.0  # four lanes' middle is at y = 6 m


def test_measures_by_hand():
    # Five decisions a second; the leader, 25 m ahead on the middle lane, is 20 m from bumper to bumper.
    ego = [(4.0, 10.0), (4.0, 11.0), (6.5, 12.0), (8.0, 11.0), (8.0, 10.0), (4.0, 10.0)]
    trajectory = np.stack([states_of((100.0 + t, y, v), (125.0 + t, 4.0, 9.0)) for t, (y, v) in enumerate(ego)])
    expected = [64 / 6, (20 / 10 + 20 / 11 + 4 + 4 + 4 + 20 / 10) / 6, 4.0, 2.0]
    np.testing.assert_allclose(HIGHWAY.measure(trajectory), expected, rtol=1e-12)
    many = torch.tensor(np.stack((trajectory, trajectory[::-1]), axis=1))
    np.testing.assert_allclose(HIGHWAY.measure(many)[:, 0], expected, rtol=1e-12)
    assert Highway(policy_frequency=15).measure(trajectory)[2] == pytest.approx(12.0)


def test_headway_is_from_bumper_to_bumper_and_bounded():
    def headway(gap, speed):
        return HIGHWAY.headway(states_of((100.0, 4.0, speed), (100.0 + gap, 4.0, 20.0)))

    assert [headway(25, 20), headway(3, 20), headway(99, 20), headway(101, 40)] == [1.0, 0.0, 4.0, 4.0]
    assert headway(7, 0) == 2.0  # as at 1 m/s


def test_centroids_by_hand():
    measures = np.array([[1.0, 3.0, 10.0, 12.0], [0.0, 2.0, 5.0, 5.0]])
    centroids = StyleCentroids.of(measures, np.array([0, 0, 2, 2]))
    np.testing.assert_array_equal(centroids.means, [[2, 1], [np.inf, np.inf], [11, 5]])  # nobody is of style 1
    np.testing.assert_allclose(centroids.spread, [1.0, 0.5**0.5])
    np.testing.assert_array_equal(centroids.nearest(measures), [0, 0, 2, 2])
    assert centroids.nearest(np.array([2.0, 4.9])) == 0  # 5.5 spreads off; of style 2 it would be 9
    assert centroids.nearest(np.array([6.0, 4.9])) == 2


def test_a_measure_that_never_differs_is_no_division_by_zero():
    centroids = StyleCentroids.of(np.array([[1.0, 2.0], [3.0, 3.0]]), np.array([0, 1]))
    np.testing.assert_array_equal(centroids.nearest(np.array([[1.1, 1.9], [3.0, 3.0]])), [0, 1])


def test_a_style_is_judged_by_centroids_alone():
    trajectory = np.repeat(states_of((100.0, 4.0, 24.0), (141.0, 4.0, 24.0))[None], 61, axis=0)
    still = StyleCentroids(np.array([[24.0, 1.5, 0, 0], [12.0, 3.0, 0, 0]]), np.ones(4))
    assert CentroidJudge(HIGHWAY.measure, still)(trajectory, {}) == 0
    with pytest.raises(ValueError, match="highway: styles are judged by comparison with demonstrations; use fit_judge"):
        HIGHWAY.style(trajectory, {})


@pytest.mark.parametrize("scenario", [HIGHWAY, Highway(**NUMBERS), Highway(lanes=1, vehicles=2)])
def test_a_pack_that_drives_in_turn_and_nobody_near(scenario):
    scene = drawn(scenario, 500)
    x, y, heading, speed = scenario.initial_states(scene).swapaxes(0, 1)
    assert x.shape == (scenario.num_vehicles, 500) and (x > 0).all() and (heading == 0).all()
    assert ((speed >= 0.7 * SPEED_LIMIT) & (speed <= 0.8 * SPEED_LIMIT)).all()
    assert ((x < x[0]).sum(0) == (scenario.num_vehicles - 1) // 3).all()
    lane = y / 4
    assert (abs(lane - lane.round()) <= 0.3 / 4 + 1e-9).all() and (lane[1:] == lane[1:].round()).all()
    assert set(lane[-1]) == set(range(scenario.lanes))
    order = np.argsort(x, axis=0)
    ranked = np.take_along_axis(lane.round(), order, 0)
    assert ((ranked[1:] - ranked[:-1]) % scenario.lanes == 1 % scenario.lanes).all()
    same_lane = np.diff(np.sort(x, axis=0)[:: scenario.lanes], axis=0)
    assert same_lane.size == 0 or same_lane.min() > 15.0  # [m]


def test_density_is_how_near_they_begin():
    scenes = [Highway(density=density) for density in (1.0, 2.0)]
    extent = [np.ptp(scenario.initial_states(drawn(scenario, 100))[:, 0], axis=0) for scenario in scenes]
    np.testing.assert_allclose(extent[0], 2 * extent[1])


@pytest.mark.parametrize(
    ("numbers", "error", "told"),
    [
        ({"lanes": 0}, ValueError, "lanes must be at least 1, not 0"),
        ({"lanes": 2.5}, TypeError, "lanes must be a whole number, not 2.5"),
        ({"vehicles": 1}, ValueError, "vehicles must be at least 2, including the ego, not 1"),
        ({"density": 0.0}, ValueError, "density must be positive and finite, not 0.0"),
        ({"density": float("nan")}, ValueError, "density must be positive and finite, not nan"),
        ({"policy_frequency": 4}, ValueError, "policy_frequency must divide 15, not be 4"),
        ({"policy_frequency": 0}, ValueError, "policy_frequency must divide 15, not be 0"),
        ({"vehicles": 1000}, ValueError, "vehicles: 1000 at density 1 on 3 lanes may reach 32,645 m"),
        ({"wings": 2}, TypeError, "unexpected keyword argument 'wings'"),
    ],
)
def test_numbers_that_make_no_sense_are_named(numbers, error, told):
    for make in (
        lambda: gymnasium.make("infogail/Highway-v0", **numbers),
        lambda: gymnasium.make_vec("infogail/Highway-v0", 2, vectorization_mode="vector_entry_point", **numbers),
    ):
        with pytest.raises(error) as raised:
            make()
        assert told in str(raised.value) and "\n" not in str(raised.value)


def test_what_cannot_be_configured_or_compiled_says_so():
    with pytest.raises(TypeError, match="unexpected keyword argument 'lanes'"):
        gymnasium.make("infogail/Pass-v0", lanes=3)
    with pytest.raises(ValueError, match="compile=True: traffic as in highway cannot be compiled"):
        gymnasium.make_vec("infogail/Highway-v0", 2, vectorization_mode="vector_entry_point", compile=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("scenario", "numbers", "count"),
    [("highway", {}, 16), ("highway", NUMBERS, 8), ("highway-manners", {}, 16), ("highway-manners", NUMBERS, 8)],
)
def test_the_twin_drives_as_highway_env_does(scenario, numbers, count, dtype):
    """Whole episodes, each physics on its own: a driver may be calm, nervous, drunk, or in a hurry."""
    twin, reference = make_pair(count, scenario, **numbers)
    rng = np.random.default_rng(5)
    actions = rng.uniform(-1, 1, (60, count, 2)) * np.resize(
        [[0.1, 0.001], [1.0, 0.02], [0.3, 0.5], [0.3, 0.002]], (count, 2)
    )
    actions[:, 3::4, 0] = 1.0
    actions = actions.astype(dtype)
    obs, _ = twin.reset(seed=4)
    scene, told = twin.scene, []
    for action in actions:
        obs, reward, terminated, truncated, infos = twin.step(action)
        ended = infos.get("_final_obs", np.zeros(count, bool))
        last = np.where(ended[:, None], infos.get("final_obs", obs), obs)
        states = infos["final_info"]["vehicle_state"] if "final_info" in infos else twin.vehicle_state
        flags = np.stack((terminated, truncated, infos["crashed"], infos["off_road"]), -1).tolist()
        told.append((states, last, reward, flags))
    ends = []
    for case in range(count):
        obs, _ = reference.reset(options={"scene": {name: values[case] for name, values in scene.items()}})
        assert obs in reference.observation_space
        for action, (states, last, reward, flags) in zip(actions, told, strict=True):
            obs, reference_reward, terminated, truncated, info = reference.step(action[case])
            np.testing.assert_allclose(states[case], reference.vehicle_state, rtol=0, atol=1e-9)
            np.testing.assert_allclose(last[case], obs, rtol=0, atol=1e-5)  # the reference's is float32
            assert reward[case] == pytest.approx(reference_reward, abs=1e-9)
            assert flags[case] == [terminated, truncated, info["crashed"], info["off_road"]]
            if terminated or truncated:
                break
        ends.append((truncated, info["crashed"], info["off_road"]))
    completed, crashed, off_road = np.sum(ends, axis=0)
    assert min(completed, crashed, off_road) >= 1, ends


def test_numbers_are_those_asked_for():
    twin, reference = make_pair(5, **NUMBERS)
    twin.reset(seed=0)
    reference.reset(seed=0)
    assert twin.vehicle_state.shape == (5, 8, 4) and reference.vehicle_state.shape == (8, 4)
    assert len(reference.road.network.lanes_list()) == 4
    before = reference.vehicle_state[0, 0], twin.vehicle_state[:, 0, 0]
    reference.step(np.zeros(2))
    twin.step(np.zeros((5, 2)))
    expected = reference.vehicle_state[0, 3] / 3  # a third of a second at a constant speed
    assert reference.vehicle_state[0, 0] - before[0] == pytest.approx(expected)
    np.testing.assert_allclose(twin.vehicle_state[:, 0, 0] - before[1], twin.vehicle_state[:, 0, 3] / 3)


def test_a_state_dict_is_all_that_decides_what_comes():
    one, _ = make_pair(6)
    other, _ = make_pair(6)
    one.reset(seed=1)
    actions = np.random.default_rng(0).uniform(-1, 1, (40, 6, 2))
    for action in actions[:20]:
        one.step(action)
    state = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    other.load_state_dict(state)
    ended = 0
    for action in actions[20:]:
        (a, *_), (b, _, terminated, *_) = one.step(action), other.step(action)
        np.testing.assert_array_equal(a, b)
        ended += int(terminated.sum())
    assert ended  # and new episodes begin alike
    with pytest.raises(RuntimeError, match=r"'traffic' is torch\.float64"):
        make_pair(6, vehicles=5)[0].load_state_dict(state)


def test_nobody_else_crashes_where_the_ego_stays_away():
    """Traffic by itself is orderly: what goes wrong on this road is the ego's doing."""
    twin, _ = make_pair(64)
    twin.reset(seed=2)
    for _ in range(59):
        twin.step(np.zeros((64, 2)))
    crashed = twin.state_dict()["traffic"][7]
    assert (crashed[1:].sum(0) > crashed[0]).double().mean() < 0.05


def test_manners_observe_what_the_gap_has_beyond_a_safe_one():
    assert isinstance(get_scenario("highway-manners", density=1.0), Manners)
    assert tuple(map(str, MANNERS.styles)) == ("aggressive", "defensive")
    assert (MANNERS.lanes, MANNERS.num_vehicles) == (1, 6)
    for gap, speed, expected in (
        *((52.0, 16.0, 2.0), (50.0, 16.0, 0.0), (47.0, 16.0, -3.0), (10.0, -1.0, 0.0)),  # 10 m and 2.5 s are safe
        *((20.0, 16.0, -5.0), (60.0, 16.0, 5.0), (99.0, 40.0, -5.0), (101.0, 40.0, 5.0)),  # the last sees nobody
    ):
        states = states_of((100.0, 0.0, speed), (100.0 + gap, 0.0, 15.0), (50.0, 0.0, 15.0))
        features = seen(states, MANNERS)
        assert features.pop("margin") == pytest.approx(expected / 5.0)
        assert features == seen(states, Highway(lanes=1))
        assert MANNERS.margin(states) == pytest.approx(expected)


def test_the_measure_of_manners_by_hand():
    trajectory = np.stack(
        [states_of((100.0, 0.0, 16.0), (150.0 + margin, 0.0, 15.0)) for margin in (-4, -2, -9, 1, 2.5)]
    )
    np.testing.assert_allclose(MANNERS.measure(trajectory), [-7.5 / 5], rtol=1e-12)
    many = torch.tensor(np.stack((trajectory, trajectory[::-1]), axis=1))
    np.testing.assert_allclose(MANNERS.measure(many), [[-7.5 / 5] * 2], rtol=1e-12)
    centroids = StyleCentroids(np.array([[-3.5], [-1.3]]), np.ones(1))
    assert CentroidJudge(MANNERS.measure, centroids)(trajectory, {}) == 1


def test_manners_begin_in_a_slow_column_about_as_far_apart_as_they_mean_to_stay():
    x, y, heading, speed = MANNERS.initial_states(drawn(MANNERS, 500)).swapaxes(0, 1)
    assert ((speed >= 15.0) & (speed <= 18.0)).all() and (heading == 0).all() and (abs(y) <= 0.6).all()
    assert ((x < x[0]).sum(0) == 1).all()
    gap = np.where(x > x[0], x - x[0], np.inf).min(0)
    assert abs(np.median(gap - 10.0 - 2.5 * speed[0])) < 10.0  # [m]
