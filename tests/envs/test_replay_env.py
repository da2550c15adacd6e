"""The scenario of recorded traffic: both forms on one curved road, what is seen, where it starts, who is believed."""

from dataclasses import fields, replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from commonroad_files import Obstacle, file_text
from gymnasium.utils.env_checker import check_env
from replay_world import Car, record_world

from infogail.config.config import Config
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import InvalidDemonstrations, Recording
from infogail.envs.data.world import RecordedWorld
from infogail.envs.errors import BadInput
from infogail.envs.physics.state import VehicleState
from infogail.envs.recordings.importing import import_files
from infogail.envs.recordings.record import record
from infogail.learning.learner import InfoGAIL
from infogail.learning.posterior import Posterior
from tests.learners import make_learner

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "us101"


@pytest.fixture(scope="module")
def bend(tmp_path_factory):
    """A bend with a lane that ends, imported; its first file is for training, its second held out."""
    folder = tmp_path_factory.mktemp("bend")
    cars = [Obstacle(51, steps=81), Obstacle(52, offset=-4.0, start=3.0, kind="truck", size=(14.0, 2.5), first_step=5)]
    others = [
        Obstacle(54, start=22.0),
        Obstacle(55, offset=4.0, start=12.0, steps=40),
        Obstacle(56, offset=-4.0, start=30.0),
    ]
    (folder / "1.xml").write_text(file_text(cars + others))
    (folder / "2.xml").write_text(file_text([Obstacle(61), Obstacle(62, start=25.0, speed=11.0)]))
    import_files([folder / "1.xml", folder / "2.xml"]).recording().save(folder / "bend.safetensors")
    return folder / "bend.safetensors"


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    path = tmp_path_factory.mktemp("straight") / "replay.safetensors"
    record_world(path)
    return path


def twin(recording, num_envs, **settings):
    return gymnasium.make_vec(
        "infogail/Replay-v0", num_envs, vectorization_mode="vector_entry_point", recording=recording, **settings
    )


def compare(path, windows, noise, dtype):
    """Drive `windows` (n,) of the recording by people's own actions and noise, in both forms; what became of them."""
    recording = Recording.load(path, get_scenario("replay"))
    rng = np.random.default_rng(0)
    actions = recording.demonstrations.actions.reshape(-1, 60, 2)[windows].astype(np.float64)
    actions = np.clip(actions + rng.normal(0.0, noise, (len(windows), 1, 2)), -1.0, 1.0).astype(dtype)
    env = gymnasium.make("infogail/Replay-v0", recording=path).unwrapped
    batch = twin(path, len(windows), dtype="float64")
    batch.reset(options={"scene": {"demonstration": windows.astype(float)}})
    told = []
    for k in range(60):
        obs, _, terminated, truncated, infos = batch.step(actions[:, k])
        states = batch.unwrapped.vehicle_state
        if "final_info" in infos:
            ended = infos["_final_info"]
            obs[ended], states[ended] = infos["final_obs"][ended], infos["final_info"]["vehicle_state"][ended]
        told.append((states, obs, terminated, truncated, infos["crashed"], infos["off_road"]))
    crashed = off_road = 0
    for b, window in enumerate(windows):
        env.reset(options={"scene": {"demonstration": float(window)}})
        for k, (states, obs, *flags) in enumerate(told):
            seen, _, terminated, truncated, info = env.step(actions[b, k])
            np.testing.assert_allclose(states[b], env.vehicle_state, rtol=0, atol=1e-9)
            np.testing.assert_allclose(obs[b], seen, rtol=0, atol=1e-5)
            assert [bool(flag[b]) for flag in flags] == [terminated, truncated, info["crashed"], info["off_road"]]
            if terminated:
                crashed, off_road = crashed + info["crashed"], off_road + info["off_road"]
                break
    return crashed, off_road


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_forms_drive_the_same_on_a_bend(bend, dtype):
    number = Recording.load(bend, get_scenario("replay")).demonstrations.num_episodes
    crashed, off_road = compare(bend, np.arange(8 * number) % number, 0.3, dtype)
    assert crashed > 3 and off_road > 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the US-101 recordings are not beside the project")
def test_both_forms_drive_the_same_among_people(tmp_path, dtype):
    files = [RECORDINGS / f"USA_US101-{k}_1_T-1.xml" for k in (21, 23)]
    import_files(files).recording().save(tmp_path / "replay.safetensors")
    crashed, off_road = compare(tmp_path / "replay.safetensors", np.arange(0, 60, 3), 0.1, dtype)
    assert crashed + off_road > 3


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_reference_passes_gymnasiums_checker(straight, render_mode):
    env = gymnasium.make("infogail/Replay-v0", recording=straight, render_mode=render_mode)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.metadata["render_fps"] == 10


