"""The twin against highway-env: same scene, same actions, every field at every step, to 1e-9."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.catalogue import environment_id
from infogail.envs.physics.dynamics import as_car, contact, initial_traffic
from infogail.envs.stepping import missing_compiler

CASES = 1000  # per scenario and form, with actions of the finer dtype


def make_twin(scenario: str, count: int, compiled: bool) -> Any:
    return gymnasium.make_vec(
        environment_id(scenario),
        count,
        vectorization_mode="vector_entry_point",
        dtype="float64",
        compile=compiled,
    ).unwrapped


def hard_cases(scenario: str, count: int, rng: np.random.Generator) -> tuple[dict, np.ndarray]:
    """Scenes and actions (60, count, 2): of all kinds, from calm to beyond highway-env's speed limit of 40 m/s."""
    twin = make_twin(scenario, count, compiled=False)
    twin.reset(seed=int(rng.integers(2**31)))
    scene, actions = twin.scene, rng.uniform(-1, 1, (60, count, 2))
    actions[..., 1] *= rng.choice([0.02, 0.2, 1.0], count)
    scene["ego_speed"][::3] = rng.uniform(-5, 45, len(scene["ego_speed"][::3]))
    scene["ego_heading"][::4] = rng.uniform(-0.4, 0.4, len(scene["ego_heading"][::4]))
    if scenario == "pass":
        scene["lead_gap"] = rng.uniform(-25, 40, count)
        scene["ego_offset"] = rng.uniform(-4, 4, count)
        scene["lead_speed"][::2] = rng.uniform(0, 45, len(scene["lead_speed"][::2]))
        # Grazing passes: beside each other, a hand's breadth apart or overlapping.
        scene["ego_offset"][1::5] = scene["lead_offset"][1::5] + 2.0 + rng.uniform(-0.05, 0.3, count // 5)
        scene["lead_gap"][1::5], scene["ego_heading"][1::5] = rng.uniform(-3, 15, count // 5), 0.0
        actions[:, 1::5, 1] *= 0.02
        # From behind, exactly in line, fast.
        scene["ego_offset"][2::5] = scene["lead_offset"][2::5]
        scene["ego_heading"][2::5], actions[:, 2::5, 1] = 0.0, 0.0
    return scene, actions


@pytest.mark.parametrize(("dtype", "cases"), [("float32", CASES // 5), ("float64", CASES)])
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["eager", "compiled"])
@pytest.mark.parametrize("scenario", ["pass", "turn"])
def test_twin_drives_as_highway_env_does(scenario: str, compiled: bool, dtype: str, cases: int):
    if compiled and (missing := missing_compiler()):
        pytest.skip(f"no {missing}")
    scene, actions = hard_cases(scenario, cases, np.random.default_rng(7))
    actions = actions.astype(dtype)
    twin, reference = make_twin(scenario, cases, compiled), gymnasium.make(environment_id(scenario)).unwrapped
    obs, _ = twin.reset(options={"scene": scene})
    steps = []
    for action in actions:
        obs, reward, terminated, truncated, infos = twin.step(action)
        ended = infos.get("_final_obs", np.zeros(cases, bool))[:, None]
        last = np.where(ended, infos.get("final_obs", obs), obs)
        states = infos["final_info"]["vehicle_state"] if "final_info" in infos else twin.vehicle_state
        flags = np.stack((terminated, truncated, infos["crashed"], infos["off_road"]), -1)
        steps.append((states, last, reward, flags))
    crashes = exits = closest_misses = 0
    for case in range(cases):
        reference.reset(options={"scene": {name: values[case] for name, values in scene.items()}})
        nearest = np.inf
        for action, (states, last, reward, flags) in zip(actions, steps, strict=True):
            obs, reference_reward, terminated, truncated, info = reference.step(action[case])
            np.testing.assert_allclose(states[case], reference.vehicle_state, rtol=0, atol=1e-9)
            assert tuple(flags[case]) == (terminated, truncated, info["crashed"], info["off_road"])
            assert reward[case] == pytest.approx(reference_reward, abs=1e-9)
            np.testing.assert_allclose(last[case], obs, rtol=0, atol=1e-5)  # the reference's is float32
            if scenario == "pass":
                dx, dy = (reference.vehicle_state[1] - reference.vehicle_state[0])[:2]
                nearest = min(nearest, abs(dy) if abs(dx) < Vehicle.LENGTH else np.inf)
            if terminated or truncated:
                break
        crashes, exits = crashes + info["crashed"], exits + info["off_road"]
        closest_misses += not info["crashed"] and nearest < 2.4
    assert exits >= cases / 5, exits
    if scenario == "pass":
        assert crashes >= 0.3 * cases and closest_misses >= 0.04 * cases, (crashes, closest_misses)


def test_contact_is_highway_envs():
    rng = np.random.default_rng(3)
    count, dt = 3000, 1 / 15
    a, b = (
        np.stack(
            (rng.uniform(-4, 4, count), rng.uniform(-3, 3, count), rng.uniform(-3, 3, count), rng.uniform(0, 40, count))
        )
        for _ in range(2)
    )
    b[2, :1000] = a[2, :1000]  # parallel
    b[:3, 1000:1100] = a[:3, 1000:1100] + [[0.01], [0.02], [0.0]]  # nearly in the same place
    b[1:3, 1100:1300], a[2, 1100:1300] = [[a[1, 1100]], [0.0]], 0.0  # along the axes
    cars = [as_car(initial_traffic(torch.tensor(s)[:, None])[:, 0]) for s in (a, b)]
    now, soon, push_x, push_y = (x.numpy() for x in contact(*cars, dt))
    touching = 0
    for k in range(count):
        one, other = (Vehicle(None, (x, y), heading, speed) for x, y, heading, speed in (a[:, k], b[:, k]))
        intersecting, will_intersect, translation = one._is_colliding(other, dt)
        assert (now[k], soon[k]) == (intersecting, will_intersect)
        if will_intersect:
            touching += 1
            np.testing.assert_allclose((push_x[k], push_y[k]), translation, rtol=0, atol=1e-9)
    assert 500 < touching < 2950
