"""Where Responsibility-Sensitive Safety (Shalev-Shwartz, Shammah and Shashua, arXiv:1708.06374) demands that a driver
brakes or keeps its lane, judged by what `Highway` observes."""

from __future__ import annotations

import numpy as np
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.physics.roads import LANE_WIDTH
from infogail.envs.scenarios.highway import SIDES, Highway
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE

REACTION = 0.3  # [s], the reaction time assumed for safe distances: one and a half decisions
CLEARANCE = 1.0  # [m]
ALERT = 0.5  # [m]; a driver leaves its lane if it will be further from the centre within `OUTLOOK`
EDGE = (LANE_WIDTH - Vehicle.WIDTH) / 2  # [m], the same at the edge of the road: wheels on the line
OUTLOOK = 1.0  # [s]
SLOTS = [
    [Highway.features.index(f"{side}{what}") for side in SIDES]
    for what in ("leader_gap", "leader_closing", "follower_gap", "follower_closing")
]


def too_close(observations: np.ndarray) -> np.ndarray:
    """(2, N) bool: whether drivers with observations (N, F) have to brake, and whether they have to keep their lane.

    They brake if the gap to their leader is unsafe, and keep their lane if the gap to the leader or follower in the
    lane they are about to enter would be, or if there is no such lane.
    """
    features = dict(zip(Highway.features, observations.T, strict=True))  # scaled by `Highway.observe`
    offset, heading, speed = 2.0 * features["lane_offset"], 0.1 * features["heading"], 20.0 + 10.0 * features["speed"]
    ahead, nearing, behind, pressing = (observations[:, columns].T for columns in SLOTS)
    leader, follower = speed - 10.0 * nearing, speed + 10.0 * pressing
    near = 50.0 * ahead - Vehicle.LENGTH < safe_distance(speed, leader)
    pressed = 50.0 * behind - Vehicle.LENGTH < safe_distance(follower, speed)
    _, left, right = near | pressed
    goal = offset + OUTLOOK * speed * np.sin(heading)
    left_room, right_room = np.where(left, ALERT, np.inf), np.where(right, ALERT, np.inf)
    left_room[features["left_lane"] == 0] = right_room[features["right_lane"] == 0] = EDGE
    return np.stack((near[0], (goal < -left_room) | (goal > right_room)))


def safe_distance(rear: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Safe distance [m] from bumper to bumper, at speeds [m/s]: leaves `CLEARANCE` if the front car brakes as hard as
    possible, and the rear car, after keeping its speed for the reaction time, does the same."""
    hardest = -ACCELERATION_RANGE[0]
    rear, front = np.maximum(rear, 0.0), np.maximum(front, 0.0)
    return CLEARANCE + np.maximum(REACTION * rear + (rear**2 - front**2) / (2.0 * hardest), 0.0)