def test_settings_that_a_recording_fixes_are_refused(straight):
    for config, message in (
        ({"simulation_frequency": 15}, r"config\['simulation_frequency'\]: always 10 in infogail/Replay-v0, not 15"),
        ({"policy_frequency": 5}, r"config\['policy_frequency'\]: always 10"),
        ({"show_trajectories": True}, r"config\['show_trajectories'\]: always False"),
        ({"action": {"type": "DiscreteMetaAction"}}, "DiscreteMetaAction cannot drive the cars of infogail/Replay-v0"),
        ({"action": {"dynamical": True}}, "ContinuousAction with dynamical=True cannot drive the cars"),
    ):
        with pytest.raises(ValueError, match=message):
            gymnasium.make("infogail/Replay-v0", recording=straight, config=config)
    env = gymnasium.make("infogail/Replay-v0", recording=straight, config={"policy_frequency": 10, "scaling": 3.0})
    assert env.unwrapped.config["scaling"] == 3.0


def test_what_is_seen_by_hand(straight):
    env = gymnasium.make("infogail/Replay-v0", recording=straight).unwrapped
    obs, _ = env.reset(options={"scene": {"demonstration": 0.0}})
    nobody, leader, beside = [0.0, 2.0, 0.0], [1.0, (60 - 5) / 50, 0.0], [1.0, -5 / 50, 0.0]
    own = [0.0, 0.0, (10 - 20) / 10, 4.0 / 2, 0.0, 1.0]  # in the left lane, at 10 m/s, 5.5 s behind the next
    np.testing.assert_allclose(obs, own + leader + nobody + nobody + nobody + beside + nobody + [0, 0, 0], atol=1e-6)
    states = env.vehicle_state
    assert states.shape == (5, 8) and states[0].tolist() == [100, -4, 0, 10, 100, -4, 5, 2]
    assert (states[1, :2] == 1e6).all()  # the car whose place the ego takes


def test_starts_where_training_may(straight):
    recording = Recording.load(straight, get_scenario("replay"))
    batch = twin(straight, 64)
    batch.reset(seed=3)
    started = np.floor(batch.unwrapped.scene["demonstration"])
    assert set(started) == set(range(recording.num_training)) and recording.num_training < 16


