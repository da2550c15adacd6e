"""Response curves: what each code of a follower does behind one made-up leader, who cruises, brakes and stands."""

from __future__ import annotations

import numpy as np

from infogail.envs.data.world import FollowedLeaders
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.following import FOLLOW_STEPS, USUAL_GAP, USUAL_HEADWAY, Follow
from infogail.evaluation.episodes import Episode, drive_episode
from infogail.runs.driver import Driver

CRUISE, BRAKING = 8.0, 3.0  # [m/s], usual on the recorded motorways; [m/s²], a hard brake by `metrics.hard_brake_rate`
CRUISING, SETTLED = 150, 30  # decisions until the leader brakes, and those of them by which steady driving is measured
REACTION, STANDING = 0.5, 0.5  # [m/s²] of deceleration that count as a reaction; [m/s] below which a car stands
LENGTH = 5.0  # [m] of both cars


def made_up_leader() -> FollowedLeaders:
    """A leader who cruises at `CRUISE`, brakes at `BRAKING` and stands; who follows begins at the usual gap."""
    time = np.arange(FOLLOW_STEPS + 1) / Follow.policy_frequency
    speed = np.clip(CRUISE - BRAKING * (time - CRUISING / Follow.policy_frequency), 0.0, CRUISE)
    x = np.concatenate(([0.0], np.cumsum(speed[:-1]))) / Follow.policy_frequency
    follower = np.zeros((len(time), 3))
    follower[:, 0], follower[:, 1] = -(USUAL_GAP + USUAL_HEADWAY * CRUISE) - LENGTH, CRUISE
    return FollowedLeaders(
        track=np.zeros(1, np.int64),
        demonstration_row=np.zeros(1, np.int64),
        num_training=np.ones(1, np.int64),
        files=("made up",),
        leader=np.column_stack((x, speed)),
        follower=follower,
        lengths=np.full((1, 2), LENGTH),
        first_row=np.array([0, len(time)]),
        file=np.zeros(1, np.int64),
    )


def drive_responses(driver: Driver) -> list[Episode]:
    """Each code behind the made-up leader, in highway-env."""
    env = DrivingEnv(Follow.of_world(made_up_leader()))
    scene = {"demonstration": np.float64(0.0)}
    return [drive_episode(driver, env, code, scene=scene) for code in range(driver.num_distinct)]


def responses(driver: Driver) -> dict[str, float | None]:
    """For each code: steady headway [s], time until it reacts to the braking leader [s], hardest deceleration [m/s²],
    smallest gap, and gap at standstill [m]; None where it crashed, did not react, or did not come to a stand."""
    result: dict[str, float | None] = {}
    for code, episode in enumerate(drive_responses(driver)):
        result |= {f"code_{code}_{name}": value for name, value in response(episode).items()}
    return result


def response(episode: Episode) -> dict[str, float | None]:
    """The measures of `responses` for one drive."""
    states, scenario = episode.vehicle_states, Follow()
    gaps, speeds, decelerations = scenario.gap(states), states[:, 0, 3], -states[:, 0, 4]
    steady = slice(CRUISING - SETTLED, CRUISING)
    if len(states) <= CRUISING:
        return dict.fromkeys(("steady_headway", "reaction_time", "hardest_brake", "smallest_gap", "standstill_gap"))
    # The first slower leader is seen after CRUISING + 1 decisions; what is decided then shows in the state after it.
    after = decelerations[CRUISING + 2 :] - decelerations[steady].mean()
    reacted = np.flatnonzero(after > REACTION)
    return {
        "steady_headway": float(scenario.headway(states)[steady].mean()),
        "reaction_time": float(reacted[0] + 1) / Follow.policy_frequency if len(reacted) else None,
        "hardest_brake": float(decelerations[CRUISING + 1 :].max()) if len(after) else None,
        "smallest_gap": None if episode.crashed else float(gaps.min()),
        "standstill_gap": None if episode.crashed or speeds[-1] > STANDING else float(gaps[-1]),
    }
