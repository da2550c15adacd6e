"""Response curves: the leader that is made up, and what is measured behind it."""

import numpy as np
import pytest
from follow_world import ScriptedFollower

from infogail.envs.scenarios.following import FOLLOW_STEPS, Follow
from infogail.evaluation.episodes import UNKNOWN_CODE, Episode
from infogail.evaluation.responses import drive_responses, made_up_leader, response, responses

MEASURES = {"steady_headway", "reaction_time", "hardest_brake", "smallest_gap", "standstill_gap"}


def test_the_leader_cruises_brakes_and_stands():
    world = made_up_leader()
    x, speed = world.leader.T
    # 15 s at 8 m/s, then -3 m/s² from there on: 8 - 0.3 · 26 = 0.2 m/s after 2.6 s, and 0 after 2.7 s.
    at = [0, 1, 150, 151, 160, 176, 177, 300]
    assert speed[at] == pytest.approx([8, 8, 8, 7.7, 5, 0.2, 0, 0], abs=1e-9)
    # 120 m at 15 s; braking adds a tenth of 8 + 7.7 + … + 0.2 = 27 · 8 - 0.3 · 351 = 110.7.
    assert x[at] == pytest.approx([0, 0.8, 120, 120.8, 126.65, 131.05, 131.07, 131.07], abs=1e-9)
    assert len(world.leader) == len(world.follower) == FOLLOW_STEPS + 1 == 301
    states = Follow.of_world(world).recorded_states(np.array([0]))[0]
    assert states[0, :, 3].tolist() == [8, 8] and states[0, :, 5].tolist() == [5, 5]
    assert Follow().gap(states[0]) == pytest.approx(14.0)  # 2 + 1.5 · 8
    assert states[[150, 151, 160, 190], 1, 4] == pytest.approx([0, -0.3, -3, 0], abs=1e-9)  # of the last second


def episode_of(gap, speed, acceleration, crashed=False):
    """An episode with gaps [m], speeds [m/s] and accelerations [m/s²] of the ego (T + 1,), all cars 5 m long."""
    states = np.zeros((len(gap), 2, 7))
    states[..., 5] = 5.0
    states[:, 1, 0], states[:, 0, 3], states[:, 0, 4] = 5.0 + np.asarray(gap), speed, acceleration
    nothing = np.zeros((len(gap) - 1, 1), np.float32)
    return Episode(UNKNOWN_CODE, nothing, nothing, states, {}, crashed, False, 0)


def made_up(length=301, reaction=12):
    """Gaps, speeds and accelerations of one who brakes at 2 m/s², then at 4.

    The leader is slower first 151 decisions after the start; an answer to that shows after the 152nd, and it counts as
    a tenth of a second.
    """
    step = np.arange(length)
    gap, speed, acceleration = np.full(length, 12.0), np.full(length, 8.0), np.zeros(length)
    gap[120:150] = 16.0
    late = step - 151
    acceleration[late >= reaction] = -2.0
    acceleration[late >= reaction + 10] = -4.0
    acceleration[late >= reaction + 20] = 0.0
    speed[late >= reaction + 20] = 0.4
    gap[late >= reaction] = 9.0
    gap[late >= reaction + 5] = 3.5
    gap[late >= reaction + 20] = 5.0
    return gap, speed, acceleration


def test_measures_by_hand():
    measured = response(episode_of(*made_up()))
    # Headway is that of the last 3 s before the leader brakes: 16 m at 8 m/s.
    assert measured == pytest.approx(
        {"steady_headway": 2.0, "reaction_time": 1.2, "hardest_brake": 4.0, "smallest_gap": 3.5, "standstill_gap": 5.0}
    )


def test_reactions_count_from_steady_driving():
    """One who eases off by 0.4 m/s² all the time reacts at over 0.9; half a metre per second squared does not count."""
    gap, speed, acceleration = made_up()
    acceleration[:] = -0.4
    acceleration[155:] = -0.9 + 1e-6
    assert response(episode_of(gap, speed, acceleration))["reaction_time"] is None
    acceleration[158] = -0.91
    assert response(episode_of(gap, speed, acceleration))["reaction_time"] == pytest.approx(0.7)
    acceleration[151] = -0.91  # before
    assert response(episode_of(gap, speed, acceleration))["reaction_time"] == pytest.approx(0.7)
    acceleration[152] = -0.91
    assert response(episode_of(gap, speed, acceleration))["reaction_time"] == pytest.approx(0.1)


def test_who_does_not_react_or_does_not_stand():
    gap, speed, acceleration = made_up(reaction=200)
    measured = response(episode_of(gap, speed, acceleration))
    assert measured["reaction_time"] is None and measured["standstill_gap"] is None
    assert (measured["hardest_brake"], measured["smallest_gap"]) == (0.0, 12.0)
    speed[-1] = 0.51
    assert response(episode_of(gap, speed, acceleration))["standstill_gap"] is None
    speed[-1] = 0.49
    assert response(episode_of(gap, speed, acceleration))["standstill_gap"] == 12.0


def test_who_crashes_has_no_gaps():
    gap, speed, acceleration = (each[:180] for each in made_up())
    speed[-1] = 0.0
    measured = response(episode_of(gap, speed, acceleration, crashed=True))
    assert measured["smallest_gap"] is measured["standstill_gap"] is None
    assert measured["steady_headway"] == 2.0 and measured["reaction_time"] == pytest.approx(1.2)


@pytest.mark.parametrize("length", [2, 120, 150])
def test_who_crashes_before_the_leader_brakes_is_not_measured(length):
    parts = [each[:length] for each in made_up()]
    assert response(episode_of(*parts, crashed=True)) == dict.fromkeys(MEASURES)


def test_who_crashes_just_then_has_a_headway():
    parts = [each[:151] for each in made_up()]
    assert response(episode_of(*parts, crashed=True)) == dict.fromkeys(MEASURES) | {"steady_headway": 2.0}


def test_each_code_drives_behind_the_leader():
    """One keeps its speed: 14 m at 8 m/s, until the leader stands before it. One brakes at once."""
    driver = ScriptedFollower((0.0, -4.0))
    keeps, brakes = drive_responses(driver)
    assert (keeps.code, brakes.code, keeps.crashed, brakes.crashed) == (0, 1, True, False)
    assert keeps.vehicle_states[150, 0, 0] == pytest.approx(-19 + 120, abs=1e-6)
    found = responses(driver)
    assert found.keys() == {f"code_{code}_{name}" for code in (0, 1) for name in MEASURES}
    assert found["code_0_steady_headway"] == pytest.approx(14 / 8)
    assert found["code_0_reaction_time"] is found["code_0_smallest_gap"] is None
    # It stands after 20 decisions, 8.4 m on; the leader's centre is 5 m and its gap 14 m ahead when they begin.
    assert found["code_1_standstill_gap"] == pytest.approx(14 + 131.07 - 8.4, abs=1e-4)
    assert found["code_1_smallest_gap"] == pytest.approx(14.0) and found["code_1_steady_headway"] == 4.0


def test_without_a_posterior_there_is_one_drive():
    assert responses(ScriptedFollower((0.0, -4.0), reads=False)).keys() == {f"code_0_{name}" for name in MEASURES}
