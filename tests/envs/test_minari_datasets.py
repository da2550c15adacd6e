"""Minari data sets in and out: exact round trips, styles and seeds, bad input."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from infogail.envs.data.episodes import Episodes
from infogail.envs.errors import BadInput
from infogail.envs.gym_environment import record_policy
from infogail.envs.minari_datasets import load_minari, save_minari

minari = pytest.importorskip("minari")
pytestmark = pytest.mark.filterwarnings("ignore:.*(is set to|is) None", "ignore:.*precision lowered")


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


class Everything(gymnasium.Env):
    """Observations of every kind, and actions within uneven bounds."""

    observation_space = spaces.Dict(
        image=spaces.Box(0, 255, (16, 16, 3), np.uint8),
        pair=spaces.Tuple((spaces.Discrete(3), spaces.Box(-np.inf, np.inf, (2,), np.float64))),
        switches=spaces.MultiBinary(3),
    )
    action_space = spaces.Box(np.float32([0.0, -3.0]), np.float32([1e-3, 7.0]))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), self.np_random.normal(), self.np_random.uniform() < 0.2, False, {}


gymnasium.register("infogail-test/Everything-v0", f"{__name__}:Everything", max_episode_steps=9)
gymnasium.register("infogail-test/Callable-v0", Everything, max_episode_steps=9)


def recorded(name="infogail-test/Everything-v0", episodes=5, style=-1, seed=0):
    env = gymnasium.make(name)
    env.action_space.seed(3)
    return record_policy(env, lambda obs: env.action_space.sample(), episodes, seed, "neither", style)


def bits(episodes, folder):
    episodes.save(folder / "file.safetensors")
    return (folder / "file.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["infogail-test/Everything-v0", "CartPole-v1", "Pendulum-v1"])
def test_a_round_trip_is_exact(datasets, name):
    episodes = Episodes.join([recorded(name, 2), recorded(name, 2, style=3, seed=50)])
    save_minari(episodes, "some/round-trip-v0")
    loaded = load_minari("some/round-trip-v0")
    assert loaded.source == "minari:some/round-trip-v0"
    assert bits(replace(loaded, source=episodes.source), datasets) == bits(episodes, datasets)
    # And Minari reads what the environment gave and took, in its own spaces.
    theirs = list(minari.load_dataset("some/round-trip-v0").iterate_episodes())
    assert [len(one) for one in theirs] == np.diff(episodes.episode_bounds).tolist()
    assert [bool(one.terminations[-1]) for one in theirs] == episodes.terminated.tolist()
    assert all(one.terminations[-1] != one.truncations[-1] for one in theirs)
    assert theirs[2].infos["style"].tolist() == [3] * (len(theirs[2]) + 1) and not theirs[0].infos
    np.testing.assert_array_equal(np.concatenate([one.actions for one in theirs]), episodes.actions)


def test_somebody_elses_data_set_comes_back_as_it_was(datasets):
    # As Minari's own collector would write it, with 64-bit observations that float32 cannot hold.
    name, rng = "infogail-test/Everything-v0", np.random.default_rng(0)
    env = gymnasium.make(name)
    buffers = []
    for k in range(3):
        observations = [env.reset(seed=k)[0]] + [env.observation_space.sample() for _ in range(4)]
        stack = {
            "image": np.stack([o["image"] for o in observations]),
            "pair": tuple(np.stack([o["pair"][i] for o in observations]) for i in (0, 1)),
            "switches": np.stack([o["switches"] for o in observations]),
        }
        actions, ends = rng.uniform([0, -3], [1e-3, 7], (4, 2)).astype(np.float32), [False, False, False, k == 1]
        buffer = minari.data_collector.EpisodeBuffer(
            id=k, seed=k, observations=stack, actions=actions, rewards=list(rng.normal(size=4)), terminations=ends,
            truncations=[False, False, False, k != 1], infos={"style": np.full(5, k % 2)},
        )  # fmt: skip
        buffers.append(buffer)
    minari.create_dataset_from_buffers("theirs-v0", buffers, env=name, jpeg_encoding=False)
    episodes = load_minari("theirs-v0")
    assert episodes.styles.tolist() == [0, 1, 0] and episodes.seeds.tolist() == [0, 1, 2]
    assert episodes.terminated.tolist() == [False, True, False]
    save_minari(episodes, "back-v0")
    for ours, buffer in zip(minari.load_dataset("back-v0").iterate_episodes(), buffers, strict=True):
        np.testing.assert_array_equal(ours.observations["pair"][1], buffer.observations["pair"][1])
        np.testing.assert_array_equal(ours.observations["image"], buffer.observations["image"])
        np.testing.assert_array_equal(ours.actions, buffer.actions)
        assert ours.rewards.tolist() == buffer.rewards and ours.actions.dtype == np.float32


def bare(name, actions=((0,), (1,)), spaces_of="CartPole-v1", **options):
    """A data set of one episode of CartPole, with `options` of Minari's."""
    env = gymnasium.make(spaces_of)
    shape = len(actions) + 1, *env.observation_space.shape
    observations = options.pop("observations", np.zeros(shape, np.float32))
    buffer = minari.data_collector.EpisodeBuffer(
        observations=observations,
        actions=np.array(actions).ravel(),
        rewards=[1.0] * len(actions),
        terminations=[False] * len(actions),
        truncations=[False] * (len(actions) - 1) + [True],
        infos=options.pop("infos", None),
    )
    options = {"observation_space": env.observation_space, "action_space": env.action_space} | options
    minari.create_dataset_from_buffers(name, [buffer], **options)


