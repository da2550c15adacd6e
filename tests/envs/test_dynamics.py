"""The twin's physics against values worked out by hand, and what a batch must not change."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from infogail.envs.catalogue import environment_id
from infogail.envs.physics.dynamics import Car, drive, drive_thoroughly, initial_traffic
from infogail.envs.physics.streams import random_streams, splitmix64, uniform

DRIVES = (drive, drive_thoroughly)
DT = 1 / 15


def traffic_of(*cars: tuple[float, ...]) -> Tensor:
    """One environment (9, V, 1) with `cars` = (x, y, heading, speed, and as many more fields of `Car` as given)."""
    rows = np.zeros((len(Car._fields), len(cars), 1))
    for k, car in enumerate(cars):
        rows[: len(car), k, 0] = car
    return torch.tensor(rows)


def after_one_step(physics, traffic: Tensor, acceleration: float, steering: float, dt: float) -> np.ndarray:
    command = torch.tensor([[acceleration], [steering]], dtype=torch.float64)
    return physics(traffic, *command, dt, 1)[..., 0].T.numpy()  # (V, 9)


def random_traffic(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of cars near enough for a good part to touch, some beyond the speed limit; commands (count,)."""
    rng = np.random.default_rng(seed)
    limits = np.array([[9.0, 3.0, 0.5, 20.0]]).T
    states = rng.uniform(-limits[:, None], limits[:, None], (4, 2, count)) + np.array([0, 0, 0, 25.0])[:, None, None]
    commands = rng.uniform([[-5.0], [-0.2]], [[5.0], [0.2]], (2, count))
    return initial_traffic(torch.tensor(states)), *torch.tensor(commands)


