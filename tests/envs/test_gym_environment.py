"""Any Gymnasium environment as learners see it: spaces, ends of episodes, seeds, bad input, learning."""

import time
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from infogail.baselines.gail import GAIL
from infogail.config.config import Config
from infogail.envs.data.demonstrations import concatenate
from infogail.envs.data.episodes import Episodes
from infogail.envs.environment import Spec
from infogail.envs.errors import BadInput
from infogail.envs.gym_environment import GymEnvironment, record_policy
from infogail.envs.interface import Interface
from infogail.learning.networks import Policy
from infogail.learning.ppo import PPO
from infogail.learning.rollout import collect

BALANCE = np.array([0.1, 0.3, 1.0, 1.0])  # pushing to where this is positive keeps CartPole's pole up


class Counter(gym.Env):
    """Observes its clock, and the last action as it arrived; terminates after `end` steps."""

    def __init__(self, action_space=None, observation_space=None, end=100):
        self.action_space = action_space or spaces.Discrete(3, start=5)
        self.observation_space = observation_space or spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.end, self.clock, self.received = end, 0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock, self.start = 0, self.np_random.uniform()
        return self.observe(), {}

    def step(self, action):
        self.received.append(action)
        self.clock += 1
        return self.observe(), 1.0, self.clock >= self.end, False, {}

    def observe(self):
        if isinstance(self.observation_space, spaces.Dict):
            return {"clock": np.array([self.clock], np.float32), "odd": self.clock % 2}
        return np.array([self.clock, self.start])


def limited(steps=4, **options):
    return lambda: TimeLimit(Counter(**options), steps)


@pytest.mark.parametrize(
    ("space", "action", "encoded"),
    [
        (spaces.Discrete(3, start=5), 7, [0, 0, 1]),
        (spaces.MultiDiscrete([3, 2]), [2, 0], [0, 0, 1, 1, 0]),
        (spaces.Box(np.array([-2.0, 0.0]), np.array([2.0, 10.0]), dtype=np.float64), [1.0, 2.5], [0.5, -0.5]),
        (spaces.Box(-1.0, 3.0, (2, 1)), [[3.0], [1.0]], [1.0, 0.0]),
    ],
)
def test_actions_are_encoded_and_decoded(space, action, encoded):
    interface = Interface(limited(action_space=space)(), "neither")
    action = np.asarray(action, space.dtype)
    assert interface.spec.action_size == len(encoded)
    assert interface.encode(action[None]).tolist() == [encoded]
    (decoded,) = interface.decode(np.array([encoded], np.float32))
    np.testing.assert_array_equal(decoded, action)
    assert space.contains(decoded) and decoded.dtype == space.dtype


def test_continuous_actions_are_clipped_to_the_bounds():
    interface = Interface(limited(action_space=spaces.Box(-2.0, 6.0, (1,)))(), "neither")
    assert interface.decode(np.array([[-3.0], [1.5], [0.0]], np.float32)).tolist() == [[-2.0], [6.0], [2.0]]


def test_dict_observations_are_flattened_in_the_order_of_their_keys():
    space = spaces.Dict(clock=spaces.Box(0, 9, (1,)), odd=spaces.Discrete(2))
    env = GymEnvironment(limited(observation_space=space), 2)
    assert env.spec.observation_shape == (3,)
    assert env.reset(seed=0).tolist() == [[0, 1, 0]] * 2  # the clock, then one-hot
    assert env.step(torch.eye(3)[:2]).observations.tolist() == [[1, 0, 1]] * 2


def test_a_termination_and_a_truncation_keep_the_last_observation_and_start_anew():
    for end, terminated in ((4, True), (9, False)):
        env = GymEnvironment(limited(end=end), 2)
        first = env.reset(seed=0)
        steps = [env.step(torch.eye(3)[[0, 1]]) for _ in range(4)]
        assert env.spec.horizon == 4
        assert [step.final_observations[0, 0].item() for step in steps] == [1, 2, 3, 4]
        assert [step.observations[0, 0].item() for step in steps] == [1, 2, 3, 0]
        last = steps[-1]
        assert last.terminated.tolist() == [terminated] * 2 and last.truncated.tolist() == [not terminated] * 2
        assert not any((step.terminated | step.truncated).any() for step in steps[:-1])
        assert (steps[-1].observations[:, 1] != first[:, 1]).all()  # another start


