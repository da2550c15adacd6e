"""Every expected number here is worked out by hand, in the comment beside it, not by the library that is called."""

import numpy as np
import pytest

from infogail.envs.scenarios.styles import NO_STYLE
from infogail.evaluation import metrics
from infogail.learning.rollout import style_nmi


def episodes(table: list[list[int]], styles: tuple[int, ...] = (0, 1, NO_STYLE)) -> tuple[np.ndarray, np.ndarray]:
    """Codes and styles, one pair per episode, of which there are `table[code][k]` with style `styles[k]`."""
    pairs = [(c, styles[k]) for c, row in enumerate(table) for k, count in enumerate(row) for _ in range(count)]
    codes, found = np.array(pairs).T
    return codes, found


def test_style_nmi_of_four_codes_in_five_right():
    # H(c) = H(s) = 1 bit and H(s|c) = h(0.2) = 0.721928 bits, so 1 - 0.721928
    assert style_nmi(*episodes([[40, 10], [10, 40]])) == pytest.approx(0.278072, abs=1e-6)


def test_style_nmi_counts_failure_as_a_style():
    # H(c) = 1, H(s) = 0.5 · 1 + 0.4 · 1.321928 + 0.1 · 3.321928 = 1.360964, H(s|c) = h(0.2) / 2 = 0.360964 bits
    assert style_nmi(*episodes([[50, 0, 0], [0, 40, 10]])) == pytest.approx(2 * 1.0 / 2.360964, abs=1e-6)


def test_style_ami_of_independent_pairs_is_below_zero():
    # Of 6 ways to give 2 of 4 episodes style 0, 2 agree fully (ln 2 nats), 4 not at all: (0 - ln2/3) / (ln2 - ln2/3)
    assert metrics.style_ami(*episodes([[1, 1], [1, 1]])) == pytest.approx(-0.5)


def test_style_ari_of_four_codes_in_five_right():
    # Pairs together: Σ C(n_ij, 2) = 1650, Σ C(n_i, 2) = 2450 twice, C(100, 2) = 4950; expected 2450² / 4950 = 1212.6263
    assert metrics.style_ari(*episodes([[40, 10], [10, 40]])) == pytest.approx(437.3737 / 1237.3737, abs=1e-6)


@pytest.mark.parametrize("function", [style_nmi, metrics.style_ami, metrics.style_ari])
def test_agreement_is_one_for_any_naming_of_the_codes_and_zero_for_a_collapse(function):
    assert function(*episodes([[0, 50], [50, 0]])) == pytest.approx(1.0)
    assert function(*episodes([[50, 0], [50, 0]])) == 0.0
    assert function(*episodes([[50, 0]])) == 0.0  # one code, one style: scikit-learn says 1


def test_style_accuracy_matches_swapped_codes():
    assert metrics.style_accuracy(*episodes([[0, 10], [10, 0]])) == 1.0


def test_style_accuracy_of_a_collapse_is_a_half():
    assert metrics.style_accuracy(*episodes([[10, 0], [10, 0]])) == 0.5
    assert metrics.style_accuracy(*episodes([[0, 10], [0, 10]])) == 0.5


def test_style_accuracy_counts_failures_as_errors():
    codes, styles = np.repeat([0, 1], 4), np.array([0, 0, 0, NO_STYLE, 1, 1, 1, 1])
    assert metrics.style_accuracy(codes, styles) == 0.75  # scored: episodes 1, 3, 5, 7
    assert metrics.style_accuracy(codes, np.full(8, NO_STYLE)) == 0.0


def test_style_accuracy_scores_other_episodes_than_it_matches():
    # Matched on the first, third and fifth of each code: two of three say code = style. The others all say the
    # opposite, and so would all twelve together.
    codes, styles = np.repeat([0, 1], 6), np.array([0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0])
    assert metrics.style_accuracy(codes, styles) == 0.0


def test_style_accuracy_is_one_to_one_with_more_codes_than_styles():
    codes, styles = episodes([[4, 0], [0, 4], [0, 4]])
    assert metrics.style_accuracy(codes, styles) == pytest.approx(2 / 3)  # a majority vote would say 1


def test_style_accuracy_of_a_single_episode_is_not_defined():
    assert metrics.style_accuracy(np.array([0]), np.array([0])) is None


def test_merged_accuracy_lets_codes_share_a_style():
    codes, styles = episodes([[4, 0, 0], [4, 0, 0], [0, 4, 0], [0, 2, 2]])
    assert metrics.merged_accuracy(codes, styles) == pytest.approx(7 / 8)  # half of each is scored: one failed there
    assert metrics.style_accuracy(codes, styles) < 0.6