def test_a_data_set_without_an_environment_needs_its_name(datasets):
    bare("nameless-v0")
    with pytest.raises(BadInput, match=r"minari:nameless-v0: does not name its environment .* give --environment"):
        load_minari("nameless-v0")
    assert load_minari("nameless-v0", "CartPole-v1").actions.tolist() == [0, 1]
    with pytest.raises(BadInput, match=r"its observation space is Box.* that of Acrobot-v1 is"):
        load_minari("nameless-v0", "Acrobot-v1")


def no_network(*_):
    raise OSError("Network is unreachable")


def test_what_is_wrong_with_a_data_set_is_said(datasets, monkeypatch):
    nothing = np.full((3, 4), np.nan, np.float32)
    for name, problem, options in [
        ("nan-v0", "'observations' holds NaN", {"observations": nothing}),
        ("wild-v0", "the action of decision 1 is outside Discrete", {"actions": (0, 7)}),
        ("long-v0", "an episode has 501 decisions, more than the time limit of 500", {"actions": [0] * 501}),
        ("mixed-v0", "infos\\['style'\\] \\[0 1\\]", {"infos": {"style": np.array([0, 1, 1])}}),
    ]:
        bare(name, env="CartPole-v1", **options)
        with pytest.raises(BadInput, match=f"minari:{name}: .*{problem}"):
            load_minari(name)
    with pytest.raises(BadInput, match="is of CartPole-v1, not Acrobot-v1; leave --environment out"):
        load_minari("nan-v0", "Acrobot-v1")
    monkeypatch.setattr("minari.storage.local.hosting.download_dataset", no_network)
    with pytest.raises(BadInput, match=r"minari:nothing-v0: is not here, and could not be downloaded \(Network is unr"):
        load_minari("nothing-v0")


def test_a_data_set_is_not_overwritten_and_none_is_left_half_written(datasets, monkeypatch):
    episodes = recorded("CartPole-v1", 2)
    save_minari(episodes, "mine-v0")
    with pytest.raises(BadInput, match="minari:mine-v0: exists"):
        save_minari(episodes, "mine-v0")
    assert load_minari("mine-v0").num_episodes == 2
    with pytest.raises(BadInput, match="minari:no name: Malformed dataset ID"):
        save_minari(episodes, "no name")
    from minari.dataset._storages.hdf5_storage import HDF5Storage

    monkeypatch.setattr(HDF5Storage, "update_episodes", lambda *each: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_minari(episodes, "half-v0")
    assert not (datasets / "minari/half-v0").exists()


def test_an_environment_that_minari_cannot_name_is_refused():
    with pytest.raises(BadInput, match=r"infogail-test/Callable-v0: .* register it with entry_point='module:Class'"):
        save_minari(recorded("infogail-test/Callable-v0", 1), "callable-v0")


def test_an_environment_of_ones_own_can_be_recorded_wrapped():
    env = TimeLimit(Everything(), 4)
    env.action_space.seed(0)
    episodes = record_policy(env, lambda obs: env.action_space.sample(), 3)
    assert episodes.observations.dtype == np.float64 and episodes.demonstrations.observations.dtype == np.float32
    assert episodes.demonstrations.observations.shape[1] == 16 * 16 * 3 + 3 + 2 + 3
