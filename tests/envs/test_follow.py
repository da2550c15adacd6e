"""The scenario of followers: both forms drive alike, what is seen, where it starts, which files are refused."""

from dataclasses import fields

import gymnasium
import numpy as np
import pytest
import torch
from follow_world import DT, STEPS, TRAINING_STARTS, record_followers
from gymnasium.utils.env_checker import check_env

from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import SCHEMA, InvalidDemonstrations, Recording
from infogail.envs.data.world import FollowedLeaders
from infogail.envs.errors import BadInput
from infogail.envs.files import seal, unseal
from infogail.envs.recordings.following import recording_of
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.following import FOLLOW_STEPS, Follow
from infogail.envs.stepping import missing_compiler

ID = "infogail/Follow-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("follow")


@pytest.fixture(scope="module")
def smooth(folder):
    record_followers(folder / "smooth.safetensors")
    return folder / "smooth.safetensors"


@pytest.fixture(scope="module")
def jam(folder):
    """Leaders stand now and then, and their recorded positions are rough, so that crashes come sooner or later than
    foreseen."""
    recording = record_followers(folder / "jam.safetensors", seed=1, speed=3.0, swing=8.0, rough=0.1)
    assert (recording.world.leader[:, 1] == 0).mean() > 0.1
    return folder / "jam.safetensors"


@pytest.fixture(scope="module")
def by_hand(folder):
    """One driver of a car of 5 m behind one of 15 m; windows begin at steps 0 and 15.

    Steps 0 to 5: both at 8 m/s. From then on the leader gains 0.1 m/s in each step, to 9 m/s in step 15. In step 15
    the driver is at 100 m, at 10 m/s, and has just braked at 0.5 m/s²; the leader is at 130 m.
    """
    rows = np.arange(FOLLOW_STEPS + 16)
    leader = np.column_stack((130.0 + rows - 15.0, 8.0 + 0.1 * np.clip(rows - 5, 0, 10)))
    follower = np.column_stack((100.0 + rows - 15.0, np.where(rows < 15, 8.0, 10.0), np.where(rows == 15, -0.5, 0.0)))
    world = FollowedLeaders(
        track=np.array([0, 0]),
        demonstration_row=np.array([0, 15]),
        num_training=np.array([2]),
        files=("one.csv",),
        leader=leader,
        follower=follower,
        lengths=np.array([[5.0, 15.0]]),
        first_row=np.array([0, len(rows)]),
        file=np.array([0]),
    )
    recording_of(world).save(folder / "by_hand.safetensors")
    return folder / "by_hand.safetensors"


def reference(recording, **settings):
    return gymnasium.make(ID, recording=recording, **settings).unwrapped


def twin(recording, num_envs, **settings):
    return gymnasium.make_vec(
        ID, num_envs, vectorization_mode="vector_entry_point", recording=recording, **settings
    ).unwrapped