def test_environments_do_not_depend_on_each_other(bend):
    alone, among = (twin(bend, 5, dtype="float64") for _ in range(2))
    alone.reset(seed=0, options={"scene": {"demonstration": np.array([2.0, 1.0, 1.0, 0.0, 2.0])}})
    among.reset(seed=0, options={"scene": {"demonstration": np.array([0.0, 2.0, 1.0, 1.0, 0.0])}})
    actions = torch.rand(60, 5, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    for some in actions:
        others = some.flip(0)
        others[2] = some[2]
        np.testing.assert_allclose(alone.step(others)[0][2], among.step(some)[0][2], rtol=0, atol=1e-9)


def test_goes_on_from_where_a_state_was_taken(bend):
    one, other = twin(bend, 4), twin(bend, 4)
    one.reset(seed=1)
    for _ in range(7):
        one.step(torch.full((4, 2), 0.1))
    other.unwrapped.load_state_dict(one.unwrapped.state_dict())
    np.testing.assert_array_equal(one.step(torch.zeros(4, 2))[0], other.step(torch.zeros(4, 2))[0])


def test_what_cannot_be_says_so(bend):
    with pytest.raises(BadInput, match="give recording=FILE"):
        gymnasium.make("infogail/Replay-v0").reset()
    with pytest.raises(InvalidDemonstrations, match="infogail import FILES"):
        get_scenario("replay", recording=bend.parent / "none.safetensors")
    with pytest.raises(TypeError, match="unexpected keyword argument 'lanes'"):
        get_scenario("replay", lanes=3)
    with pytest.raises(ValueError, match="cannot be compiled"):
        twin(bend, 2, compile=True)
    with pytest.raises(BadInput, match="infogail import"):
        record(get_scenario("replay"), 10, 0)


def test_codes_part_people_by_how_near_they_follow(tmp_path):
    """In each lane one with nobody ahead and one a second behind, whatever the lane and the speed."""
    ahead, behind = ([Car(x, y, speed) for y, speed in ((-4.0, 9.0), (0.0, 10.0), (4.0, 11.0))] for x in (120.0, 105.0))
    recording = record_world(tmp_path / "pairs.safetensors", ahead + behind)
    posterior = Posterior(
        recording.demonstrations, Config.of(num_codes=2, num_envs=12), torch.Generator().manual_seed(0)
    )
    posterior.divide_demonstrations()
    codes = posterior.codes(torch.arange(12)).numpy()
    follows = recording.world.demonstration_car[:12] >= 3  # of the twelve windows to learn from
    assert len(set(codes[follows])) == len(set(codes[~follows])) == 1 and codes[follows][0] != codes[~follows][0]


def test_settings_of_people():
    """Codes, noise, iterations and discount where none are given; what is given stays."""
    config = settings(get_scenario("replay"))
    assert (config.codes.num_codes, config.policy.initial_log_std, config.run.iterations) == (3, -2.0, 30)
    assert config.policy.gamma**10 == pytest.approx(0.7737809375)  # in a second, as 0.95^5
    assert config.codes.info_coef == 1.0
    assert (config.cloning.warm_start_steps, config.policy.held_iterations, config.policy.learning_rate) == (0, 0, 3e-3)
    given = {"num_codes": 5, "initial_log_std": -1.0, "iterations": 7, "gamma": 0.9, "info_coef": 0.0}
    given |= {"warm_start_steps": 9, "held_iterations": 3, "learning_rate": 1e-4, "settling_iterations": 8}
    assert settings(get_scenario("replay"), overrides=given) == Config.of(**given)
    other = settings(get_scenario("highway"))
    assert (other.codes.num_codes, other.policy.initial_log_std, other.run.iterations) == (4, -2.3, 24)
    assert (other.policy.gamma, other.codes.info_coef) == (0.95, 3.0)


def spoiled(arrays, name, value):
    return arrays | {name: np.asarray(value, dtype=arrays[name].dtype)}


def test_a_world_is_not_believed(straight):
    recording = Recording.load(straight, get_scenario("replay"))
    world, episodes = recording.world, recording.demonstrations.num_episodes
    arrays = world.arrays()
    assert RecordedWorld.problem(arrays, '["a", "b"]', episodes, 60) is None
    assert set(arrays) == {field.name for field in fields(world)} - {"files"}
    high = np.full(episodes, 10_000)
    for name, value in {
        "states": np.full(world.states.shape, np.nan),
        "present": np.zeros(world.present.shape),
        "sizes": np.zeros(world.sizes.shape),
        "first_row": [0, 0, len(world.states)],
        "first_point": [0, 5, 4],
        "edges": -world.edges,
        "file": [0, 7],
        "demonstration_scene": high,
        "demonstration_car": -high,
        "demonstration_row": high,
        "track": [0],
        "num_training": [0],
    }.items():
        found = RecordedWorld.problem(spoiled(arrays, name, value), '["a", "b"]', episodes, 60)
        assert found is not None and "\n" not in found, name
    for files in (None, "3", "[]", "[1]"):
        assert "not a list of names" in RecordedWorld.problem(arrays, files, episodes, 60)
    bad = replace(recording, world=replace(world, num_training=np.array([episodes + 1])))
    with pytest.raises(InvalidDemonstrations, match="num_training"):
        bad.save(straight.parent / "bad.safetensors")
    assert not (straight.parent / "bad.safetensors").exists()


def test_drives_in_a_persons_place_with_the_code_read_from_that_person(bend):
    recording = Recording.load(bend, get_scenario("replay"))
    chosen = recording.episodes(slice(recording.num_training))
    training = chosen.demonstrations
    config = Config.of(
        num_envs=16, iterations=2, num_codes=2, rim_tries=2, rim_steps=10, hidden=8, discriminator_steps=2
    )
    learner = make_learner(InfoGAIL, chosen, config)
    log = learner.iterate()
    assert log["rollout/env_steps"] == 16 * 60 and np.isfinite(list(log.values())).all()
    pairs = torch.from_numpy(training.pairs()).reshape(training.num_episodes, 60, -1)
    with torch.no_grad():
        evidence = learner.posterior.evidence(pairs).sum(1) + learner.posterior.evidence.prior.log()
    in_place_of = recording.scenario.demonstration({"demonstration": torch.tensor([0.4, 1.0, 2.9, 1.5] * 4)})
    assert torch.equal(learner.posterior.codes(in_place_of), evidence.argmax(-1)[[0, 1, 2, 1] * 4])


def test_placement_is_along_the_reference_line_and_across_it(bend):
    env = gymnasium.make("infogail/Replay-v0", recording=bend).unwrapped
    env.reset(seed=0)
    states = env.vehicle_state[env.vehicle_state[:, 0] < 1e5]  # of those who are in the scene
    along, across = env.scenario.placement(VehicleState(*states.T[:4]), env.scene)
    np.testing.assert_allclose([along, across], states.T[4:6], atol=0.05)
