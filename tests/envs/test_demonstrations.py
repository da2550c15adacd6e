import json
import struct
from dataclasses import fields, replace

import numpy as np
import pytest

from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import InvalidDemonstrations, Recording, num_training_episodes
from infogail.envs.files import seal, unseal
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.scenario import EPISODE_STEPS

EPISODES, SCHEMA = 4, "infogail-demonstrations-2"
FLOAT8 = b'{"actions":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'


@pytest.fixture(scope="module", params=["pass", "turn"])
def recording(request):
    return record(get_scenario(request.param), EPISODES, seed=3)[0]


@pytest.fixture(scope="module")
def uneven():
    """Three episodes of 2, 3 and 1 decisions; every number is its own row's."""
    rows = np.arange(6, dtype=np.float32)
    scenario = get_scenario("turn")
    demonstrations = Demonstrations(
        scenario.spec, np.repeat(rows[:, None], 9, 1), np.stack((rows, -rows), -1) / 10, np.array([0, 2, 5, 6])
    )
    states = np.arange(9.0)[:, None, None] * np.ones((1, 1, 4))
    scenes = {name: np.array([10.0, 20.0, 30.0]) + k for k, name in enumerate(scenario.draws)}
    return Recording(scenario, demonstrations, states, scenes, np.array([0, 1, 0]))


@pytest.fixture(scope="module")
def parts(uneven, tmp_path_factory):
    """Arrays and metadata of a valid file."""
    path = tmp_path_factory.mktemp("demonstrations") / "turn.safetensors"
    uneven.save(path)
    return unseal(path, SCHEMA)


def assert_same(one, other):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Demonstrations):
            assert_same(a, b)
        else:
            np.testing.assert_equal(a, b)
            assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


def test_what_is_saved_is_what_is_loaded(recording, tmp_path):
    path = tmp_path / "a.safetensors"
    recording.save(path)
    assert_same(Recording.load(path, recording.scenario), recording)


def test_a_highways_recording_is_loaded_as_it_was_and_judged_by_its_centroids(highway_recording, tmp_path):
    path, scenario = tmp_path / "a.safetensors", highway_recording.scenario
    highway_recording.save(path)
    loaded = Recording.load(path, scenario)
    assert_same(loaded, highway_recording)
    judge = scenario.fit_judge(loaded)
    assert judge.centroids.means.shape == (4, 4) and not loaded.demonstrations.labels
    np.testing.assert_array_equal(judge.centroids.means, scenario.fit_judge(highway_recording).centroids.means)
    labels = highway_recording.with_labels(0.01).labels
    assert sorted(labels.values()) == [0, 1, 2, 3]


def test_a_highways_recording_holds_what_was_driven(highway_recording):
    scenario, demonstrations = get_scenario("highway"), highway_recording.demonstrations
    assert highway_recording.vehicle_states.shape == (24 * (EPISODE_STEPS + 1), scenario.num_vehicles, 4)
    assert highway_recording.scenes["speed"].shape == (24, scenario.num_vehicles)
    assert set(highway_recording.styles) == {0, 1, 2, 3}
    for k in (0, 23):
        states, scene = highway_recording.trajectory(k), highway_recording.scene(k)
        rows = slice(*demonstrations.episode_bounds[k : k + 2])
        np.testing.assert_array_equal(states[0], scenario.initial_states(scene))
        np.testing.assert_allclose(
            demonstrations.observations[rows], np.stack(scenario.observe(states[:-1], scene), -1), rtol=1e-6, atol=1e-6
        )
    again, _ = record(get_scenario("highway"), 1, seed=0)
    np.testing.assert_array_equal(again.vehicle_states, highway_recording.trajectory(0))
    np.testing.assert_array_equal(again.demonstrations.actions, demonstrations.actions[:EPISODE_STEPS])


def test_labels_are_told_of_the_first_of_each_style(recording):
    assert recording.styles.tolist()[:4] == [0, 1, 0, 1] or len(set(recording.styles)) == 2
    assert not recording.with_labels(0.0).labels
    first = {int(np.flatnonzero(recording.styles == style)[0]): style for style in (0, 1)}
    assert recording.with_labels(0.01).labels == first
    everything = recording.with_labels(1.0).labels
    assert all(recording.styles[episode] == style for episode, style in everything.items())


def test_a_learner_gets_neither_styles_nor_states_nor_scenes(recording, tmp_path):
    recording.save(tmp_path / "a.safetensors")
    demonstrations = Recording.load(tmp_path / "a.safetensors", recording.scenario).demonstrations
    learners_part = {"spec", "observations", "actions", "episode_bounds", "labels"}
    assert set(vars(demonstrations)) == learners_part
    assert not demonstrations.labels
    other = replace(recording, styles=1 - recording.styles)
    other.save(tmp_path / "b.safetensors")
    assert_same(Recording.load(tmp_path / "b.safetensors", recording.scenario).demonstrations, demonstrations)


