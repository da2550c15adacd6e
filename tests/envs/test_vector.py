"""The batched environment as a Gymnasium vector environment: arrays or tensors, options, refusals, wrappers."""

from __future__ import annotations

import gc
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from follow_world import record_followers
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers
from replay_world import record_world

from infogail.envs.catalogue import SCENARIO_NAMES, environment_id
from infogail.envs.stepping import missing_compiler

CRASH = np.array([1.0, 1.0], np.float32)  # full throttle and full lock leave any road soon


def make(num_envs: int = 4, scenario: str = "pass", **settings: Any) -> Any:
    return gymnasium.make_vec(environment_id(scenario), num_envs, vectorization_mode="vector_entry_point", **settings)


def step_until_an_end(envs: Any) -> tuple[Any, ...]:
    """What the first step returned in which an episode ended: environment 0's, that of all others going on."""
    actions = np.zeros((envs.num_envs, 2), np.float32)
    actions[0] = CRASH
    for _ in range(60):
        obs, reward, terminated, truncated, infos = envs.step(actions)
        if terminated[0]:
            return obs, reward, terminated, truncated, infos
    raise AssertionError("it never left the road")


def flat(infos: Any) -> list[Any]:
    return [x for value in infos.values() for x in (flat(value) if isinstance(value, dict) else [value])]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_by_default_and_tensors_on_request(dtype):
    arrays, tensors = make(dtype=dtype), make(dtype=dtype, tensors=True)
    (obs, infos), (same, same_infos) = arrays.reset(seed=0), tensors.reset(seed=0)
    assert obs in arrays.observation_space and obs.dtype == np.dtype(dtype)
    for array, tensor in zip((obs, *flat(infos)), (same, *flat(same_infos)), strict=True):
        assert type(array) is np.ndarray and type(tensor) is torch.Tensor
        np.testing.assert_array_equal(array, tensor)
    (*returned, infos), (*same, same_infos) = step_until_an_end(arrays), step_until_an_end(tensors)
    assert [array.dtype for array in returned] == [dtype, dtype, bool, bool] and "final_obs" in infos
    assert infos.keys() == same_infos.keys() and returned[0] in arrays.observation_space
    for array, tensor in zip((*returned, *flat(infos)), (*same, *flat(same_infos)), strict=True):
        assert type(array) is np.ndarray and type(tensor) is torch.Tensor
        np.testing.assert_array_equal(array, tensor)


def test_infos_are_arrays_with_masks():
    envs = make()
    _, infos = envs.reset(seed=0)
    assert set(infos) == {"crashed", "_crashed", "off_road", "_off_road"} and infos["_crashed"].all()
    obs, _, terminated, _, infos = step_until_an_end(envs)
    assert set(infos) == {"crashed", "off_road", "final_obs", "final_info"} | {
        "_crashed",
        "_off_road",
        "_final_obs",
        "_final_info",
    }
    assert set(infos["final_info"]) == {"crashed", "off_road", "vehicle_state"} | {
        "_crashed",
        "_off_road",
        "_vehicle_state",
    }
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False, False, False]
    assert infos["off_road"].tolist() == infos["final_info"]["off_road"].tolist() == terminated.tolist()
    assert infos["final_info"]["vehicle_state"].shape == (4, 2, 4) and infos["final_obs"].shape == obs.shape
    assert (infos["final_obs"][0] != obs[0]).any()