def test_merged_accuracy_counts_a_code_that_only_fails():
    codes, styles = episodes([[4, 0, 0], [0, 0, 4]])
    assert metrics.merged_accuracy(codes, styles) == 0.5


def test_rank_correlation():
    codes, done = np.array([0, 1, 2, 3, 4]), np.zeros(5, np.int64)
    values = np.array([9.0, 7.0, 8.0, 1.0, -5.0])
    # Ranks 5, 3, 4, 2, 1 against 1 to 5: 1 - 6 (16 + 1 + 1 + 4 + 16) / (5 · 24) = -0.9; the direction is free.
    assert metrics.rank_correlation(codes, values, done) == pytest.approx(0.9)
    assert metrics.rank_correlation(codes, np.ones(5), done) == 0.0


def test_rank_correlation_takes_a_failure_for_the_opposite():
    codes, values = np.arange(6), np.arange(6.0)
    styles = np.array([NO_STYLE, 0, 0, 0, 0, 0])
    # The lowest code counts as the highest value: ranks 6, 1, 2, 3, 4, 5 and so 1 - 6 (25 + 5) / (6 · 35) = 1/7.
    assert metrics.rank_correlation(codes, values, styles) == pytest.approx(1 / 7)


def test_as_common_as_keeps_as_many_as_it_can():
    codes = np.arange(200) % 2
    kept = metrics.as_common_as(np.array([0.8, 0.2]), codes)
    assert np.bincount(codes[kept]).tolist() == [100, 25]
    assert metrics.as_common_as(np.array([0.5, 0.5]), codes).all()


def test_every_other_takes_half_of_each_label_however_they_alternate():
    assert metrics.every_other(np.array([0, 1, 0, 1, 0, 1])).tolist() == [False, False, True, True, False, False]


def test_style_coverage_begins_at_five_percent():
    demonstrated = np.array([0, 1, 1])
    assert metrics.style_coverage(np.repeat([0, 1], [95, 5]), demonstrated) == 1.0
    assert metrics.style_coverage(np.repeat([0, 1], [96, 4]), demonstrated) == 0.5
    assert metrics.style_coverage(np.full(100, NO_STYLE), demonstrated) == 0.0


def test_style_kl():
    demonstrated = np.array([0, 0, 1, 1])
    # (0.5, 3.5, 1.5) / 5.5 against (0.5, 2.5, 2.5) / 5.5: 7/11 · ln 7/5 + 3/11 · ln 3/5
    assert metrics.style_kl(np.array([0, 0, 0, 1]), demonstrated, 2) == pytest.approx(0.074803, abs=1e-6)
    # (4.5, 0.5, 0.5) / 5.5 against the same: 9/11 · ln 9 + 2/11 · ln 1/5, finite although nobody demonstrated failure
    assert metrics.style_kl(np.full(4, NO_STYLE), demonstrated, 2) == pytest.approx(1.505105, abs=1e-6)
    assert metrics.style_kl(np.array([1, 0, 1, 0]), demonstrated, 2) == pytest.approx(0.0, abs=1e-12)


def test_posterior_accuracy_scores_other_episodes_than_it_matches():
    codes, styles = np.array([0, 1, 1, 1]), np.array([0, 1, 0, 1])  # matched on the first two, scored on the others
    assert metrics.posterior_accuracy(codes, styles) == 0.5
    steps = np.array([0, 1, 1, 1, 1])  # the last has 2
    assert metrics.posterior_accuracy_step(steps, np.array([1, 1, 1, 2]), styles) == pytest.approx(2 / 3)


def test_rates():
    assert metrics.success_rate(np.array([0, 1, NO_STYLE, 1])) == 0.75
    assert metrics.hard_brake_rate([np.array([0.0, -3.1, 1.0]), np.array([-3.0]), np.array([2.0]), np.zeros(3)]) == 0.25


def test_distance_ratio():
    assert metrics.distance_ratio(np.array([100.0, 200.0]), np.array([300.0])) == 0.5


def test_time_to_collision():
    def times(gaps: list[float], lateral: float = 0.0) -> list[float]:
        across = np.full((len(gaps), 1), lateral)
        return metrics.time_to_collision(np.array(gaps)[:, None], across, width=2.0, dt=0.2).tolist()

    assert times([20.0, 18.0, 17.0]) == pytest.approx([20.0 / 10.0, 18.0 / 5.0])  # closing at 10 m/s, then at 5
    assert times([20.0, 18.0, 17.0], lateral=-1.9) == pytest.approx([2.0, 3.6])
    assert times([20.0, 18.0, 17.0], lateral=-2.1) == []  # beside
    assert times([20.0, 21.0]) == []  # falling back
    assert times([-5.0, -6.0]) == []  # ahead already
    assert times([20.0, 19.8]) == [10.0]  # 20 s, capped


