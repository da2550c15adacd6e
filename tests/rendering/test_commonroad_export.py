import gymnasium
import numpy as np
import pytest
from passer import Passer
from replay_world import record_world, steady_cars

from infogail.cli import main
from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.data.world import RecordedWorld
from infogail.envs.recordings.commonroad import read_commonroad
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.replay import Replay
from infogail.evaluation.episodes import demonstrated_episodes, drive_episode
from infogail.rendering.commonroad import commonroad_scenario, write_scenarios

pytest.importorskip("commonroad")

LENGTH, ACCELERATION, STEERING = 5.0, 5.0, 0.1  # of a car of pass: [m], largest [m/s²], largest [rad]


def columns(obstacle):
    """(T, …) of an obstacle's states."""
    states = [obstacle.initial_state, *obstacle.prediction.trajectory.state_list]
    names = ("position", "orientation", "velocity", "acceleration", "yaw_rate", "slip_angle")
    assert [state.time_step for state in states] == list(range(states[0].time_step, states[0].time_step + len(states)))
    return [np.array([getattr(state, name) for state in states]) for name in names]


@pytest.fixture(scope="module")
def passed():
    """One episode of each code, as `Scenario` of commonroad-io."""
    env = gymnasium.make(environment_id("pass")).unwrapped
    episodes = [drive_episode(Passer(), env, code, seed=3) for code in (0, 1)]
    assert not any(episode.failed for episode in episodes)
    return [(episode, commonroad_scenario(env.scenario, episode, "ZAM_Pass-1_1_T-1")) for episode in episodes]


def test_states_are_those_that_were_driven(passed):
    for episode, written in passed:
        assert written.dt == pytest.approx(1 / 15)
        assert len(written.dynamic_obstacles) == episode.vehicle_states.shape[1] == 2
        for k, obstacle in enumerate(written.dynamic_obstacles):
            position, heading, speed, *_ = columns(obstacle)
            assert len(position) == 3 * len(episode.actions) + 1
            driven = episode.vehicle_states[:, k]
            np.testing.assert_allclose(position[::3], driven[:, :2] * (1, -1), atol=1e-6)
            np.testing.assert_allclose(np.stack((-heading, speed), 1)[::3], driven[:, 2:], atol=1e-6)
            assert (obstacle.obstacle_shape.length, obstacle.obstacle_shape.width) == (5.0, 2.0)


def test_trajectories_are_those_of_a_kinematic_single_track_model(passed):
    """Each step is that of a car whose front wheels steer and whose tyres do not slide, within its limits."""
    for _, written in passed:
        for obstacle in written.dynamic_obstacles:
            position, *rest = columns(obstacle)
            heading, speed, acceleration, yaw_rate, slip = (each[:-1] for each in rest)
            ahead = np.diff(position, axis=0)
            course = heading + slip
            np.testing.assert_allclose(
                ahead, speed[:, None] * written.dt * np.c_[np.cos(course), np.sin(course)], atol=1e-6
            )
            np.testing.assert_allclose(yaw_rate, speed * np.sin(slip) / (LENGTH / 2), atol=1e-6)
            steering = np.arctan(2 * np.tan(slip))
            assert abs(steering).max() <= STEERING + 1e-6 and abs(acceleration).max() <= ACCELERATION + 1e-6
        ego = columns(written.dynamic_obstacles[0])
        assert np.ptp(ego[0][:, 1]) > 3.0 and abs(ego[4]).max() > 0.05  # it changed lanes


def test_code_0_passes_on_the_left_also_with_y_to_the_left(passed):
    lines = [columns(written.dynamic_obstacles[0])[0][:, 1] for _, written in passed]
    assert lines[0].max() > 3.0 and lines[1].min() < -3.0


def test_lanes_are_lanelets_beside_and_after_each_other():
    recording, _ = record(get_scenario("turn"), 10, seed=0)
    scenario = recording.scenario
    for episode in demonstrated_episodes(recording)[:4]:
        lanelets = {
            each.lanelet_id: each
            for each in commonroad_scenario(scenario, episode, "ZAM_Turn-1_1_T-1").lanelet_network.lanelets
        }
        network = scenario.road_network(episode.scene)
        assert len(lanelets) == len(network.lanes_list())
        followed = 0
        for lanelet in lanelets.values():
            across = lanelet.left_vertices[0] - lanelet.right_vertices[0]
            along = lanelet.center_vertices[1] - lanelet.center_vertices[0]
            assert along[0] * across[1] - along[1] * across[0] > 0  # the left line is on the left
            for successor in map(lanelets.get, lanelet.successor):
                np.testing.assert_allclose(successor.center_vertices[0], lanelet.center_vertices[-1], atol=1e-6)
                assert successor.predecessor == [lanelet.lanelet_id]
                followed += 1
            if lanelet.adj_left is not None:
                np.testing.assert_allclose(lanelets[lanelet.adj_left].right_vertices, lanelet.left_vertices, atol=1e-6)
        assert followed == 2 * len(lanelets) // 3  # straight, bend, straight


def test_recorded_traffic_appears_when_and_where_it_was_there(tmp_path):
    cars = steady_cars()
    cars[1].length, cars[1].width = 12.0, 2.5
    recording = record_world(tmp_path / "world.safetensors", cars)
    recording.world.present[30:, 3] = False
    scenario = Replay.of_world(recording.world, recording.vehicle_states[::61, 0])
    assert isinstance(recording.world, RecordedWorld)
    episode = demonstrated_episodes(recording)[0]
    written = commonroad_scenario(scenario, episode, "ZAM_Replay-1_1_T-1")
    ends = [obstacle.prediction.final_time_step for obstacle in written.dynamic_obstacles]
    assert sorted(ends) == [29, 60, 60, 60]
    assert sorted(obstacle.obstacle_shape.length for obstacle in written.dynamic_obstacles) == [5.0, 5.0, 5.0, 12.0]
    for obstacle in written.dynamic_obstacles:
        np.testing.assert_allclose(columns(obstacle)[2], 10.0, atol=1e-6)


def test_files_can_be_read_back(highway_run, tmp_path, capsys):
    out = tmp_path / "files"
    main(["render", str(highway_run), "--commonroad", str(out), "--seed", "1"])
    files = sorted(out.iterdir())
    assert [path.name for path in files] == [f"ZAM_Highway-1_{code}_T-1.xml" for code in (1, 2, 3, 4)]
    assert capsys.readouterr().out.split() == list(map(str, files))
    for path in files:
        scene = read_commonroad(path)
        assert len(scene.lanelets) == 3 and len(scene.cars) == 12 and not scene.notes
        assert all((car.length, car.width, car.kind) == (5.0, 2.0, "car") for car in scene.cars)
    with pytest.raises(SystemExit):
        main(["render", str(highway_run), "--commonroad", str(out)])
    assert "already exists; replace it with --force" in capsys.readouterr().err
    before = files[0].read_bytes()
    write_scenarios(highway_run, out, seed=1, force=True)
    assert files[0].read_bytes() == before and len(list(out.iterdir())) == 4


def test_other_outputs_and_environments_are_refused(highway_run, tmp_path, capsys):
    for words in (["--html"], ["--out", str(tmp_path)]):
        with pytest.raises(SystemExit):
            main(["render", str(highway_run), "--commonroad", str(tmp_path / "files"), *words])
        assert "--commonroad: its files go into its own folder" in capsys.readouterr().err