def test_gymnasiums_wrappers():
    envs = wrappers.RecordEpisodeStatistics(make(8))
    envs.reset(seed=0)
    rewards, lengths = np.zeros(8), np.zeros(8, int)
    rng, finished = np.random.default_rng(0), 0
    for _ in range(80):
        _, reward, terminated, truncated, infos = envs.step(rng.uniform(-1, 1, (8, 2)).astype(np.float32))
        rewards, lengths, done = rewards + reward, lengths + 1, terminated | truncated
        if done.any():
            np.testing.assert_allclose(infos["episode"]["r"][done], rewards[done], rtol=1e-6)
            assert (infos["episode"]["l"][done] == lengths[done]).all() and (infos["_episode"] == done).all()
        rewards[done], lengths[done], finished = 0, 0, finished + done.sum()
    assert finished > 8
    envs.reset(options={"reset_mask": np.arange(8) < 3})
    assert (envs.episode_lengths[:3] == 0).all()

    plain, clipped, doubled, rescaled, listed, normalised, as_tensors = (
        wrap(make(4))
        for wrap in (
            lambda envs: envs,
            lambda envs: wrappers.ClipReward(envs, 0.0, 0.1),
            lambda envs: wrappers.TransformReward(envs, lambda reward: 2 * reward),
            lambda envs: wrappers.RescaleAction(envs, -2.0, 2.0),
            wrappers.DictInfoToList,
            wrappers.NormalizeReward,
            wrappers.NumpyToTorch,
        )
    )
    every = plain, clipped, doubled, rescaled, listed, normalised, as_tensors
    for envs in every:
        envs.reset(seed=0)
    actions = np.full((4, 2), 0.2, np.float32)
    rewards = []
    for _ in range(3):
        obs, reward, *_ = plain.step(actions)
        rewards.append(reward)
        assert np.allclose(clipped.step(actions)[1], np.minimum(reward, 0.1))
        assert np.allclose(doubled.step(actions)[1], 2 * reward)
        np.testing.assert_allclose(rescaled.step(2 * actions)[0], obs, atol=1e-6)
        assert np.isfinite(normalised.step(actions)[1]).all()
        tensor, *_ = as_tensors.step(torch.from_numpy(actions))
        assert isinstance(tensor, torch.Tensor) and np.array_equal(tensor, obs)
        assert listed.step(actions)[4] == [{"crashed": False, "off_road": False}] * 4
    first, second, *_ = step_until_an_end(listed)[4]
    assert first["final_info"]["off_road"] and first["final_info"]["vehicle_state"].shape == (2, 4)
    assert first["final_obs"].shape == (7,) and "final_obs" not in second
    for refusing in (wrappers.NormalizeObservation, wrappers.FlattenObservation):
        with pytest.raises(ValueError, match="NEXT_STEP"):
            refusing(plain)


@pytest.mark.parametrize(
    ("scenario", "settings", "rate"), [("pass", {}, 5), ("highway", {"policy_frequency": 15}, 15), ("replay", {}, 10)]
)
def test_metadata_is_each_environments_own(scenario, settings, rate, tmp_path):
    if scenario == "replay":
        record_world(tmp_path / "replay.safetensors")
        settings = {"recording": tmp_path / "replay.safetensors"}
    envs = make(2, scenario, **settings)
    assert envs.metadata == {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": [], "render_fps": rate}
    envs.metadata["render_fps"] = 1
    envs.metadata["render_modes"].append("human")
    assert make(2, scenario, **settings).metadata["render_fps"] == rate
    assert make(2, scenario, **settings).metadata["render_modes"] == []


@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_row_k_of_the_scenes_starts_the_single_environment(scenario, tmp_path):
    settings = {}
    if scenario == "replay":
        record_world(tmp_path / "replay.safetensors")
        settings = {"recording": tmp_path / "replay.safetensors"}
    if scenario == "follow":
        record_followers(tmp_path / "follow.safetensors", 2)
        settings = {"recording": tmp_path / "follow.safetensors"}
    env, envs = (
        gymnasium.make(environment_id(scenario), **settings),
        make(9, scenario, dtype="float64", **settings),
    )
    envs.reset(seed=3)
    scene, states = envs.unwrapped.scene, envs.unwrapped.vehicle_state
    assert all(len(values) == 9 for values in scene.values())
    obs, _ = env.reset(options={"scene": {name: values[7] for name, values in scene.items()}})
    np.testing.assert_allclose(env.unwrapped.vehicle_state[0], states[7, 0], rtol=0, atol=1e-12)
    seen, _ = envs.reset(options={"scene": {name: values[7] for name, values in scene.items()}})  # one for all
    np.testing.assert_allclose(seen, np.tile(obs, (9, 1)), rtol=0, atol=1e-6)
    envs.reset(options={"scene": scene})
    np.testing.assert_array_equal(envs.unwrapped.vehicle_state, states)


@pytest.mark.parametrize("scenario", ["pass", "highway"])
def test_a_mask_resets_its_environments_alone(scenario):
    envs, others = make(6, scenario), make(6, scenario)
    for each in (envs, others):
        each.reset(seed=0)
        before, *_ = each.step(np.full((6, 2), 0.1, np.float32))
    states, scene = envs.unwrapped.vehicle_state, envs.unwrapped.scene
    mask = np.array([True, False, False, True, False, False])
    obs, infos = envs.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(infos["_crashed"], mask)
    np.testing.assert_array_equal(obs[~mask], before[~mask])
    np.testing.assert_array_equal(envs.unwrapped.vehicle_state[~mask], states[~mask])
    fresh, _ = others.reset()
    np.testing.assert_allclose(obs[mask], fresh[mask], atol=1e-6)  # the episode that a full reset would begin, too
    assert envs.unwrapped.state_dict()["elapsed"].tolist() == np.where(mask, 0, 1).tolist()
    # With a seed or a scene it is the same: only where the mask says so.
    states = envs.unwrapped.vehicle_state
    envs.reset(seed=5, options={"reset_mask": mask})
    others.reset(seed=5)
    np.testing.assert_array_equal(envs.unwrapped.vehicle_state[~mask], states[~mask])
    np.testing.assert_allclose(envs.unwrapped.vehicle_state[mask], others.unwrapped.vehicle_state[mask], atol=1e-4)
    envs.reset(options={"reset_mask": ~mask, "scene": scene})
    for name, values in envs.unwrapped.scene.items():
        np.testing.assert_allclose(values[~mask], scene[name][~mask], rtol=1e-6)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(3, bool), r"reset_mask must be bool \(4,\), not bool \(3,\)"),
        (np.ones(4, int), r"reset_mask must be bool \(4,\), not int64 \(4,\)"),
        (np.zeros(4, bool), "reset_mask is all False"),
    ],
)
def test_a_malformed_mask_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        make().reset(options={"reset_mask": mask})


