import numpy as np
import pytest

from infogail.evaluation.statistics import (
    improvement_interval,
    interquartile_mean,
    interval,
    probability_of_improvement,
)


def test_interquartile_mean():
    # Of 1, 2, 3, 4, 5, 6, 7, 100 the middle half is 3, 4, 5, 6.
    assert interquartile_mean(np.array([100, 7, 1, 6, 2, 5, 3, 4])) == 4.5
    np.testing.assert_array_equal(interquartile_mean(np.array([[0, 1, 2, 9], [1, 1, 3, 3]])), [1.5, 2.0])


def test_probability_of_improvement():
    # Of 3 x 2 pairs: 3 > 1, 3 > 2, 2 > 1, 2 = 2, 1 = 1, 1 < 2.
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0])
    assert probability_of_improvement([a], [b]) == pytest.approx(4 / 6)
    assert probability_of_improvement([b], [a]) == pytest.approx(2 / 6)
    assert probability_of_improvement([a, a], [b, a]) == pytest.approx((4 / 6 + 0.5) / 2)
    assert probability_of_improvement([a], [a - 5]) == 1 and improvement_interval([a], [a - 5]) == (1, 1)


def test_an_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = rng.normal(3.0, 1.0, (200, 30))
    covered = [low < 3.0 < high for low, high in (interval([sample]) for sample in samples)]
    assert 0.88 < np.mean(covered) <= 0.99  # the percentile method is a little too narrow for 30 values


def test_an_interval_keeps_the_strata_apart():
    # Resampled as one pile, zeros and ones would give a wide interval; each stratum by itself is certain.
    zeros, ones = np.zeros(10), np.ones(10)
    assert interval([zeros, ones]) == (0.5, 0.5)
    low, high = interval([np.concatenate((zeros, ones))])
    assert low < 0.2 and high > 0.8


def test_intervals_do_not_depend_on_chance():
    values = np.array([0.1, 0.5, 0.7, 0.8, 1.0])
    assert interval([values]) == interval([values]) and interval([values[:1]]) == (0.1, 0.1)
    low, high = improvement_interval([values], [values - 0.2])
    assert 0 < low < probability_of_improvement([values], [values - 0.2]) < high <= 1
