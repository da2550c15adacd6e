"""Drivers that do not learn, in the place of followers: what is fitted, and to whom."""

from dataclasses import replace

import numpy as np
import pytest
from follow_world import STEPS, follow_leaders, save_world, steady_world, world_of

from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.following import Follow
from infogail.evaluation.episodes import run_episode
from infogail.evaluation.following import Scenes, closeness, judge_peers, people_to_judge
from infogail.evaluation.following_peers import (
    HIGHEST,
    IDM,
    LOWEST,
    RATE,
    WINDOW,
    ConstantSpeed,
    Person,
    fitted,
    squared_errors,
    windows,
)
from infogail.evaluation.peers import Parameters

HEADWAYS = np.array([0.8, 2.2] * 4)  # [s] of the eight made-up drivers
JUDGED = np.arange(4, 8)


@pytest.fixture(scope="module")
def world():
    """Eight intelligent drivers of two kinds, four of them to learn from."""
    return world_of(follow_leaders(8), 4)


@pytest.fixture(scope="module")
def models(world):
    return fitted(world, np.arange(4), world, JUDGED, 2)


def test_windows_of_a_part():
    """They end within the part, or where the next begins; 401 states have one in each half."""
    world = steady_world([np.full(states, 20.0) for states in (401, 701)])
    assert windows(world, np.array([0]), (0.5, 1.0), WINDOW).tolist() == [[0, 200]]
    assert windows(world, np.array([0]), (0.0, 0.5), 50).tolist() == [[0, 0]]
    assert windows(world, np.array([1]), (0.5, 1.0), WINDOW).tolist() == [[1, 401 + 350]]
    assert windows(world, np.array([1]), (0.0, 0.5), 50).tolist() == [[1, 401 + start] for start in (0, 50, 100, 150)]
    assert windows(world, np.array([0, 1]), (0.0, 1.0), WINDOW).tolist() == [
        *([0, start] for start in (0, 200)),
        *([1, 401 + start] for start in (0, 200, 400)),
    ]
    assert windows(world, np.array([], np.int64), (0.0, 1.0), WINDOW).shape == (0, 2)


def test_parameters_of_intelligent_drivers_are_found(models):
    """Of 1500 sets in five dimensions, one is near; the time headway is what positions tell best."""
    own, kinds, pooled = (models[name].parameters[JUDGED] for name in ("own_idm", "k_idm", "pooled_idm"))
    assert own[:, 1] == pytest.approx(HEADWAYS[JUDGED], abs=0.35)
    assert kinds[:, 1] == pytest.approx(HEADWAYS[JUDGED], abs=0.35)
    assert len(np.unique(kinds, axis=0)) == 2 and (kinds[::2] == kinds[0]).all() and (kinds[1::2] == kinds[1]).all()
    assert len(np.unique(pooled, axis=0)) == 1 and 1.0 < pooled[0, 1] < 2.0  # between the two
    for model in models.values():
        chosen = model.parameters[JUDGED]
        assert ((chosen >= LOWEST) & (chosen <= HIGHEST)).all()
        assert (model.parameters[:4] == 0).all()  # only the judged are driven for


def test_they_are_far_nearer_than_constant_speed(world, tmp_path):
    path = tmp_path / "people.safetensors"
    recording = save_world(world, path)
    peers = judge_peers(path, recording, 1, 0, 1, kinds=2)
    off = {name: numbers["position_rmse_20s"] for name, numbers in peers.items()}
    assert off["constant_speed"] > 10.0 and off["own_idm"] < 1.5 and off["k_idm"] < 1.5
    assert off["own_idm"] < off["pooled_idm"] / 3 and off["k_idm"] < off["pooled_idm"] / 3
    assert off["pooled_idm"] < off["constant_speed"] / 2


def test_one_kind_is_the_pooled_one(world):
    models = fitted(world, np.arange(4), world, JUDGED, 1)
    np.testing.assert_array_equal(models["k_idm"].parameters, models["pooled_idm"].parameters)