def test_resets_follow_from_the_seed_and_resume():
    env, same = (GymEnvironment(limited(), 3) for _ in range(2))
    starts = [env.reset(seed=1), env.reset()]
    assert len({value.item() for start in starts for value in start[:, 1]}) == 6
    assert torch.equal(same.reset(seed=1), starts[0])
    state = same.state_dict()
    resumed = GymEnvironment(limited(), 3)
    resumed.load_state_dict(state)
    assert torch.equal(resumed.reset(), starts[1])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (Counter, "Counter: has no time limit"),
        (limited(action_space=spaces.Box(-np.inf, 1.0, (1,))), "Counter: actions are unbounded"),
        (limited(action_space=spaces.Text(3)), "Counter: actions are Text"),
        (limited(observation_space=spaces.Sequence(spaces.Discrete(2))), "Counter: observations hold Sequence"),
    ],
)
def test_what_learners_cannot_use_is_refused(make, problem):
    with pytest.raises(BadInput, match=problem):
        GymEnvironment(make, 1)


def test_recording_refuses_an_action_outside_the_space():
    with pytest.raises(BadInput, match=r"the policy's action 3 is not in the action space Discrete\(3, start=5\)"):
        record_policy(limited()(), lambda obs: 3, 1)


def test_recording_keeps_every_decision():
    recorded = record_policy(limited(end=3)(), lambda obs: 5 + int(obs[0]), 2, seed=7, style=1)
    demonstrations = recorded.demonstrations
    assert demonstrations.episode_bounds.tolist() == [0, 3, 6] and recorded.returns.tolist() == [3.0, 3.0]
    assert recorded.seeds.tolist() == [7, 8] and recorded.styles.tolist() == [1, 1]
    assert demonstrations.observations[:, 0].tolist() == [0, 1, 2] * 2
    assert demonstrations.actions.tolist() == np.eye(3).tolist() * 2


@pytest.mark.parametrize(
    ("ends", "meaning"),
    [((2, 3, 9), "success"), ((9, 9, 9), "failure"), ((2, 9, 9), "neither"), ((4, 9, 9), "failure")],
)
def test_what_an_early_end_means_follows_from_how_often_episodes_end_early(ends, meaning):
    # Of a time limit of 4: at 9 the episode is truncated, and an end at 4 cuts nothing off.
    recorded = Episodes.join([record_policy(limited(end=end)(), lambda obs: 5, 1) for end in ends])
    assert recorded.early_end == recorded.interpreted(None).demonstrations.spec.early_end == meaning
    assert recorded.interpreted("success").interface.spec.early_end == "success"


def test_episodes_of_a_smaller_return_are_left_out():
    class Varied(Counter):
        def reset(self, **options):
            observation, info = super().reset(**options)
            self.end = 1 + int(9 * self.start)  # the return
            return observation, info

    episodes = record_policy(TimeLimit(Varied(), 20), lambda obs: 5, 3, seed=0, min_return=6.0)
    everything = record_policy(TimeLimit(Varied(), 20), lambda obs: 5, 20, seed=0)
    good = np.flatnonzero(everything.returns >= 6)[:3]
    assert episodes.seeds.tolist() == good.tolist() != [0, 1, 2]
    assert episodes.returns.tolist() == everything.returns[good].tolist()
    with pytest.raises(BadInput, match="no episode of a hundred has a return of 60 or more"):
        record_policy(TimeLimit(Varied(), 20), lambda obs: 5, 3, min_return=60.0)


def test_an_environment_that_its_seed_does_not_determine_is_noticed():
    class Unseeded(Counter):
        def observe(self):
            return np.array([self.clock, np.random.default_rng().uniform()])

    assert GymEnvironment(limited(), 1).reproducible
    assert not GymEnvironment(lambda: TimeLimit(Unseeded(), 4), 1).reproducible


def test_episodes_are_concatenated_in_order_and_only_those_of_one_task():
    ends, make = (3, 2), spaces.Box(-np.inf, np.inf, (2,), np.float64)
    parts = [record_policy(limited(end=end, observation_space=make)(), lambda obs: 6, 2).demonstrations for end in ends]
    together = concatenate(parts)
    assert together.lengths.tolist() == [3, 3, 2, 2]
    assert together.observations[:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1]
    other = record_policy(limited(steps=5)(), lambda obs: 6, 1).demonstrations
    with pytest.raises(ValueError, match="of one task"):
        concatenate([*parts, other])


def test_gail_learns_to_balance_a_pole_from_one_demonstration():
    env = gym.make("CartPole-v1")
    recorded = record_policy(env, lambda obs: int(obs @ BALANCE > 0), 1)
    assert recorded.returns.tolist() == [500.0] and recorded.demonstrations.spec.early_end == "failure"
    settings = {"num_envs": 8, "threads": 1, "gamma": 0.99, "settling_iterations": None, "iterations": 15}
    config = Config.of(**settings, warm_start_steps=0, held_iterations=0, learning_rate=3e-3)
    learner = GAIL(GymEnvironment("CartPole-v1", 8, "failure"), recorded.demonstrations, config)

    def mean_return():
        def act(obs):
            inputs = learner.policy.inputs(torch.as_tensor(obs)[None], torch.zeros(1, dtype=torch.int64))
            return int(learner.policy(inputs).mode().argmax())

        with torch.no_grad():
            return record_policy(env, act, 10, seed=1000).returns.mean()

    before = mean_return()
    for _ in range(15):
        learner.iterate()
    assert before < 100 and mean_return() > 400