@pytest.mark.parametrize("physics", DRIVES)
def test_one_step_of_the_bicycle(physics):
    # tan δ = 1.5 gives tan β = 0.75: sin β = 0.6, cos β = 0.8. Heading by Pythagoras too: cos h = 0.6, sin h = 0.8, so
    # cos(h + β) = 0.48 - 0.48 = 0 and sin(h + β) = 0.64 + 0.36 = 1: it moves along y. v dt = 20 · 0.1 = 2 m;
    # heading += 2 · 0.6 / (5 / 2); speed += -4 · 0.1. The other car keeps 10 m/s along -x.
    traffic = traffic_of((3.0, -1.0, np.arctan2(0.8, 0.6), 20.0), (100.0, 7.0, np.pi, 10.0))
    ego, other = after_one_step(physics, traffic, -4.0, np.arctan(1.5), 0.1)
    np.testing.assert_allclose(ego[:4], [3.0, 1.0, np.arctan2(0.8, 0.6) + 0.48, 19.6], rtol=0, atol=1e-12)
    np.testing.assert_allclose(other[:4], [99.0, 7.0, np.pi, 10.0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("physics", DRIVES)
@pytest.mark.parametrize(
    ("speed", "command", "expected"),
    [
        (42.0, 3.0, -2.0),  # above 40 m/s: at most 40 - 42
        (42.0, -5.0, -5.0),  # braking harder is not touched
        (40.0, 5.0, 5.0),  # the limit itself is not above it
        (-43.0, -1.0, 3.0),  # below -40 m/s: at least -40 + 43
        (-39.0, -5.0, -5.0),
    ],
)
def test_commands_beyond_the_speed_limits_are_clipped(physics, speed, command, expected):
    (ego,) = after_one_step(physics, traffic_of((0.0, 0.0, 0.0, speed)), command, 0.0, 0.1)
    np.testing.assert_allclose(ego[3:5], [speed + 0.1 * expected, expected], rtol=0, atol=1e-12)


@pytest.mark.parametrize("physics", DRIVES)
def test_a_clipped_command_stays_in_force(physics):
    # highway-env overwrites the command that it clips, and nobody gives the other car a new one:
    # 42 m/s is clipped to -2 m/s², and still brakes at -2 m/s² in the next step although 41.8 - 40 is less.
    traffic = traffic_of((0.0, 0.0, 0.0, 0.0), (100.0, 0.0, 0.0, 42.0))
    zero = torch.zeros(1, dtype=torch.float64)
    speeds = [physics(traffic, zero, zero, 0.1, steps)[3, 1, 0].item() for steps in (1, 2)]
    np.testing.assert_allclose(speeds, [41.8, 41.6], rtol=0, atol=1e-12)


@pytest.mark.parametrize("physics", DRIVES)
def test_a_wreck_brakes_straight_and_is_displaced(physics):
    # Struck with an impact of (0.3, -0.2) m and already crashed: acceleration = -speed, wheels straight.
    wreck = (0.0, 0.0, 0.0, 10.0, 0.0, 0.3, -0.2, 1.0, 1.0)
    (ego,) = after_one_step(physics, traffic_of(wreck), 5.0, 0.4, 0.1)
    np.testing.assert_allclose(ego, [1.3, -0.2, 0.0, 9.0, -10.0, 0.0, 0.0, 1.0, 0.0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("physics", DRIVES)
def test_a_collision_from_behind(physics):
    # In line, 6 m apart, 30 and 0 m/s, dt = 0.1 s. After the step the gap is 6 - 3 = 3 m: bodies of 5 m overlap now.
    # Ahead, what the ego sweeps (5 + 3 m, centre 1.5 m on) overlaps by 6.5 - 1.5 = 5 m; across by 2 m, which is less.
    # The centres are level, where highway-env takes the second axis reversed: ego to y = -1, the other to +1.
    traffic = traffic_of((0.0, 0.0, 0.0, 30.0), (6.0, 0.0, 0.0, 0.0))
    ego, other = after_one_step(physics, traffic, 0.0, 0.0, 0.1)
    np.testing.assert_allclose(ego, [3.0, 0, 0, 30.0, 0, 0, -1.0, 1, 1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(other, [6.0, 0, 0, 0.0, 0, 0, 1.0, 1, 1], rtol=0, atol=1e-12)


def test_the_short_way_is_the_thorough_one_to_rounding():
    traffic, *commands = random_traffic(4000, seed=0)
    thorough = drive_thoroughly(traffic, *commands, DT, 3)
    torch.testing.assert_close(drive(traffic, *commands, DT, 3), thorough, rtol=0, atol=1e-11)
    crashed, clipped = thorough[7, 0] > 0, traffic[3].abs().amax(0) > 40
    assert 500 < crashed.sum() < 3500 and clipped.sum() > 500


@pytest.mark.parametrize("physics", DRIVES)
def test_an_environment_does_not_see_the_others(physics):
    traffic, *commands = random_traffic(300, seed=1)
    others, *other_commands = random_traffic(300, seed=2)
    alone = physics(traffic[..., 7:8], *(c[7:8] for c in commands), DT, 3)
    others[..., 7] = traffic[..., 7]
    for mine, theirs in zip(commands, other_commands, strict=True):
        theirs[7] = mine[7]
    among_others = physics(others, *other_commands, DT, 3)[..., 7:8]
    torch.testing.assert_close(physics(traffic, *commands, DT, 3)[..., 7:8], alone, rtol=0, atol=1e-13)
    torch.testing.assert_close(among_others, alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_episodes_do_not_depend_on_the_other_environments(scenario):
    """Environment 2 among 4, and among 9 that drive otherwise: through crashes and new starts the same."""

    def play(count: int, seed: int) -> list[np.ndarray]:
        env = gymnasium.make_vec(
            environment_id(scenario), count, vectorization_mode="vector_entry_point", dtype="float64"
        ).unwrapped
        env.reset(seed=5)
        mine, others = np.random.default_rng(0), np.random.default_rng(seed)
        states, ended = [env.vehicle_state[2]], 0
        for _ in range(150):
            actions = others.uniform(-1, 1, (count, 2))
            actions[2] = mine.uniform(-1, 1, 2)
            _, _, terminated, truncated, _ = env.step(actions)
            ended += int(terminated[2] | truncated[2])
            states.append(env.vehicle_state[2])
        assert ended >= 2
        return states

    np.testing.assert_allclose(play(4, seed=1), play(9, seed=2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_what_a_step_hands_out_is_not_overwritten_later(scenario):
    env = gymnasium.make_vec(environment_id(scenario), 16, vectorization_mode="vector_entry_point").unwrapped
    env.reset(seed=0)
    held: list[tuple[np.ndarray, np.ndarray]] = []
    rng = np.random.default_rng(0)
    for _ in range(120):
        obs, reward, terminated, truncated, infos = env.step(rng.uniform(-1, 1, (16, 2)).astype(np.float32))
        arrays = [obs, reward, terminated, truncated, infos["crashed"], infos["off_road"]]
        if "final_obs" in infos:
            arrays += [infos["final_obs"], infos["_final_obs"], *infos["final_info"].values()]
        held += [(array, array.copy()) for array in arrays]
    assert len(held) > 120 * 6  # some episodes ended
    assert all(np.array_equal(array, copy) for array, copy in held)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_an_environment_takes_at_most_a_kilobyte(scenario, dtype):
    env = gymnasium.make_vec(environment_id(scenario), 8, vectorization_mode="vector_entry_point", dtype=dtype)
    assert 50 < env.unwrapped.bytes_per_environment <= 1024


def test_compiling_without_a_compiler_says_so(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"no-such-compiler.*compile=False"):
        gymnasium.make_vec(environment_id("turn"), 3, vectorization_mode="vector_entry_point", compile=True)


def test_splitmix64():
    # The published outputs for the seed 1234567 (Vigna's splitmix64.c), as int64 with the same bits.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state = 1234567 + np.arange(1, 5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert splitmix64(torch.from_numpy(state.view(np.int64))).numpy().view(np.uint64).tolist() == published


def test_uniform_numbers():
    streams = random_streams(0, 2000)
    numbers = uniform(streams, torch.arange(50)[:, None], torch.float64)
    assert numbers.shape == (50, 2000) and numbers.min() >= 0 and numbers.max() < 1
    share, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert abs(share / numbers.numel() - 0.05).max() < 5 * (0.05 * 0.95 / numbers.numel()) ** 0.5
    # Neighbours in either direction are unrelated: 5 standard errors of a correlation over 98,000 pairs.
    for a, b in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 5 / 98_000**0.5
    assert torch.equal(uniform(streams, torch.arange(50)[:, None], torch.float32).double(), numbers)
