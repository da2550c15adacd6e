"""Policies that somebody else trained: Stable-Baselines3's zips and ONNX files."""

import gymnasium
import numpy as np
import onnx
import pytest
import stable_baselines3
from onnx import TensorProto, helper

from infogail.envs.errors import BadInput
from infogail.envs.gym_environment import record_policy
from infogail.envs.policies import load_policy

OBSERVATION = np.array([0.02, -0.4, 0.03, 0.5], np.float32)


@pytest.mark.parametrize(
    ("algorithm", "environment"),
    [
        ("PPO", "CartPole-v1"),
        ("A2C", "CartPole-v1"),
        ("DQN", "CartPole-v1"),
        ("SAC", "Pendulum-v1"),
        ("TD3", "Pendulum-v1"),
    ],
)
def test_a_stable_baselines3_zip_acts_as_it_did(tmp_path, algorithm, environment):
    env = gymnasium.make(environment)
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", env, device="cpu", seed=1)
    model.save(tmp_path / "model.zip")
    policy = load_policy(str(tmp_path / "model.zip"), env)
    for observation in np.random.default_rng(0).normal(size=(20, *env.observation_space.shape)).astype(np.float32):
        np.testing.assert_array_equal(policy(observation), model.predict(observation, deterministic=True)[0])
    assert record_policy(env, policy, 1).num_episodes == 1
    other = gymnasium.make("Acrobot-v1")
    with pytest.raises(BadInput, match=r"its observation space is .*; give a policy trained in this environment"):
        load_policy(str(tmp_path / "model.zip"), other)


def linear(path, weights):
    """Write an ONNX model that multiplies an observation by `weights` (F, A)."""
    inputs, outputs = weights.shape
    given = helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", inputs])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", outputs])
    matrix = helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel())
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["observation", "weights"], ["output"])], "linear", [given], [result], [matrix]
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path)


def test_an_onnx_file_gives_logits_of_a_choice_or_the_action_itself(tmp_path):
    path = str(tmp_path / "linear.onnx")
    linear(path, np.array([[0.0, 0.1], [0.0, 0.3], [0.0, 1.0], [0.0, 1.0]]))
    policy = load_policy(path, gymnasium.make("CartPole-v1"))
    assert [policy(OBSERVATION), policy(-OBSERVATION)] == [1, 0]  # 0.002 - 0.12 + 0.03 + 0.5 is positive
    assert record_policy(gymnasium.make("CartPole-v1"), policy, 1).returns.tolist() == [500.0]
    linear(path, np.array([[1.0], [0.5], [0.25]]))
    policy = load_policy(path, gymnasium.make("Pendulum-v1"))
    assert policy(np.array([0.5, 1.0, -2.0], np.float32)).tolist() == [0.5]
    with pytest.raises(BadInput, match="export a model of Box"):
        load_policy(path, gymnasium.make("CartPole-v1"))(OBSERVATION)
