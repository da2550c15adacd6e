import numpy as np
import pytest
from replay_world import Reader, Scripted, record_manners
from sklearn.metrics import mutual_info_score

from infogail.evaluation.meaning import (
    agreement,
    lane_changes,
    manner,
    meaning,
    mutual_information,
    one_of_each,
    permutation_test,
    terciles,
)


def test_lane_changes_count_once_they_last():
    stay, left, right = [2] * 15, [1] * 15, [3] * 15
    assert lane_changes(np.array(stay)) == (0, 0)
    assert lane_changes(np.array(stay + left)) == (1, 0)
    assert lane_changes(np.array(stay + right + stay)) == (1, 1)
    assert lane_changes(np.array(stay + [1, 1] + stay)) == (0, 0)  # only touched the line
    assert lane_changes(np.array(stay + [1] * 4)) == (0, 0)
    assert lane_changes(np.array([1] * 15 + [2] * 3 + [3] * 15)) == (0, 2)


def test_terciles():
    assert terciles(np.array([5.0, 1.0, 9.0, np.nan])).tolist() == [1, 0, 2, -1]
    assert terciles(np.full(3, np.nan)).tolist() == [-1, -1, -1]


def test_mutual_information_is_scikit_learns():
    a, b = np.random.default_rng(0).integers(0, 3, (2, 50))
    assert mutual_information(a, b) == pytest.approx(mutual_info_score(a, b))


def test_random_codes_mean_nothing():
    """The p value of independent labels is uniform: 20 % of them are below 0.2, give or take three deviations."""
    rng = np.random.default_rng(1)
    p = np.array([permutation_test(*rng.integers(0, 3, (2, 60)), mutual_information)[1] for _ in range(60)])
    assert 0.04 < (p <= 0.2).mean() < 0.36 and 0.35 < p.mean() < 0.65


def test_codes_that_say_everything():
    labels = np.arange(60) % 3
    assert permutation_test(labels, labels, mutual_information)[1] == pytest.approx(1 / 1001)
    chance, p = permutation_test(labels, labels, agreement)
    assert chance == pytest.approx(1 / 3, abs=0.01) and p == pytest.approx(1 / 1001)
    assert permutation_test(np.zeros(9, int), np.zeros(9, int), agreement) == (1.0, 1.0)  # always one code: chance
    assert permutation_test(labels[:0], labels[:0], agreement) == (None, None)


def test_one_window_for_each_car():
    track = np.array([4, 4, 4, 7, 7, 1])
    chosen = one_of_each(track)
    assert sorted(track[chosen]) == [1, 4, 7] and chosen.tolist() == one_of_each(track).tolist()


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return record_manners(tmp_path_factory.mktemp("world") / "world.safetensors")


def test_manner(recording):
    scenario = recording.scenario
    follower, alone, braking = (manner(scenario, e) for e in (0, 4, 6))
    # From 15 m down to 9 m between the bumpers, at 11 m/s.
    assert follower.headway == pytest.approx(12.0 / 11.0) and follower.relative_speed == pytest.approx(1.0)
    assert alone.headway == 4.0 and np.isnan(alone.relative_speed) and alone.jerk == 0.0
    assert braking.jerk == pytest.approx(10.0, abs=1e-4)  # 1 m/s² within 0.1 s
    assert follower.left == follower.right == 0 and follower.minutes == pytest.approx(0.1)


def test_meaning(recording):
    result = meaning(Reader((0.0, 0.0)), recording)
    assert result["meaning_windows"] == 16 and result["meaning_cars"] == 8
    # In each scene, of four cars two windows each: only the follower has a leader.
    assert (result["code_0_windows"], result["code_1_windows"]) == (12, 4)
    # 15 to 9 m in the first window of it, 9 to 3 m in the second.
    assert result["code_1_headway"] == pytest.approx((12.0 + 6.0) / 2 / 11.0)
    assert result["code_1_relative_speed"] == pytest.approx(1.0)
    assert result["code_0_relative_speed"] == pytest.approx(-1.0)  # of the one ahead; the others are alone
    assert result["code_0_left_per_minute"] == 0.0
    assert result["consistency"] == 1.0 and 0.5 < result["consistency_chance"] < 0.75
    assert result["ami_lane_change"] == 0.0 and result["ami_lane_change_p"] == 1.0


def test_without_a_posterior_codes_mean_nothing(recording):
    assert meaning(Scripted((0.0,), read=None), recording) == {}


def test_a_code_may_change_within_a_window(recording):
    class Fickle(Scripted):
        def log_posterior(self, observations, actions):
            return np.log(np.where(np.arange(len(observations))[:, None] < 0, 1, [[0.9, 0.1]]))

    result = meaning(Fickle((0.0, 0.0)), recording)
    assert result["consistency"] == 1.0 and result["consistency_p"] == 1.0  # always one code: no more than chance


def test_relative_speed_is_to_the_cars_of_the_lane_within_100_m(recording):
    scenario = recording.scenario
    states, scene = scenario.road.recorded_states(0)[:1].copy(), {"demonstration": np.float64(0)}
    assert states[0, 0, :4].tolist() == [100.0, -4.0, 0.0, 11.0]
    assert scenario.road.relative_speed(states, scene).tolist() == [1.0]
    ahead = int(np.flatnonzero(states[0, 1:, 4] == 120.0)[0]) + 1
    states[0, ahead, 4] = 201.0
    assert np.isnan(scenario.road.relative_speed(states, scene)).all()