def test_squared_errors_are_those_in_highway_env(world):
    sets = np.array([Parameters(30.0, 1.5, 2.0, 1.5, 2.0), Parameters(15.0, 0.5, 4.0, 0.7, 1.0)])
    scenes = Scenes.of(world, JUDGED)
    chosen = np.column_stack((scenes.driver, scenes.world.demonstration_row))
    expected, env = squared_errors(sets, world, chosen), DrivingEnv(Follow.of_world(scenes.world, WINDOW))
    assert expected.shape == (2, 4) and (expected > 0.1).all()
    for k, parameters in enumerate(sets):
        pilot = IDM(np.tile(parameters, (8, 1)))
        for window, (driver, row) in enumerate(chosen.tolist()):
            episode = run_episode(env, pilot.start(driver, row, 0), scene={"demonstration": np.float64(window)})
            assert len(episode.vehicle_states) == WINDOW + 1 and not episode.crashed
            seconds = np.arange(RATE, WINDOW + 1, RATE)
            off = episode.vehicle_states[seconds, 0, 0] - world.follower[row + seconds, 0]
            assert expected[k, window] == pytest.approx(np.mean(off**2), rel=1e-4)


def test_each_drives_by_its_own_parameters(world):
    near, far = Parameters(30.0, 0.5, 2.0, 1.0, 2.0), Parameters(30.0, 3.0, 2.0, 1.0, 2.0)
    pilot = IDM(np.array([near, far]))
    states = np.zeros((2, 2, 7))[0]
    states[:, 5], states[:, 3], states[1, 0] = (4.0, 6.0), 10.0, 35.0  # a gap of 30 m, as fast as the leader
    given = [float(pilot.start(driver, 0, 0)(np.zeros(6), states)[0]) * 5 for driver in (0, 1)]
    free = 1 - (1 / 3) ** 4
    assert given == pytest.approx([free - (7 / 30) ** 2, free - (32 / 30) ** 2], abs=1e-6)
    assert ConstantSpeed().start(1, 0, 0)(np.zeros(6), states).tolist() == [0.0]
    person = Person.of(replace(world, demonstration_row=np.array([100])), 3).start(0, 100, 0)
    actions = [float(person(np.zeros(6), states)[0]) * 5 for _ in range(3)]
    assert actions == pytest.approx(world.follower[101:104, 2].tolist(), abs=1e-6)


def test_ones_own_parameters_are_chosen_from_ones_first_half(world, models):
    """Where he drives as the others from the middle on, or at first."""
    other, states = world_of(follow_leaders(8, headways=(2.2, 0.8)), 4), np.arange(STEPS)
    assert (other.leader == world.leader).all() and (other.lengths == world.lengths).all()

    def parameters(part):
        """When the judged, in a part of their tracks, are as in the other world."""
        follower = world.follower.copy()
        for driver in JUDGED:
            rows = world.first_row[driver] + states[part]
            follower[rows] = other.follower[rows]
        found = fitted(world, np.arange(4), replace(world, follower=follower), JUDGED, 2)
        return found["own_idm"].parameters[JUDGED], found["k_idm"].parameters[JUDGED]

    for name, late, early in zip(
        ("own_idm", "k_idm"), parameters(slice(STEPS // 2 + 1, None)), parameters(slice(STEPS // 2 + 1)), strict=True
    ):
        before = models[name].parameters[JUDGED]
        np.testing.assert_array_equal(late, before)
        assert early[:, 1] == pytest.approx(HEADWAYS[JUDGED][::-1], abs=0.35)
        assert (early[:, 1] != before[:, 1]).all()


@pytest.mark.filterwarnings("error")
def test_the_shortest_track_has_its_own_parameters(world):
    """401 states: the fit sees the first 20 s."""
    rows = np.concatenate([np.arange(first, first + 401) for first in world.first_row[JUDGED]])
    short = replace(
        world,
        leader=world.leader[rows],
        follower=world.follower[rows],
        lengths=world.lengths[JUDGED],
        first_row=401 * np.arange(5),
        track=np.arange(4),
        demonstration_row=401 * np.arange(4),
        num_training=np.ones(1, np.int64),
        file=np.zeros(4, np.int64),
    )
    models = fitted(world, np.arange(4), short, np.arange(4), 2)
    for name in ("own_idm", "k_idm"):
        assert models[name].parameters[:, 1] == pytest.approx(HEADWAYS[JUDGED], abs=0.35)


def test_people_are_nearest_to_themselves(world, tmp_path):
    recording = save_world(world, tmp_path / "people.safetensors")
    scenes = people_to_judge(recording)
    assert closeness(scenes, scenes.recorded())["position_rmse"] == 0.0
    assert isinstance(recording.scenario, Follow)