def test_a_list_of_seeds_gives_each_environment_its_own():
    envs, single = make(4), make(1)
    envs.reset(seed=0)
    kept = envs.unwrapped.state_dict()["streams"][3].item()
    seeds = [7, 3, 0, None]
    envs.reset(seed=seeds)
    scene = envs.unwrapped.scene
    for k, seed in enumerate(seeds[:3]):
        single.reset(seed=seed)
        assert all(single.unwrapped.scene[name][0] == values[k] for name, values in scene.items())
    assert envs.unwrapped.state_dict()["streams"][3].item() == kept
    envs.reset(seed=seeds[:3] + [1])
    assert all((envs.unwrapped.scene[name][:3] == values[:3]).all() for name, values in scene.items())
    for wrong, message in (
        ([1, 2], "one entry for each of 4 environments, not 2"),
        ([1, 2, 3, -4], r"seed\[3\] is -4"),
        ([1, 2.5, 3, 4], r"seed\[1\] is 2\.5"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.reset(seed=wrong)


def splitmix64(state: int) -> int:
    """In Python's own integers, after Steele, Lea & Flood 2014."""
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 5])
def test_a_seed_means_the_same_scenes_for_ever(seed):
    # Stream b of a seed, and the n-th number in it: outputs of SplitMix64 after b + 1 and n + 1 increments.
    increment, envs = 0x9E3779B97F4A7C15, make(3, dtype="float64")
    draws = envs.unwrapped.scenario.draws
    assert all(draw.size == 0 for draw in draws.values())
    for episode, options in enumerate(({"seed": seed}, {}, {})):
        envs.reset(**options)
        for k, (name, draw) in enumerate(draws.items()):
            for b, value in enumerate(envs.unwrapped.scene[name]):
                stream = splitmix64(splitmix64(seed) + (b + 1) * increment & 2**64 - 1)
                number = episode * len(draws) + k
                share = (splitmix64(stream + (number + 1) * increment & 2**64 - 1) >> 40) / 2**24
                share = round(share) if draw.only_ends else share
                assert value == pytest.approx(draw.low + share * (draw.high - draw.low), abs=1e-12)


def test_the_reward_is_the_speed_until_a_failure_and_actions_are_clipped():
    envs, others = make(2), make(2)
    envs.reset(seed=0), others.reset(seed=0)
    for _ in range(60):
        (_, reward, terminated, _, _), (_, same, *_) = (
            each.step(np.array([[throttle, lock], [-throttle, 0.0]], np.float32))
            for each, throttle, lock in ((envs, 1.0, 1.0), (others, 3.0, 7.0))
        )
        np.testing.assert_array_equal(reward, same)
        speeds = envs.unwrapped.vehicle_state[:, 0, 3]
        np.testing.assert_allclose(reward, np.where(terminated, 0.0, speeds / 40.0), rtol=1e-6)
        if terminated[0]:
            break
    assert terminated.tolist() == [True, False]


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="unknown reset options: 'wind'; valid options are 'scene' and 'reset_mask'"):
        make().reset(options={"wind": 3})
    with pytest.raises(ValueError, match=r"render_mode='rgb_array'.*use gymnasium\.make for pictures"):
        make(render_mode="rgb_array")
    for refused in ({"config": {}}, {"max_episode_steps": 3}, {"autoreset_mode": "NextStep"}):
        with pytest.raises(TypeError, match=next(iter(refused))):
            make(**refused)
    with pytest.raises(gymnasium.error.Error, match="vector_kwargs"):
        make(vector_kwargs={"copy": True})
    with pytest.raises(gymnasium.error.Error, match="wrappers"):
        make(wrappers=(gymnasium.wrappers.ClipAction,))
    with pytest.raises(ValueError, match=r"scene\['ego_speed'\] has the shape \(3,\), but must have \(4,\), or \(\)"):
        envs = make()
        envs.reset(options={"scene": envs.unwrapped.scene | {"ego_speed": np.ones(3)}})


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("shape", [(2,), (4,), (4, 3), (3, 2), (1, 4, 2), (2, 4)])
def test_actions_of_another_shape_are_refused(shape, tensors):
    envs = make(tensors=tensors)
    envs.reset(seed=0)
    with pytest.raises(ValueError) as raised:
        envs.step(np.zeros(shape, np.float32))
    assert str(raised.value) == f"actions have the shape {shape}, but must have (num_envs, 2) = (4, 2)"


