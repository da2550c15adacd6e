"""Non-learning baselines for followers: constant speed, and the intelligent driver model (IDM): one for all drivers,
one for each, or a few of which each driver gets one.

Parameters are chosen among `SETS` that fill their ranges evenly, by the squared distance from people's positions. Each
driver's own choice is made from his first half, as a trained driver's code is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from infogail.envs.data.world import FollowedLeaders
from infogail.envs.scenarios.following import MEMORY, WINDOW, Follow
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE
from infogail.evaluation.episodes import Act
from infogail.evaluation.peers import Neighbour, Parameters, idm_acceleration

SETS, RESTARTS, MAX_ROUNDS = 1500, 30, 30
LOWEST, HIGHEST = Parameters(8.0, 0.3, 0.5, 0.3, 0.5), Parameters(40.0, 3.5, 6.0, 3.0, 4.0)
STRIDE = 50  # from one window to the next, where a driver chooses
RATE = Follow.policy_frequency
"""[Hz]; positions are compared once per second."""


class ConstantSpeed(NamedTuple):
    """Keeps its speed."""

    def start(self, driver: int, row: int, code: int) -> Act:
        """The driver in the place of recorded driver number `driver`."""
        return lambda obs, states: np.zeros(1, np.float32)


class IDM(NamedTuple):
    """The intelligent driver model with parameters for each driver."""

    parameters: np.ndarray
    """(P, 5), see `Parameters`"""

    def start(self, driver: int, row: int, code: int) -> Act:
        """The driver in the place of recorded driver number `driver`."""
        parameters = Parameters(*self.parameters[driver].tolist())

        def act(obs: np.ndarray, states: np.ndarray) -> np.ndarray:
            gap = states[1, 0] - states[0, 0] - states[:, 5].mean()
            leader = Neighbour(np.array(True), gap, states[0, 3] - states[1, 3])
            acceleration = idm_acceleration(parameters, states[0, 3], leader)
            return np.array([acceleration / ACCELERATION_RANGE[1]], np.float32)

        return act


class Person(NamedTuple):
    """The recorded drivers themselves, by the accelerations recovered from their positions."""

    actions: dict[int, np.ndarray]
    """(H, 1) of each window, by the row of its first state"""

    @classmethod
    def of(cls, world: FollowedLeaders, horizon: int) -> Person:
        """The drivers of all windows of `horizon` decisions of a world."""
        actions = (world.follower[:, 2:] / ACCELERATION_RANGE[1]).astype(np.float32)
        return cls({row: actions[row + 1 : row + 1 + horizon] for row in world.demonstration_row.tolist()})

    def start(self, driver: int, row: int, code: int) -> Act:
        actions = iter(self.actions[row])
        return lambda obs, states: next(actions)


def cut_out(world: FollowedLeaders, chosen: np.ndarray, steps: int) -> FollowedLeaders:
    """A world of only the windows (n, 2), driver and row of the first state, of `steps` decisions each.

    Each becomes a driver of its own, with what his leader did in the second before.
    """
    begins = np.maximum(chosen[:, 1] - MEMORY, world.first_row[chosen[:, 0]])
    rows = [np.arange(begin, row + steps + 1) for begin, row in zip(begins, chosen[:, 1], strict=True)]
    first_row, every = np.cumsum([0, *map(len, rows)]), np.concatenate(rows)
    number = len(chosen)
    return FollowedLeaders(
        track=np.arange(number),
        demonstration_row=first_row[:-1] + (chosen[:, 1] - begins),
        num_training=np.array([number]),
        files=world.files,
        leader=world.leader[every],
        follower=world.follower[every],
        lengths=world.lengths[chosen[:, 0]],
        first_row=first_row,
        file=world.file[chosen[:, 0]],
    )


def fitted(
    world: FollowedLeaders, drivers: np.ndarray, judged: FollowedLeaders, people: np.ndarray, kinds: int
) -> dict[str, IDM]:
    """IDM for everybody, for each of the judged, and in a few kinds; by name.

    Args:
        world, drivers: those to fit to, by number.
        judged, people: those to drive in place of; a person's own parameters and kind are chosen from his first half.
        kinds: number of kinds.
    """
    from scipy.stats import qmc

    unit = qmc.Sobol(len(LOWEST), seed=0).random_base2(11)[:SETS]
    sets = qmc.scale(unit, LOWEST, HIGHEST)
    to_fit = windows(world, drivers, (0.0, 1.0), WINDOW)
    squared = squared_errors(sets, world, to_fit)  # (SETS, n)
    by_driver = np.stack([squared[:, to_fit[:, 0] == driver].mean(1) for driver in drivers], axis=1)
    seen = windows(judged, people, (0.0, 0.5), STRIDE)
    squared_seen = squared_errors(sets, judged, seen)
    by_person = np.stack([squared_seen[:, seen[:, 0] == person].mean(1) for person in people], axis=1)
    medoids = _medoids(by_driver, kinds)
    chosen = {
        "pooled_idm": np.full(len(people), by_driver.mean(1).argmin()),
        "own_idm": by_person.argmin(0),
        "k_idm": medoids[by_person[medoids].argmin(0)],
    }
    parameters = {name: np.zeros((len(judged.lengths), len(LOWEST))) for name in chosen}
    for name, indices in chosen.items():
        parameters[name][people] = sets[indices]
    return {name: IDM(each) for name, each in parameters.items()}


def windows(world: FollowedLeaders, drivers: np.ndarray, part: tuple[float, float], stride: int) -> np.ndarray:
    """(n, 2) int64: driver, and row of the first state, of each window of `WINDOW` decisions in a part of his track.

    Args:
        part: where it begins and ends, as shares of the track; a window may end in the first state after the part.
        stride: steps from one window to the next.
    """
    found = []
    for driver in drivers.tolist():
        first, states = int(world.first_row[driver]), int(np.diff(world.first_row)[driver])
        begin, end = (int(share * states) for share in part)
        last = min(end, states - 1)
        found += [(driver, first + start) for start in range(begin, last - WINDOW + 1, stride)]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def squared_errors(sets: np.ndarray, world: FollowedLeaders, chosen: np.ndarray) -> np.ndarray:
    """(S, n) [m²]: mean squared distance from people's positions in the `chosen` windows (n, 2), for `sets` (S, 5)."""
    parameters: Any = Parameters._make(sets[:, k, None] for k in range(len(LOWEST)))
    rows, bodies = chosen[:, 1], world.lengths[chosen[:, 0]].mean(1)
    x, speed = (np.repeat(world.follower[rows, k][None], len(sets), axis=0) for k in (0, 1))
    total = np.zeros_like(x)
    for step in range(WINDOW):
        leader_x, leader_speed = world.leader[rows + step].T
        leader = Neighbour(np.array(True), leader_x - x - bodies, speed - leader_speed)
        acceleration = np.maximum(idm_acceleration(parameters, speed, leader), -speed * RATE)
        x, speed = x + speed / RATE, speed + acceleration / RATE
        if (step + 1) % RATE == 0:
            total += (x - world.follower[rows + step + 1, 0]) ** 2
    return total / (WINDOW // RATE)


def _medoids(losses: np.ndarray, kinds: int) -> np.ndarray:
    """(kinds,): the sets that together serve drivers best, for the losses (S, P) of each set for each driver.

    Alternates between giving each driver the best of the sets and each group of drivers the best set, from random
    beginnings.
    """
    rng, best = np.random.default_rng(0), (np.inf, np.zeros(kinds, np.int64))
    for _ in range(RESTARTS):
        medoids = rng.choice(len(losses), kinds, replace=False)
        for _ in range(MAX_ROUNDS):
            group = losses[medoids].argmin(0)
            better = np.array(
                [losses[:, group == k].mean(1).argmin() if (group == k).any() else medoids[k] for k in range(kinds)]
            )
            if (better == medoids).all():
                break
            medoids = better
        best = min(best, (float(losses[medoids].min(0).mean()), medoids), key=lambda each: each[0])
    return best[1]