def test_a_recording_holds_what_was_driven(recording):
    demonstrations, scenario = recording.demonstrations, recording.scenario
    np.testing.assert_array_equal(demonstrations.episode_bounds, np.arange(EPISODES + 1) * EPISODE_STEPS)
    for k in range(EPISODES):
        states, scene = recording.trajectory(k), recording.scene(k)
        rows = slice(*demonstrations.episode_bounds[k : k + 2])
        assert len(states) == EPISODE_STEPS + 1
        np.testing.assert_array_equal(states[0], scenario.initial_states(scene))
        seen = np.stack(scenario.observe(states[:-1], {name: value[None] for name, value in scene.items()}), -1)
        np.testing.assert_allclose(demonstrations.observations[rows], seen, rtol=1e-6, atol=1e-6)
        assert scenario.style(states, scene) == recording.styles[k]


def test_the_seed_decides_and_nothing_else(recording):
    scenario = recording.scenario
    np.random.seed(0)
    told = []
    again, failed = record(scenario, EPISODES, 3, lambda: told.append(1))
    assert_same(again, recording)
    assert len(told) == EPISODES and failed == 0
    other, _ = record(scenario, 1, seed=4)
    assert (other.vehicle_states[0] != recording.vehicle_states[0]).any()


def test_episodes_selects_rows_in_the_order_asked_for(uneven):
    some = uneven.episodes(np.array([2, 0]))
    np.testing.assert_array_equal(some.demonstrations.observations[:, 0], [5, 0, 1])
    np.testing.assert_array_equal(some.demonstrations.actions[:, 1], np.float32([-0.5, 0.0, -0.1]))
    np.testing.assert_array_equal(some.demonstrations.episode_bounds, [0, 1, 3])
    np.testing.assert_array_equal(some.vehicle_states[:, 0, 0], [7, 8, 0, 1, 2])
    np.testing.assert_array_equal(some.scenes["direction"], [30, 10])
    np.testing.assert_array_equal(some.styles, [0, 0])
    assert_same(uneven.episodes(slice(None)), uneven)
    assert_same(uneven.demonstrations.episodes(slice(1, 3)), uneven.episodes(np.array([1, 2])).demonstrations)


def test_trajectory_and_scene_are_those_of_one_episode(uneven):
    assert [uneven.trajectory(k)[:, 0, 0].tolist() for k in range(3)] == [[0, 1, 2], [3, 4, 5, 6], [7, 8]]
    assert uneven.scene(1)["direction"] == 20 and uneven.scene(1)["ego_speed"] == 25


def test_padding_repeats_the_last_observation(uneven):
    padded = uneven.demonstrations.padded_observations()
    assert padded.shape == (3, 3, 9)
    np.testing.assert_array_equal(padded[..., 0], [[0, 1, 1], [2, 3, 4], [5, 5, 5]])


def test_pairs_put_actions_beside_observations(uneven):
    pairs = uneven.demonstrations.pairs()
    assert pairs.shape == (6, 11)
    np.testing.assert_array_equal(pairs[3], [3] * 9 + [np.float32(0.3), np.float32(-0.3)])


@pytest.mark.parametrize(("total", "training"), [(200, 160), (10, 8), (7, 5), (1, 1)])
def test_a_fifth_is_held_out(total, training):
    assert num_training_episodes(total) == training


def array(key, change):
    return lambda arrays, metadata: arrays.update({key: change(arrays[key])})


def note(key, value):
    return lambda arrays, metadata: metadata.update({key: value})


def put(row, value):
    def change(values):
        values = values.copy()
        values[row] = value
        return values

    return change


