import numpy as np
import pytest
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.recordings.recover import mean_absolute_jerk, recover, smooth

LIMIT = 0.3  # [rad]


def drive(state, length, commands):
    """States (T + 1, 4) of highway-env's own vehicle, of `length`, by `commands` (T, 2) [m/s²] [rad]."""
    x, y, heading, speed = state
    vehicle = Vehicle(None, (x, y), heading, speed)
    vehicle.LENGTH = length
    states = [state]
    for acceleration, steering in commands:
        vehicle.act({"acceleration": float(acceleration), "steering": float(steering)})
        vehicle.step(0.1)
        states.append((*vehicle.position, vehicle.heading, vehicle.speed))
    return np.array(states)


def wavy(steps, seed, steering=0.02):
    time = 0.1 * np.arange(steps)
    phase = np.random.default_rng(seed).uniform(0, 6, 2)
    return np.stack((1.5 * np.sin(0.9 * time + phase[0]), steering * np.sin(0.7 * time + phase[1])), -1)


@pytest.mark.parametrize(("length", "speed", "steering"), [(4.8, 14.0, 0.02), (12.0, 9.0, 0.05), (2.3, 33.0, 0.002)])
def test_finds_known_commands_in_noisy_positions(length, speed, steering):
    commands = wavy(100, 1, steering)
    true = drive((3.0, -7.0, 2.9, speed), length, commands)
    noise = np.random.default_rng(0).normal(0, 0.05, (101, 2))
    recorded = true + np.concatenate((noise, np.zeros((101, 2))), -1)
    found = recover(recorded, length, LIMIT, 0.1)
    assert found.actions.dtype == np.float32 and found.actions.shape == (100, 2)
    assert np.sqrt((found.misses**2).mean()) < 0.1
    assert np.hypot(*(found.states - true)[:, :2].T).max() < 0.12
    middle = slice(10, 90)  # at the ends, less is known
    off = found.actions[middle] * (5.0, LIMIT) - commands[middle]
    assert np.sqrt((off**2).mean(0)) == pytest.approx([0, 0], abs=0.3) and abs(off[:, 1]).max() < 0.03
    measured = np.hypot(*np.diff(recorded[:, :2], axis=0).T) / 0.1
    assert mean_absolute_jerk(found.states[:, 3], 0.1) < 0.05 * mean_absolute_jerk(measured, 0.1)


@pytest.mark.parametrize(("length", "speed"), [(4.8, 14.0), (2.3, 35.0)])
def test_states_are_what_highway_env_makes_of_the_actions(length, speed):
    recorded = drive((0.0, 0.0, -1.0, speed), length, wavy(80, seed=2))
    found = recover(recorded, length, LIMIT, 0.1)
    commands = found.actions.astype(np.float64) * (5.0, LIMIT)
    np.testing.assert_allclose(drive(tuple(found.states[0]), length, commands), found.states, atol=1e-9)
    half = drive(tuple(found.states[37]), length, commands[37:])
    np.testing.assert_allclose(half, found.states[37:], atol=1e-9)


def test_a_car_that_stands_does_nothing_and_one_that_stops_does_not_turn():
    noise = np.random.default_rng(0).normal(0, 0.03, (80, 2))
    still = np.zeros((80, 4)) + (5.0, 6.0, 2.0, 0.0)
    still[:, :2] += noise
    found = recover(still, 4.8, LIMIT, 0.1)
    assert found.misses.max() < 0.15 and abs(found.states[:, 2] - 2.0).max() < 1e-6
    stops = drive((0.0, 0.0, 2.0, 6.0), 4.8, np.stack((np.where(np.arange(80) < 40, -1.5, 0.0), np.zeros(80)), -1))
    stops[:, :2] += noise[:1].repeat(81, 0) + np.random.default_rng(1).normal(0, 0.03, (81, 2))
    found = recover(stops, 4.8, LIMIT, 0.1)
    assert np.sqrt((found.misses**2).mean()) < 0.1
    assert abs(found.states[:, 2] - 2.0).max() < 0.1 and found.states[:, 3].min() > -1e-6


def test_stays_within_the_limits_and_says_what_it_misses():
    commands = np.zeros((80, 2))
    commands[20:40, 0], commands[40:60, 0] = -12.0, 12.0
    found = recover(drive((0.0, 0.0, 0.0, 30.0), 4.8, commands), 4.8, LIMIT, 0.1)
    assert abs(found.actions).max() == 1.0 and found.misses.max() > 1.0
    fast = recover(drive((0.0, 0.0, 0.0, 39.0), 4.8, np.zeros((80, 2))) * (1.2, 1.2, 1.0, 1.2), 4.8, LIMIT, 0.1)
    assert fast.states[:, 3].max() <= Vehicle.MAX_SPEED + 1e-6 and fast.misses.max() > 10.0


def test_smoothing_solves_its_least_squares_and_keeps_parabolas():
    values = np.random.default_rng(3).normal(size=(12, 2))
    third = np.diff(np.eye(12), 3, axis=0)
    np.testing.assert_allclose(smooth(values, 7.0), np.linalg.solve(np.eye(12) + 7.0 * third.T @ third, values))
    parabola = np.stack((np.arange(61.0) ** 2, 3 - np.arange(61.0)), -1)
    np.testing.assert_allclose(smooth(parabola, 2000.0), parabola, atol=1e-6)


def test_jerk():
    assert mean_absolute_jerk(np.array([0.0, 0.0, 0.1, 0.1, 0.1]), 0.1) == pytest.approx(20 / 3)