def hard_actions(path, windows, rng):
    """(300, n, 1), of six kinds in turn, from people's own to those that no one takes twice."""
    own = Recording.load(path, Follow()).demonstrations.actions.reshape(-1, FOLLOW_STEPS)[windows].T.astype(np.float64)
    actions, late = np.empty_like(own), np.arange(FOLLOW_STEPS)
    for b, start in enumerate(rng.integers(0, 100, len(windows)).tolist()):
        actions[:, b] = (
            own[:, b] + rng.normal(0, 0.1, FOLLOW_STEPS),
            np.where(late < start, own[:, b], rng.choice((0.1, 1.0))),  # into the leader
            np.where(late < start, own[:, b], -1.0),  # to a standstill, and brake on
            np.where(late < 180, -1.0, 1.5),  # stands until the road is free, then is as fast as cars can be
            rng.uniform(-1.5, 1.5, FOLLOW_STEPS),
            np.repeat(rng.uniform(-1, 1, FOLLOW_STEPS // 30), 30),
        )[b % 6]
    return actions[..., None]


def drive(path, windows, actions, compiled):
    """The twin's vehicle states, observations, rewards and flags, and those with which episodes ended, step by step."""
    batch = twin(path, len(windows), dtype="float64", compile=compiled)
    batch.reset(options={"scene": {"demonstration": windows + 0.0}})
    for action in actions:
        obs, reward, *flags, infos = batch.step(action)
        states = batch.vehicle_state
        if "final_info" in infos:
            ended = infos["_final_info"]
            obs[ended], states[ended] = infos["final_obs"][ended], infos["final_info"]["vehicle_state"][ended]
        yield states, obs, reward, np.stack((*flags, infos["crashed"], infos["off_road"]), -1)


@pytest.mark.parametrize(("dtype", "rounds"), [("float32", 1), ("float64", 2)])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["eager", "compiled"])
@pytest.mark.parametrize("traffic", ["smooth", "jam"])
def test_twin_drives_as_highway_env_does(traffic, compiled, dtype, rounds, request):
    if compiled and (missing := missing_compiler()):
        pytest.skip(f"no {missing}")
    path, rng = request.getfixturevalue(traffic), np.random.default_rng(7)
    windows = rng.choice(4 * 9 + 4 * 2, 24 * rounds)
    actions = hard_actions(path, windows, rng).astype(dtype)
    steps = list(drive(path, windows, actions, compiled))
    env = reference(path)
    crashed = lasted = stood = aside = 0
    speeds = []
    for b, window in enumerate(windows.tolist()):
        env.reset(options={"scene": {"demonstration": window + 0.0}})
        for action, (states, obs, reward, flags) in zip(actions[:, b], steps, strict=True):
            seen, reference_reward, terminated, truncated, info = env.step(action)
            np.testing.assert_allclose(states[b], env.vehicle_state, rtol=0, atol=1e-9)
            np.testing.assert_allclose(obs[b], seen, rtol=1e-6, atol=1e-6)  # the reference's is float32
            assert tuple(flags[b]) == (terminated, truncated, info["crashed"], info["off_road"])
            assert reward[b] == pytest.approx(reference_reward, abs=1e-9)
            speeds.append(states[b, 0, 3])
            if terminated or truncated:
                break
            stood += abs(speeds[-1]) < 1e-12
        crashed, lasted = crashed + terminated, lasted + truncated
        aside += states[b, 0, 1] != 0.0
        assert not info["off_road"]
    assert crashed >= len(windows) / 4 and lasted >= len(windows) / 4 and stood > 300, (crashed, lasted, stood)
    assert min(speeds) > -1e-12
    if traffic == "smooth":  # where the leaders are soon far enough ahead
        assert aside and max(speeds) > 40.0


def test_the_ego_stops_and_stays(jam):
    """Within a step exactly as far as at the speed it had, whatever it asks for then, in either dtype."""
    for dtype, rounding in (("float32", 1e-5), ("float64", 1e-12)):
        batch = twin(jam, 1, dtype=dtype)
        batch.reset(options={"scene": {"demonstration": np.zeros(1)}})
        before = batch.vehicle_state[0, 0]
        for _ in range(60):
            batch.step(np.full((1, 1), -1.0))
            ego = batch.vehicle_state[0, 0]
            assert before[0] - rounding <= ego[0] <= before[0] + before[3] * DT + rounding and ego[3] > -rounding
            assert ego[4] == pytest.approx(max(-5.0, -before[3] / DT), abs=10 * rounding)  # what the car did
            before = ego
        assert abs(ego[3]) < rounding and abs(ego[4]) < 10 * rounding
        batch.step(np.full((1, 1), 0.5))
        assert batch.vehicle_state[0, 0, 3] == pytest.approx(0.25, abs=rounding)


def test_what_is_seen_by_hand(by_hand):
    env, batch = reference(by_hand), twin(by_hand, 1, dtype="float64")
    obs, _ = env.reset(options={"scene": {"demonstration": 1.0}})
    batched, _ = batch.reset(options={"scene": {"demonstration": np.ones(1)}})
    # The gap is 130 - 100 - (5 + 15) / 2 = 20 m, usual are 2 + 1.5 · 10 = 17 m; the leader gained 1 m/s in a second.
    seen = [10 / 10, 20 / 20, (10 - 9) / 5, np.log(20 / 17), 1.0 / 2, -0.5 / 2]
    np.testing.assert_allclose(obs, seen, atol=1e-6)
    np.testing.assert_allclose(batched, [seen], rtol=0, atol=1e-12)
    recording = Recording.load(by_hand, Follow())
    np.testing.assert_allclose(recording.demonstrations.observations[FOLLOW_STEPS], seen, atol=1e-6)
    assert env.scenario.headway(env.vehicle_state) == 2.0
    assert env.vehicle_state.tolist() == [[100, 0, 0, 10, -0.5, 5, 2], [130, 0, 0, 9, 1.0, 15, 2]]
    obs, *_ = env.step(np.array([0.2]))  # 1 m/s²; the leader is 1 m on, and has not accelerated further
    np.testing.assert_allclose(obs[[0, 1, 2, 4, 5]], [1.01, 1.0, (10.1 - 9) / 5, 0.9 / 2, 1.0 / 2], atol=1e-6)


def test_leaders_acceleration_is_over_what_is_recorded_of_the_last_second(by_hand):
    states = Follow(by_hand).recorded_states(np.array([0]))[0]
    assert states.shape == (FOLLOW_STEPS + 1, 2, 7)
    # After 0.6 s, 0.1 m/s in 0.6 s; after 1 s, 0.5 m/s in a second; from 2.5 s on, none.
    for step, acceleration in ((0, 0), (1, 0), (5, 0), (6, 1 / 6), (9, 4 / 9), (10, 0.5), (15, 1), (16, 0.9), (25, 0)):
        assert states[step, 1, 4] == pytest.approx(acceleration, abs=1e-12), step


@pytest.mark.parametrize("traffic", ["smooth", "jam"])
def test_recorded_states_are_those_that_the_actions_drive_to(traffic, request):
    path = request.getfixturevalue(traffic)
    recording, env = Recording.load(path, Follow()), reference(path)
    windows = np.array([0, 10, 35, 43])
    recorded = recording.scenario.recorded_states(windows)
    for window, states in zip(windows.tolist(), recorded, strict=True):
        episode = slice(FOLLOW_STEPS * window, FOLLOW_STEPS * (window + 1))
        obs, _ = env.reset(options={"scene": recording.scene(window)})
        demonstrations = recording.demonstrations.observations[episode], recording.demonstrations.actions[episode]
        for k, (seen, action) in enumerate(zip(*demonstrations, strict=True)):
            np.testing.assert_allclose(obs, seen, rtol=0, atol=1e-5)
            np.testing.assert_allclose(env.vehicle_state, states[k], rtol=0, atol=1e-6)
            obs, _, terminated, truncated, _ = env.step(action)
            assert not terminated
        assert truncated
        np.testing.assert_allclose(env.vehicle_state, states[-1], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(recording.trajectory(window), states[:, :1, :4])


def test_styles_show_in_headways(smooth):
    recording = Recording.load(smooth, Follow())
    states = np.moveaxis(recording.scenario.recorded_states(np.arange(44)), 1, 0)
    far = recording.world.track % 2 == 1
    headway = recording.scenario.style_value(states, {})
    assert headway[far].min() > headway[~far].max() + 1.0 and 0.8 < headway.min() < headway.max() < 2.7
    assert not recording.scenario.style(states, {}).any() and recording.num_training == 36


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_reference_passes_gymnasiums_checker(smooth, render_mode):
    env = reference(smooth, render_mode=render_mode)
    check_env(env, skip_render_check=True)
    assert env.metadata["render_fps"] == 10 and env.action_space.shape == (1,)


def test_starts_where_training_may(smooth):
    batch = twin(smooth, 400)
    batch.reset(seed=3)
    assert set(np.floor(batch.scene["demonstration"])) == set(range(4 * len(TRAINING_STARTS)))
    states, row = batch.vehicle_state, np.floor(batch.scene["demonstration"]).astype(int)
    first = Follow(smooth).recorded_states(np.arange(36))[row, 0]
    np.testing.assert_allclose(states, first, rtol=1e-6, atol=1e-6)


def test_one_environment_goes_through_its_episodes(smooth):
    batch = twin(smooth, 1)
    obs, _ = batch.reset(seed=0)
    assert obs.shape == (1, 6) and batch.vehicle_state.shape == (1, 2, 7)
    ended = []
    for k in range(400):
        obs, reward, terminated, truncated, infos = batch.step(np.full((1, 1), 0.2, np.float32))
        assert obs.shape == (1, 6) and reward.shape == (1,) and np.isfinite(obs).all()
        if terminated[0] or truncated[0]:
            ended.append(k)
            assert infos["final_obs"].shape == (1, 6) and batch.vehicle_state[0, 0, 3] > 5.0
    assert ended and terminated.dtype == bool


def test_environments_do_not_depend_on_each_other(smooth):
    alone, among = (twin(smooth, 5, dtype="float64") for _ in range(2))
    alone.reset(seed=0, options={"scene": {"demonstration": np.array([2.0, 1.0, 30.0, 0.0, 2.0])}})
    among.reset(seed=0, options={"scene": {"demonstration": np.array([0.0, 40.0, 30.0, 1.0, 9.0])}})
    actions = torch.rand(100, 5, 1, generator=torch.Generator().manual_seed(0)) - 0.4
    for some in actions:
        others = some.flip(0)
        others[2] = some[2]
        np.testing.assert_allclose(alone.step(others)[0][2], among.step(some)[0][2], rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_goes_on_from_where_a_state_was_taken(smooth, dtype):
    one, other = twin(smooth, 4, dtype=dtype), twin(smooth, 4, dtype=dtype)
    one.reset(seed=1)
    for _ in range(250):
        one.step(np.full((4, 1), 0.05))
    other.load_state_dict(one.state_dict())
    for name, tensor in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    for k in range(100):  # through ends of episodes, of which the streams draw the next
        action = np.full((4, 1), np.sin(k))
        for left, right in zip(one.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(one.vehicle_state, other.vehicle_state)


def test_what_cannot_be_says_so(smooth, folder):
    for make in (
        lambda: gymnasium.make(ID),
        lambda: gymnasium.make_vec(ID, 2, vectorization_mode="vector_entry_point"),
    ):
        with pytest.raises(BadInput, match=r"^follow: has no recording; give recording=FILE, .*$"):
            make()
    for make in (reference, lambda recording: twin(recording, 2)):
        with pytest.raises(InvalidDemonstrations, match="infogail import FILES"):
            make(folder / "none.safetensors")
    with pytest.raises(InvalidDemonstrations, match="recorded in follow, not in replay"):
        get_scenario("replay", recording=smooth)
    with pytest.raises(BadInput, match="infogail import"):
        record(get_scenario("follow"), 10, 0)
    for config, message in (
        ({"simulation_frequency": 15}, rf"config\['simulation_frequency'\]: always 10 in {ID}, not 15"),
        ({"policy_frequency": 5}, r"config\['policy_frequency'\]: always 10"),
        ({"action": {"type": "DiscreteMetaAction"}}, f"DiscreteMetaAction cannot drive the cars of {ID}"),
    ):
        with pytest.raises(ValueError, match=message):
            reference(smooth, config=config)


def test_wrong_worlds_are_named_in_one_line(smooth, folder):
    arrays, metadata = unseal(smooth, SCHEMA)
    world = Recording.load(smooth, Follow()).world
    assert set(world.arrays()) == {field.name for field in fields(world)} - {"files"}
    rows, drivers, windows = 8 * STEPS, 8, 44
    wrong = {
        "track": (np.full(windows, drivers), np.full(windows, -1), np.zeros(windows), np.zeros(3, np.int64)),
        "demonstration_row": (
            np.full(windows, -1),
            world.first_row[world.track] + STEPS - FOLLOW_STEPS,  # one too late
            np.zeros((windows, 1), np.int64),
        ),
        "num_training": (np.array([0]), np.array([windows + 1]), np.array([3, 3])),
        "leader": (np.full((rows, 2), np.nan), np.zeros((rows, 3)), np.zeros((rows, 2), np.float32)),
        "follower": (np.full((rows, 3), np.inf), np.zeros((rows - 1, 3)), np.zeros(rows)),
        "lengths": (np.zeros((drivers, 2)), -world.lengths, np.ones((drivers, 3)), np.full((drivers, 2), np.nan)),
        "first_row": (world.first_row + 1, world.first_row[::-1].copy(), np.zeros(drivers + 1), np.array([0, rows])),
        "file": (np.full(drivers, 2), np.full(drivers, -1), np.zeros(drivers)),
    }
    assert set(wrong) == set(world.arrays())
    path = folder / "wrong.safetensors"

    def refused(arrays, metadata):
        path.write_bytes(seal(arrays, metadata))
        with pytest.raises(InvalidDemonstrations) as error:
            Recording.load(path, Follow())
        said = str(error.value)
        assert said.startswith(f"{path}: ") and "\n" not in said
        return said

    in_words = {"lengths": "length"}  # "a car has no length"
    for name, values in wrong.items():
        for value in values:
            assert in_words.get(name, f"'{name}'") in refused(arrays | {f"world.{name}": value}, metadata), name
        others = {key: array for key, array in arrays.items() if key != f"world.{name}"}
        assert f"'world.{name}' is missing" in refused(others, metadata)
    assert "'world.states' is unknown" in refused(arrays | {"world.states": np.zeros(3)}, metadata)
    for files in ("3", "[]", "[1]"):
        assert "not a list of names" in refused(arrays, metadata | {"files": files})
    assert "not a list of names" in refused(arrays, {key: text for key, text in metadata.items() if key != "files"})
    assert "'actions' is float32 (13200, 2)" in refused(
        arrays | {"actions": np.zeros((windows * FOLLOW_STEPS, 2), np.float32)}, metadata
    )
