import gymnasium
import numpy as np
import pytest
from replay_world import STEPS, Car, record_world, steady_cars

from infogail.evaluation import peers
from infogail.evaluation.peers import (
    ConstantVelocity,
    IntelligentDriver,
    Neighbour,
    Parameters,
    fit,
    idm_acceleration,
    simulated_lag,
)
from infogail.evaluation.people import drive_window

PARAMETERS = Parameters(20.0, 1.5, 2.0, 1.0, 2.25)
NOBODY = Neighbour(np.array(False), np.array(100.0), np.array(0.0))


def env_of(file):
    return gymnasium.make("infogail/Replay-v0", recording=file).unwrapped


def test_idm():
    """On a free road a (1 - (v / v₀)⁴); behind another minus a (s* / s)²."""
    assert idm_acceleration(PARAMETERS, np.array(10.0), NOBODY) == pytest.approx(1 - 1 / 16)
    assert idm_acceleration(PARAMETERS, np.array(20.0), NOBODY) == pytest.approx(0.0)
    leader = Neighbour(np.array(True), np.array(34.0), np.array(0.0))
    assert idm_acceleration(PARAMETERS, np.array(10.0), leader) == pytest.approx(1 - 1 / 16 - (17 / 34) ** 2)
    # Closing at 3 m/s: s* = 2 + 15 + 10 · 3 / (2 · 1.5) = 27.
    leader = Neighbour(np.array(True), np.array(54.0), np.array(3.0))
    assert idm_acceleration(PARAMETERS, np.array(10.0), leader) == pytest.approx(1 - 1 / 16 - 0.25)
    # Pulling away fast: s* = 2, not less.
    leader = Neighbour(np.array(True), np.array(4.0), np.array(-30.0))
    assert idm_acceleration(PARAMETERS, np.array(10.0), leader) == pytest.approx(1 - 1 / 16 - 0.25)
    touching = Neighbour(np.array(True), np.array(-1.0), np.array(0.0))
    assert idm_acceleration(PARAMETERS, np.array(10.0), touching) == -5.0


def test_simulated_lag():
    """An IDM that wants just 10 m/s stays with who drives it; at 1 m/s² it gains 0.1² n (n - 1) / 2."""
    speed, nobody = np.full((1, 50), 10.0), Neighbour(*(np.zeros((1, 50)) + x for x in (0.0, 100.0, 0.0)))
    assert simulated_lag(PARAMETERS._replace(desired_speed=10.0), speed, nobody) == pytest.approx(np.zeros((1, 50)))
    gained = simulated_lag(PARAMETERS._replace(desired_speed=1e6), speed, nobody)
    assert gained[0, [9, 49]] == pytest.approx([-0.45, -12.25])


def test_fit_finds_who_drove(monkeypatch):
    """People who are IDM behind leaders of changing speed, at changing gaps."""
    rng, people, steps = np.random.default_rng(0), 40, 50
    ahead = rng.uniform(6.0, 40.0, people)
    leading = rng.uniform(5.0, 20.0, people)[:, None] + np.cumsum(rng.normal(0.0, 0.2, (people, steps)), axis=1)
    speeds, gaps, speed = [], [], leading[:, 0] + rng.normal(0.0, 2.0, people)
    for t in range(steps):
        speeds.append(speed)
        gaps.append(ahead)
        leader = Neighbour(np.full(people, True), ahead, speed - leading[:, t])
        ahead = ahead + (leading[:, t] - speed) * 0.1
        speed = np.maximum(speed + 0.1 * idm_acceleration(PARAMETERS, speed, leader), 0.0)
    speed, gap = np.stack(speeds, 1), np.stack(gaps, 1)
    asked = []

    def followed(recording, windows):
        asked.extend(windows)
        return speed, Neighbour(np.full(gap.shape, True), gap, speed - leading)

    class Ten:
        num_training = 10

    monkeypatch.setattr(peers, "followed", followed)
    assert fit(Ten()) == pytest.approx(PARAMETERS, rel=0.05)
    assert asked == list(range(10))  # held-out windows are not looked at


def test_followed_is_behind_whom_people_were(people):
    speed, leader = peers.followed(people, [0, 2])
    assert speed.shape == leader.gap.shape == (2, 51) and np.all(speed == 10.0)
    assert leader.present.tolist() == [[1.0] * 51, [0.0] * 51]
    assert leader.gap[0] == pytest.approx(np.full(51, 55.0)) and np.all(leader.closing[0] == 0.0)


def test_constant_velocity_keeps_speed_and_offset(tmp_path):
    file = tmp_path / "world.safetensors"
    cars = steady_cars()
    cars[2] = Car(100.0, 0.7, 10.0)
    recording = record_world(file, cars)
    states = drive_window(env_of(file), recording, 12, ConstantVelocity()).vehicle_states
    assert states[:, 0, 3] == pytest.approx(np.full(61, 10.0), abs=1e-6)
    assert states[:, 0, 1] == pytest.approx(np.full(61, 0.7), abs=1e-6)


def test_idm_keeps_behind_and_passes(tmp_path):
    """Behind a slow car it goes to the lane beside, where nobody is, and does not touch anybody."""
    file = tmp_path / "world.safetensors"
    slow = np.zeros((STEPS - 1, 2), np.float32)
    recording = record_world(file, [Car(100.0, 0.0, 12.0), Car(150.0, 0.0, 4.0, slow), Car(130.0, 4.0, 4.0, slow)])
    driver, env = IntelligentDriver(PARAMETERS), env_of(file)
    episode = drive_window(env, recording, 6, driver)
    assert not episode.crashed and not episode.off_road
    assert episode.vehicle_states[-1, 0, 1] == pytest.approx(-4.0, abs=0.5)
    driver.wants = lambda *around: False
    follows = drive_window(env, recording, 6, driver)
    assert not follows.crashed and abs(follows.vehicle_states[-1, 0, 1]) < 0.1
    assert follows.vehicle_states[-1, 0, 3] < 8.0


def test_it_does_not_cut_in(people):
    driver = IntelligentDriver(PARAMETERS)
    slow = Neighbour(np.array(True), np.array(10.0), np.array(2.0))
    close = Neighbour(np.array(True), np.array(3.0), np.array(4.0))
    assert driver.wants(10.0, (slow, NOBODY), (NOBODY, NOBODY))
    assert not driver.wants(10.0, (slow, NOBODY), (NOBODY, close))
    assert not driver.wants(10.0, (NOBODY, NOBODY), (NOBODY, NOBODY))  # nothing to gain
