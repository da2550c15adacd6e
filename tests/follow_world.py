"""Small made-up recordings of followers: intelligent drivers of known headways behind leaders of varying speed."""

import csv
from dataclasses import dataclass

import numpy as np
import torch

from infogail.envs.data.recording import Recording
from infogail.envs.data.world import FollowedLeaders
from infogail.envs.recordings.following import recording_of
from infogail.envs.recordings.tables import FOOT
from infogail.envs.scenarios.following import FOLLOW_STEPS, Follow
from infogail.learning.networks import levels
from infogail.runs.driver import Driver

DT, STEPS = 0.1, 701  # [s]; states of a driver, 70 s
HEADWAYS = (0.8, 2.2)  # [s], in turn
TRAINING_STARTS, HELD_OUT_STARTS = range(0, 401, 50), range(0, 401, 300)  # steps at which a driver's windows begin


@dataclass
class Traffic:
    """Of P drivers, T states each."""

    leader: np.ndarray  # (P, T, 2): x [m] of the centre, speed [m/s]
    follower: np.ndarray  # (P, T, 3): x, speed, acceleration [m/s²] since the step before
    lengths: np.ndarray  # (P, 2) [m]: of follower and leader


def follow_leaders(drivers, seed=0, headways=HEADWAYS, speed=10.0, swing=4.0, rough=0.0) -> Traffic:
    """Drivers as Treiber, Hennecke and Helbing 2000 have them, driver p with `headways[p % len(headways)]`.

    Args:
        speed, swing: [m/s] mean and amplitude of the leaders' speeds; a leader stands where they would be negative.
        rough: [m] standard deviation of the leaders' recorded positions, which no driver sees.
    """
    rng, seconds = np.random.default_rng(seed), DT * np.arange(STEPS)
    phase, period = rng.uniform(0, 2 * np.pi, (2, drivers, 1)), rng.uniform(15, 40, (2, drivers, 1))
    waves = np.sin(2 * np.pi * seconds / period + phase).mean(0)
    lengths = rng.uniform(4, 8, (drivers, 2)).round(1)
    speeds = np.maximum(speed + swing * waves, 0.0)
    headway = np.resize(headways, drivers)
    ahead = np.cumsum(speeds, 1) * DT + lengths.sum(1, keepdims=True) / 2 + 100.0
    x, v = 100.0 - 4.0 - headway * speeds[:, 0], speeds[:, 0]
    follower = []
    for k in range(STEPS):
        gap = ahead[:, k] - x - lengths.sum(1) / 2
        wanted = 2.0 + np.maximum(v * headway + v * (v - speeds[:, k]) / (2 * np.sqrt(1.5 * 2.0)), 0.0)
        acceleration = np.clip(1.5 * (1 - (v / 30.0) ** 4 - (wanted / gap) ** 2), -5.0, 5.0)
        acceleration = 5.0 * (np.maximum(acceleration, -v / DT) / 5.0).astype(np.float32).astype(np.float64)
        follower.append((x, v, acceleration))
        x, v = x + v * DT, v + acceleration * DT
    states = np.moveaxis(follower, -1, 0)
    states[:, 1:, 2], states[:, 0, 2] = states[:, :-1, 2].copy(), 0.0  # the first has none before
    return Traffic(np.stack((ahead + rough * rng.standard_normal(ahead.shape), speeds), -1), states, lengths)


def world_of(traffic: Traffic, training: int) -> FollowedLeaders:
    """The first `training` drivers are in one file, the others in a second, held-out one, if there are any."""
    drivers = len(traffic.lengths)
    windows = [(p, k) for p in range(drivers) for k in (TRAINING_STARTS if p < training else HELD_OUT_STARTS)]
    track, start = np.array(windows).T
    return FollowedLeaders(
        track=track,
        demonstration_row=STEPS * track + start,
        num_training=np.array([training * len(TRAINING_STARTS)]),
        files=("training.csv", "held out.csv") if training < drivers else ("training.csv",),
        leader=traffic.leader.reshape(-1, 2),
        follower=traffic.follower.reshape(-1, 3),
        lengths=traffic.lengths,
        first_row=STEPS * np.arange(drivers + 1),
        file=np.where(np.arange(drivers) < training, 0, 1),
    )


def record_followers(path, drivers=4, seed=0, **traffic) -> Recording:
    """A recording, written to `path`, of `drivers` in each of two files; see `follow_leaders`.

    Nine windows of each driver are for training, two are held out.
    """
    recording_of(world_of(follow_leaders(2 * drivers, seed, **traffic), drivers)).save(path)
    return Recording.load(path, Follow())


