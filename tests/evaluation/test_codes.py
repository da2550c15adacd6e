import numpy as np
from replay_world import Scripted

from infogail.envs.catalogue import get_scenario
from infogail.envs.data.demonstrations import Demonstrations
from infogail.evaluation.codes import read_code, read_codes, read_step_codes

REPLAY = get_scenario("replay").spec


def test_a_code_is_read_by_posterior_and_prior():
    driver = Scripted((0.0, 0.0), read=1)
    seen = np.zeros((2, 27)), np.zeros((2, 2))
    assert read_code(driver, *seen) == 1  # 0.9² to 0.1²
    driver.prior = np.array([0.99, 0.01])  # 99 to 1 outweighs 81 to 1
    assert read_code(driver, *seen) == 0


def test_codes_of_episodes_and_of_single_steps():
    """The prior outweighs one step of evidence, 9 to 1, but not two; of single steps it is left out."""
    driver, bounds = Scripted((0.0, 0.0), read=1), np.array([0, 1, 3])
    driver.prior = np.array([0.95, 0.05])
    demonstrations = Demonstrations(REPLAY, np.zeros((3, 27), np.float32), np.zeros((3, 2), np.float32), bounds)
    assert read_codes(driver, demonstrations).tolist() == [0, 1]
    assert read_codes(driver, demonstrations, slice(1)).tolist() == [0, 0]
    assert read_step_codes(driver, demonstrations.observations, demonstrations.actions).tolist() == [1, 1, 1]


def test_without_a_posterior_no_code_is_read():
    driver, observations, actions = Scripted(read=None), np.zeros((3, 27)), np.zeros((3, 2))
    assert read_code(driver, observations, actions) is read_step_codes(driver, observations, actions) is None
    assert read_codes(driver, Demonstrations(REPLAY, observations, actions, np.array([0, 3]))) is None
