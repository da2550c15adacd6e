import numpy as np
from replay_world import Scripted


def test_belief_begins_with_the_prior_and_adds_the_evidence():
    driver, steps = Scripted((0.0, 0.0), read=0), (np.zeros((2, 27)), np.zeros((2, 2)))
    np.testing.assert_allclose(driver.belief(*steps), [[1 / 2, 1 / 2], [9 / 10, 1 / 10], [81 / 82, 1 / 82]])
    driver.prior = np.array([0.25, 0.75])  # as of an unbalanced recording
    np.testing.assert_allclose(driver.belief(*steps), [[1 / 4, 3 / 4], [9 / 12, 3 / 12], [81 / 84, 3 / 84]])
    assert np.isfinite(driver.belief(np.zeros((1000, 27)), np.zeros((1000, 2)))).all()
    assert Scripted(read=None).belief(*steps) is None