def test_an_environments_own_vector_form_says_which_steps_only_reset():
    # CartPole's: 16 poles pushed to one side fall after about ten steps, and the step after that begins anew.
    env, twin = GymEnvironment(gym.spec("CartPole-v1"), 16, "failure"), gym.make("CartPole-v1")
    before, ended, fallen = env.reset(seed=0), torch.zeros(16, dtype=torch.bool), 0
    twin.reset(seed=0)
    assert not isinstance(env._envs, SyncVectorEnv)
    for _ in range(30):
        step = env.step(torch.eye(2)[[1] * 16])
        assert torch.equal(step.ignored, ended) and torch.equal(step.observations, step.final_observations)
        for b in range(16):
            if ended[b]:
                assert step.observations[b].abs().max() <= 0.05 and not step.terminated[b]  # a start
            else:
                twin.unwrapped.state = before[b].numpy()
                expected, _, fell, _, _ = twin.step(1)
                np.testing.assert_allclose(step.observations[b], expected, atol=1e-5)
                twin.unwrapped.steps_beyond_terminated = None
                assert bool(step.terminated[b]) == fell
        before, ended = step.observations, step.terminated
        fallen += int(ended.sum())
    assert fallen >= 32


def test_a_step_that_only_resets_teaches_nobody():
    policy = Policy(GymEnvironment("CartPole-v1", 4).spec, 2, Config.of(hidden=8).policy)
    rollout = collect(
        GymEnvironment("CartPole-v1", 4), policy, lambda _: torch.tensor([0, 1, 0, 1]), torch.Generator().manual_seed(0)
    )
    after_an_end = rollout.done.roll(1, 0)
    after_an_end[0] = False
    assert after_an_end.sum() > 20 and torch.equal(rollout.ignored, after_an_end)
    spec = GymEnvironment("CartPole-v1", 4).spec
    assert torch.equal(rollout.counted(spec), ~after_an_end)
    assert len(rollout.decided(rollout.actions)) == 4 * 500 - after_an_end.sum()
    steps = [len(rollout.decided(column)) for column in (rollout.log_probs, rollout.pairs())]
    assert steps == [len(rollout.decided(rollout.actions))] * 2
    # Whatever the ignored steps hold, learners do what they did.
    results = []
    for junk in (0.0, 1e6):
        torch.manual_seed(0)
        ppo = PPO(spec, 2, Config.of(hidden=8, ppo_epochs=2), torch.Generator().manual_seed(0))
        spoilt = torch.where(after_an_end[..., None], junk, rollout.observations)
        rewards = torch.where(after_an_end, junk, rollout.observations[..., 0])
        ppo.update(replace(rollout, observations=spoilt), rewards)
        results.append(torch.cat([weight.flatten() for weight in ppo.policy.parameters()]))
    assert torch.equal(*results)


class Slow(Counter):
    """Takes 2 ms a step."""

    def step(self, action):
        time.sleep(2e-3)
        return super().step(action)


def test_slow_environments_step_in_processes_with_the_same_results():
    # As what is timed is in the parent, the fast one is the same environment without its pause.
    slow, fast = (GymEnvironment(lambda kind=kind: TimeLimit(kind(end=3), 5), 2) for kind in (Slow, Counter))
    assert isinstance(slow._envs, AsyncVectorEnv) and isinstance(fast._envs, SyncVectorEnv)
    assert torch.equal(slow.reset(seed=4), fast.reset(seed=4))
    for _ in range(7):
        for ours, theirs in zip(slow.step(torch.eye(3)[:2]), fast.step(torch.eye(3)[:2]), strict=True):
            assert ours is theirs is None or torch.equal(ours, theirs)
    slow._envs.close()


def test_an_environment_may_say_what_its_ends_mean_and_where_its_style_shows():
    class Telling(Counter):
        learner_spec = Spec((9,), np.dtype(np.float32), spaces.Discrete(2), 7, "success", (1,), 0.5)

    recorded = record_policy(limited()().__class__(Telling(end=2), 4), lambda obs: 5, 3)
    spec = recorded.demonstrations.spec
    assert (spec.early_end, spec.style_features, spec.style_tolerance) == ("success", (1,), 0.5)
    assert (spec.observation_shape, spec.horizon, spec.categories) == ((2,), 4, (3,))  # as they are
    assert recorded.interpreted("neither").interface.spec.early_end == "neither"