@pytest.mark.filterwarnings("error")
def test_actions_may_be_tensors_lists_or_read_only_arrays():
    envs = make()
    read_only = np.broadcast_to(np.float64(0.3), (4, 2))
    observations = []
    for actions in (read_only, read_only.tolist(), torch.full((4, 2), 0.3), torch.full((4, 2), 0.3).double()):
        envs.reset(seed=0)
        observations.append(envs.step(actions)[0])
    for obs in observations[1:]:
        np.testing.assert_array_equal(obs, observations[0])


def test_actions_that_are_not_finite_are_named():
    envs = make()
    envs.reset(seed=0)
    states = envs.unwrapped.vehicle_state
    actions = np.zeros((4, 2), np.float32)
    actions[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"^actions\[3\] is \[nan, 0\.0\]: actions must be finite$"):
        envs.step(actions)
    actions[1, 1] = np.inf
    with pytest.raises(
        ValueError, match=r"^actions\[1\] is \[0\.0, inf\] \(and likewise in 1 more environments\): actions"
    ):
        envs.step(torch.from_numpy(actions))
    np.testing.assert_array_equal(envs.unwrapped.vehicle_state, states)


def test_no_gradient_is_recorded():
    envs = make(16, tensors=True)
    obs, infos = envs.reset(seed=0)
    assert not any(tensor.requires_grad for tensor in (obs, *flat(infos)))
    actions = torch.full((16, 2), 0.5, requires_grad=True)

    def drive(steps: int) -> None:
        for _ in range(steps):
            *returned, infos = envs.step(actions)
            assert not any(tensor.requires_grad for tensor in (*returned, *flat(infos)))

    def living_tensors() -> int:
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    drive(5)
    living = living_tensors()
    drive(100)
    assert living_tensors() == living
    assert not any(tensor.requires_grad for tensor in envs.unwrapped.state_dict().values())
    arrays = make(16)
    arrays.reset(seed=0)
    assert type(arrays.step(actions)[0]) is np.ndarray


@pytest.mark.slow
@pytest.mark.parametrize("tensors", [False, True])
def test_all_of_it_compiled(tensors):
    if missing := missing_compiler():
        pytest.skip(f"no {missing}")
    envs, eager = (make(6, dtype="float64", compile=compiled, tensors=tensors) for compiled in (True, False))
    mask = np.arange(6) < 2
    for options in ({"seed": 0}, {"seed": [5, 6, None, 1, 2, 3]}, {"options": {"reset_mask": mask}}):
        obs, expected = envs.reset(**options)[0], eager.reset(**options)[0]
        np.testing.assert_allclose(obs, expected, rtol=0, atol=1e-9)
        for k in range(70):
            actions = torch.full((6, 2), 0.3 * np.sin(k), requires_grad=True)
            (*returned, infos), (*same, same_infos) = envs.step(actions), eager.step(actions)
            assert infos.keys() == same_infos.keys()
            for a, b in zip((*returned, *flat(infos)), (*same, *flat(same_infos)), strict=True):
                assert type(a) is (torch.Tensor if tensors else np.ndarray)
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)
    if not tensors:
        with pytest.raises(ValueError, match="must be finite"):
            envs.step(np.full((6, 2), np.nan))


@pytest.mark.parametrize("make", [gymnasium.make, partial(gymnasium.make_vec, vectorization_mode="vector_entry_point")])
def test_a_scene_that_is_none_is_refused_by_name(make):
    with pytest.raises(ValueError, match=r"^scene is None, not a dict of ego_offset"):
        make("infogail/Pass-v0").reset(options={"scene": None})