def test_time_to_collision_is_with_the_first_of_several_cars_in_the_way():
    gaps = np.array([[20.0, 8.0, 1.0], [18.0, 7.0, 0.5]])  # at 10, 5 and 2.5 m/s: 2.0, 1.6 and 0.4 s
    lateral = np.array([[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]])
    assert metrics.time_to_collision(gaps, lateral, width=2.0, dt=0.2).tolist() == pytest.approx([1.6])
    assert metrics.time_to_collision(np.zeros((5, 0)), np.zeros((5, 0)), width=2.0, dt=0.2).tolist() == []


def test_wasserstein_is_the_shift_of_a_shifted_sample_and_none_without_a_sample():
    sample = np.array([1.0, 4.0, -2.0])
    assert metrics.wasserstein(sample + 0.7, sample) == pytest.approx(0.7)
    # Quantile functions: 0 against 0 on the first half, 0 against 3 on the second
    assert metrics.wasserstein(np.array([0.0]), np.array([0.0, 3.0])) == pytest.approx(1.5)
    assert metrics.wasserstein(np.zeros(0), sample) is None


def test_squared_mmd_of_two_pairs_of_points():
    x, y = np.array([[0.0], [1.0]]), np.array([[2.0], [4.0]])
    # e^-0.5 + e^-2 - 2/4 (e^-2 + e^-8 + e^-0.5 + e^-4.5)
    assert metrics.squared_mmd(x, y, bandwidth=1.0) == pytest.approx(0.365211, abs=1e-6)
    # Twice the bandwidth is half the distance: e^-0.125 + e^-0.5 - 2/4 (e^-0.5 + e^-2 + e^-0.125 + e^-1.125)
    assert metrics.squared_mmd(x, y, bandwidth=2.0) == pytest.approx(0.514520, abs=1e-6)


def test_squared_mmd_of_equal_distributions_is_zero_on_average():
    rng = np.random.default_rng(1)
    draws = [metrics.squared_mmd(*rng.normal(size=(2, 10, 2)), bandwidth=1.0) for _ in range(1000)]
    assert abs(np.mean(draws)) < 0.004  # the biased estimate, with its diagonal, would be about 0.13 higher
    assert min(draws) < 0


def test_median_distance():
    assert metrics.median_distance(np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])) == pytest.approx(
        18**0.5
    )  # 1, √18, 5


def test_occupancy_mmd_by_hand():
    # Demonstrations -1 and 1 are standardised already, the bandwidth is their distance, 2; the policy is at 1 and 4.
    # e^-0.5 + e^-1.125 - 2/4 (e^-0.5 + 1 + e^-3.125 + e^-1.125)
    policy, demonstrated = np.array([[1.0], [4.0]]), np.array([[-1.0], [1.0]])
    assert metrics.occupancy_mmd(policy, demonstrated) == pytest.approx(-0.056377, abs=1e-6)


def test_occupancy_mmd_tells_a_shift_from_chance_in_any_unit():
    rng = np.random.default_rng(2)
    demonstrated, same = rng.normal(size=(2, 3000, 3))
    shifted = same + [0.0, 0.0, 0.5]
    floor, distance = metrics.occupancy_mmd(same, demonstrated), metrics.occupancy_mmd(shifted, demonstrated)
    assert abs(floor) < 0.003 < 0.01 < distance
    units = np.array([1.0, 1e3, 0.05])
    assert metrics.occupancy_mmd(shifted * units, demonstrated * units) == pytest.approx(distance)


def test_occupancy_mmd_survives_a_constant_feature_and_needs_two_pairs():
    rng = np.random.default_rng(3)
    pairs = np.column_stack([rng.normal(size=50), np.full(50, 0.1)])
    assert metrics.occupancy_mmd(pairs, pairs) == pytest.approx(0.0, abs=0.05)
    assert metrics.occupancy_mmd(pairs[:1], pairs) is None


def test_a_code_is_called_after_a_style_that_most_of_its_episodes_have():
    # Codes 1 and 2 match best (7 + 10 > 8 + 7 > 2 + 10); of code 1's episodes only 7 in 10 have its style.
    codes, styles = episodes([[2, 8, 0], [7, 0, 3], [0, 10, 0]])
    assert metrics.styles_of_codes(codes, styles, 4) == [NO_STYLE, NO_STYLE, 1, NO_STYLE]
    assert metrics.styles_of_codes(codes[:20], styles[:20], 2) == [1, NO_STYLE]  # 8 in 10 do
    assert metrics.styles_of_codes(*episodes([[0, 0, 1], [0, 0, 1]]), 2) == [NO_STYLE] * 2
