import numpy as np
import pytest
from starts import start

from infogail.envs.catalogue import get_scenario
from infogail.envs.scenarios.passing import Pass
from infogail.envs.scenarios.scenario import POLICY_FREQUENCY, SIMULATION_FREQUENCY, Scenario
from infogail.rendering.camera import Stage
from infogail.rendering.palette import OFF_ROAD, colour

FRAMES_PER_DECISION = SIMULATION_FREQUENCY // POLICY_FREQUENCY
PASS = get_scenario("pass")


@pytest.mark.parametrize("name", ["pass", "turn"])
def test_the_film_shows_what_was_driven(name):
    env, scene = start(name, seed=5)
    actions = np.random.default_rng(0).uniform(-0.3, 0.3, (8, 2)).astype(np.float32)
    driven = [env.vehicle_state]
    for action in actions:
        env.step(action)
        driven.append(env.vehicle_state)
    stage = Stage(env.scenario, scene, colour(0))
    for action in np.repeat(actions, FRAMES_PER_DECISION, axis=0):
        stage.step(action)
    np.testing.assert_array_equal(stage.states[::FRAMES_PER_DECISION], driven)


@pytest.mark.parametrize("name", ["pass", "turn"])
def test_the_trail_lies_where_the_ego_has_been_in_its_colour(name):
    scenario, (_, scene) = get_scenario(name), start(name)
    stage = Stage(scenario, scene, colour(1))
    for _ in range(20):
        stage.step(np.zeros(2))
    for moment in (0, 6):
        centre, scaling = scenario.view.camera(stage.states[-1], scene)
        x, y = ((stage.states[moment][0, :2] - centre) * scaling + np.array(scenario.view.size) / 2).round().astype(int)
        assert tuple(stage.picture()[y, x]) == colour(1)
    stage.states = stage.states[-1:]
    assert tuple(stage.picture()[y, x]) != colour(1)


def test_the_bend_has_round_edges_and_a_roadside():
    _, scene = start("turn")
    stage = Stage(get_scenario("turn"), scene, colour(0))
    centre, scaling = get_scenario("turn").view.camera(stage.states[-1], scene)
    picture, direction, radius = stage.picture(), float(scene["direction"]), float(scene["radius"])

    def at(distance_from_centre, angle):
        world = np.array([np.sin(angle), direction * (radius / distance_from_centre - np.cos(angle))])
        x, y = ((world * distance_from_centre - centre) * scaling + 280).round().astype(int)
        return picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)

    for angle in np.linspace(0.1, 1.4, 9):
        assert at(radius + 4, angle).max() > 200 and at(radius - 4, angle).max() > 200
        assert (at(radius + 7, angle) == OFF_ROAD).all() and (at(radius - 7, angle) == OFF_ROAD).all()
        assert (at(radius + 2, angle) == 100).all()


def test_the_dummy_driver_of_sdl_draws_too(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    stage = Stage(PASS, start("pass")[1], colour(0))
    assert (stage.picture() == colour(0)).all(-1).any()


def test_the_ego_stays_in_the_picture_however_far_the_lead():
    env, scene = start("pass")
    states = env.vehicle_state
    for gap in (-300.0, 0.0, 300.0):
        states[1, 0] = states[0, 0] + gap
        centre, scaling = PASS.view.camera(states, scene)
        assert abs(states[0, 0] - centre[0]) * scaling < PASS.view.size[0] / 2 - 60


class Plain(Pass):
    """A scenario that says nothing of how it is shown."""

    view = Scenario.view


def test_by_default_the_camera_follows_the_ego():
    _, scene = start("pass")
    stage = Stage(Plain(), scene, colour(0))
    for _ in range(30):
        stage.step(np.zeros(2))
    picture = stage.picture()
    assert picture.shape == (240, 1120, 3)
    painted = np.argwhere((np.abs(picture.astype(int) - colour(0)) < 12).all(-1))
    assert painted[:, 0].mean() == pytest.approx(120, abs=3)
    assert painted[:, 1].max() == pytest.approx(560 + 2.5 * 6, abs=4)  # its front; the trail begins at the left