def write_ngsim(path, drivers=2, seed=0, steps=STEPS, first_id=1, first_frame=1, noise=0.0, **traffic) -> Traffic:
    """Such traffic, see `follow_leaders`, as a table of NGSIM, whose positions are those of front bumpers, in feet.

    Driver p is vehicle `first_id` + 2 p, the leader the vehicle after it.

    Args:
        steps: states of each driver, or one number for each.
        noise: [m] standard deviation of the drivers' positions.
    """
    made, rng = follow_leaders(drivers, seed, **traffic), np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("Vehicle_ID", "Frame_ID", "Local_Y", "v_length", "v_Vel", "Preceding"))
        for p, number in enumerate(np.broadcast_to(steps, drivers).tolist()):
            own = first_id + 2 * p
            for vehicle, preceding, states, length in (
                (own, own + 1, made.follower[p, :number, :2], made.lengths[p, 0]),
                (own + 1, 0, made.leader[p, :number], made.lengths[p, 1]),
            ):
                off = rng.normal(0, noise, number) if vehicle == own and noise else np.zeros(number)
                fronts, speeds = (states[:, 0] + off + length / 2) / FOOT, states[:, 1] / FOOT
                for k, (front, speed) in enumerate(zip(fronts.tolist(), speeds.tolist(), strict=True)):
                    cells = (vehicle, first_frame + k, f"{front:.3f}", f"{length / FOOT:.5f}", f"{speed:.4f}")
                    table.writerow((*cells, preceding))
    return made


def steady_world(gaps, training=1, speed=10.0, lengths=(4.0, 6.0)) -> FollowedLeaders:
    """Drivers at a constant speed, driver p `gaps[p]` (T,) [m] behind a leader as fast; the first are for training."""
    states = np.array([len(each) for each in gaps])
    first_row = np.concatenate(([0], np.cumsum(states)))
    windows = [(p, k) for p, count in enumerate(states) for k in range(0, count - FOLLOW_STEPS, FOLLOW_STEPS)]
    track, start = np.array(windows).T
    ahead = np.concatenate([speed * DT * np.arange(count) for count in states])
    behind = ahead - np.concatenate(gaps) - np.mean(lengths)
    return FollowedLeaders(
        track=track,
        demonstration_row=first_row[track] + start,
        num_training=np.array([int((track < training).sum())]),
        files=("training.csv", "held out.csv"),
        leader=np.column_stack((ahead, np.full_like(ahead, speed))),
        follower=np.column_stack((behind, np.full_like(ahead, speed), np.zeros_like(ahead))),
        lengths=np.tile(lengths, (len(gaps), 1)).astype(np.float64),
        first_row=first_row,
        file=np.where(np.arange(len(gaps)) < training, 0, 1),
    )


def save_world(world: FollowedLeaders, path) -> Recording:
    """The recording of a world, written to `path`."""
    recording_of(world).save(path)
    return Recording.load(path, Follow())


class ScriptedFollower:
    """A driver by rule: code c asks for `accelerations[c]` [m/s²], with noise of `spread` [m/s²] in rollouts.

    Its posterior reads the last code behind a gap over 20 m, else code 0; without `reads`, it has none.
    """

    scenario, algorithm, seed, labelled = Follow(), "infogail", 0, False

    def __init__(self, accelerations=(0.0,), reads=True, spread=0.0, graded=False) -> None:
        self.accelerations, self.spread, self.graded = torch.tensor(accelerations), spread, graded
        self.num_codes = len(accelerations)
        self.codes = levels(self.num_codes).tolist() if graded else list(range(self.num_codes))
        self.prior, self.names = np.full(self.num_codes, 1 / self.num_codes), (None,) * self.num_codes
        self.evidence = "of the gap" if reads else None
        self.policy = self

    num_distinct = Driver.num_distinct

    def act(self, obs, code):
        return np.array([self.accelerations[self.codes.index(code)] / 5.0], np.float32)

    def inputs(self, obs, codes):
        return codes

    def __call__(self, codes):
        self.mean = self.accelerations[codes][:, None] / 5.0
        return self

    def sample(self, generator):
        return self.mean + self.spread / 5.0 * torch.randn(self.mean.shape, generator=generator)

    belief = Driver.belief

    def log_posterior(self, observations, actions):
        if self.evidence is None:
            return None
        code = np.where(observations[:, 1] > 1.0, self.num_codes - 1, 0)
        return np.log(np.where(code[:, None] == np.arange(self.num_codes), 0.9, 0.1))