MALFORMED = {
    "dtype of observations": (array("observations", np.float64), "'observations' is float64 (6, 9), not float32"),
    "dtype of actions": (array("actions", np.float16), "'actions' is float16"),
    "dtype of states": (array("vehicle_states", np.float32), "'vehicle_states' is float32"),
    "dtype of bounds": (array("episode_bounds", np.int32), "episode_bounds is int32 (4,), not int64"),
    "dtype of styles": (array("styles", np.float64), "'styles' is float64"),
    "dtype of a scene": (array("scene.radius", np.float32), "'scene.radius' is float32 (3,), not float64 (3,)"),
    "features": (array("observations", lambda a: a[:, :-1]), "'observations' is float32 (6, 8), not float32 (6, 9)"),
    "one-dimensional actions": (array("actions", lambda a: a[:, 0]), "'actions' is float32 (6,)"),
    "a row too few": (array("actions", lambda a: a[:-1]), "'actions' is float32 (5, 2), not float32 (6, 2)"),
    "a state too few": (array("vehicle_states", lambda a: a[:-1]), "'vehicle_states' is float64 (8, 1, 4)"),
    "a style too few": (array("styles", lambda a: a[:-1]), "'styles' is int64 (2,), not int64 (3,)"),
    "two-dimensional bounds": (array("episode_bounds", lambda a: a[None]), "episode_bounds is int64 (1, 4)"),
    "NaN in observations": (array("observations", put(2, np.nan)), "'observations' holds NaN or Inf"),
    "Inf in actions": (array("actions", put(2, np.inf)), "'actions' holds NaN or Inf"),
    "NaN in states": (array("vehicle_states", put(0, np.nan)), "'vehicle_states' holds NaN or Inf"),
    "-Inf in a scene": (array("scene.approach", put(0, -np.inf)), "'scene.approach' holds NaN or Inf"),
    "actions above 1": (array("actions", put(5, 1.001)), "'actions' are outside [-1, 1]"),
    "actions below -1": (array("actions", put(0, -1.001)), "'actions' are outside [-1, 1]"),
    "an unknown style": (array("styles", put(0, 2)), "'styles' are outside -1 to 1"),
    "less than no style": (array("styles", put(0, -2)), "'styles' are outside -1 to 1"),
    "an empty episode": (array("episode_bounds", put(1, 0)), "episode_bounds has an empty or overlapping episode"),
    "overlapping episodes": (array("episode_bounds", put(1, 5)), "episode_bounds has an empty or overlapping episode"),
    "rows after the last episode": (array("episode_bounds", lambda a: a[:-1]), "(6, 9), not float32 (5, 9)"),
    "rows before the first": (array("episode_bounds", put(0, 1)), "episode_bounds does not begin at 0"),
    "a negative bound": (array("episode_bounds", put(0, -1)), "episode_bounds does not begin at 0"),
    "a bound beyond the rows": (array("episode_bounds", put(3, 9)), "'observations' is float32 (6, 9), not"),
    "no episode": (array("episode_bounds", lambda a: a[:1]), "holds no episode"),
    "no bounds": (array("episode_bounds", lambda a: a[:0]), "holds no episode"),
    "a missing array": (lambda arrays, metadata: arrays.pop("actions"), "'actions' is missing"),
    "a missing scene": (lambda arrays, metadata: arrays.pop("scene.radius"), "'scene.radius' is missing"),
    "an unknown array": (lambda arrays, metadata: arrays.update(rewards=np.zeros(6)), "'rewards' is unknown"),
    "another schema": (note("schema", "infogail-demonstrations-0"), "schema is 'infogail-demonstrations-0', not"),
    "no metadata": (lambda arrays, metadata: metadata.clear(), "schema is None, not"),
    "features renamed": (note("features", json.dumps(["speed"])), 'features are ["speed"], but turn has'),
    "another decision rate": (note("decisions_per_second", "10"), "decisions_per_second is 10, not 5"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_named(case, parts, tmp_path):
    damage, problem = MALFORMED[case]
    arrays, metadata = dict(parts[0]), dict(parts[1])
    damage(arrays, metadata)
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(seal(arrays, metadata))
    with pytest.raises(InvalidDemonstrations) as raised:
        Recording.load(path, get_scenario("turn"))
    message = str(raised.value)
    assert message.startswith(f"{path}: ") and problem in message and "infogail record" in message
    assert "\n" not in message


def test_a_file_of_another_scenario_is_refused(parts, uneven, tmp_path):
    uneven.save(tmp_path / "turn.safetensors")
    with pytest.raises(InvalidDemonstrations, match=r"turn\.safetensors: recorded in turn, not in pass; give a file"):
        Recording.load(tmp_path / "turn.safetensors", get_scenario("pass"))
    arrays, metadata = parts
    for name, scenario, problem in (("merge", "turn", "in merge, not in turn"), ("pass", "pass", 'pass has ["lane_')):
        (tmp_path / name).write_bytes(seal(arrays, metadata | {"scenario": name}))
        with pytest.raises(InvalidDemonstrations) as raised:
            Recording.load(tmp_path / name, get_scenario(scenario))
        assert problem in str(raised.value)


def test_files_that_are_none_are_named(uneven, tmp_path):
    whole = tmp_path / "whole.safetensors"
    uneven.save(whole)
    contents = {
        "truncated": whole.read_bytes()[:-9],
        "beheaded": whole.read_bytes()[9:],
        "empty": b"",
        "dtype": struct.pack("<Q", len(FLOAT8)) + FLOAT8 + b"0",
        "text": b"speed,steering\n1,2\n" * 9,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    unreadable = [(tmp_path / name, "not a readable safetensors file") for name in contents if name != "dtype"]
    unreadable.append((tmp_path / "dtype", "schema is None, not 'infogail-demonstrations-2'"))
    for path, problem in [*unreadable, (tmp_path, "is a folder"), (tmp_path / "absent", "no such file")]:
        with pytest.raises(InvalidDemonstrations) as raised:
            Recording.load(path, get_scenario("turn"))
        message = str(raised.value)
        assert message.startswith(f"{path}: {problem}") and "infogail record" in message and "\n" not in message


def test_nothing_malformed_is_saved(uneven, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(InvalidDemonstrations, match=r"a\.safetensors: 'styles' are outside -1 to 1"):
        replace(uneven, styles=np.array([0, 1, 7])).save(path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == {path: b"old"}
