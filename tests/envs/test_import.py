from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from commonroad_files import Obstacle, file_text
from highway_env.vehicle.kinematics import Vehicle

from infogail.cli import main
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.recordings.commonroad import InvalidScenario, read_commonroad
from infogail.envs.recordings.importing import held_out_files, import_files, natural_order, rectangles_touch
from infogail.envs.recordings.roadway import place

LIMIT = 0.3  # [rad]
RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "us101"
needs_recordings = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the US-101 recordings are not beside the project"
)


def with_noise(obstacle, seed):
    noise = np.random.default_rng(seed).normal(0, 0.02, (obstacle.steps, 2))
    obstacle.states = obstacle.states + np.pad(noise, ((0, 0), (0, 2)))
    return obstacle


def cut(obstacle, steps):
    """The same driver, seen for less long."""
    shorter = replace(obstacle, steps=steps)
    shorter.states = obstacle.states[:steps]
    return shorter


LONG = with_noise(Obstacle(51, steps=81, start=10.0), 1)
JUDGED = with_noise(Obstacle(56, steps=121), 2)
FILES = {
    "rec_9.xml": [cut(JUDGED, 61), with_noise(Obstacle(57, start=40.0), 3)],
    "rec_10.xml": [JUDGED, Obstacle(58, start=30.0, offset=-4.0), Obstacle(59, start=33.0, offset=-4.0)],
    "rec_1.xml": [
        LONG,
        with_noise(Obstacle(52, offset=-4.0, kind="truck", size=(14.0, 2.5), first_step=5), 4),
        Obstacle(53, kind="pedestrian", speed=1.0, wobble=0.2),
        Obstacle(54, steps=30, start=90.0),
        Obstacle(55, offset=40.0),
    ],
    "rec_2.xml": [
        cut(LONG, 71),
        with_noise(Obstacle(60, start=35.0, speed=0.0, wobble=0.0, offset=-4.0), 5),
        Obstacle(61, start=60.0, offset=4.0),
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for name, obstacles in FILES.items():
        (folder / name).write_text(file_text(obstacles))
    return folder


@pytest.fixture(scope="module")
def imported(folder):
    return import_files([folder / name for name in FILES])


def test_counts_what_is_made_and_what_is_left_out(imported):
    report = imported.report
    assert (report.files, report.scenes, report.held_out_files) == (4, 4, ("rec_10.xml",))
    assert report.cars == 12 and report.not_cars == {"not a vehicle": 1} and report.standing == 0
    assert report.cars_left_out == {
        "off the lanes": 1,
        "too short": 1,
        "also in held-out files": 1,
        "recorded twice": 1,
    }
    # The long one begins at 0, 10 and 20; the truck, the one that stands and 57 once each. 61 outlives its lane.
    assert report.training == 6 and report.held_out == 2
    assert report.windows_left_out == {"touching another car": 2, "not reproducible": 0, "off the lanes": 1}
    assert report.reproduced == 1.0 and 0.0 < report.median_miss < report.high_miss < 0.1
    assert "demonstrations: 6 for training, 2 held out" in report.lines()


def test_demonstrations_begin_where_their_cars_are(imported, folder):
    replays = imported.replays
    assert replays.files == ("rec_1.xml", "rec_2.xml", "rec_9.xml", "rec_10.xml")
    assert replays.num_training.tolist() == [6] and replays.file.tolist() == [0, 1, 2, 3]
    assert replays.first_row.tolist() == [0, 81, 152, 213, 334]
    assert replays.demonstration_scene.tolist() == [0, 0, 0, 0, 1, 2, 3, 3]
    assert replays.demonstration_car.tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert replays.demonstration_row.tolist() == [0, 10, 20, 5, 81, 152, 213, 273]
    track = replays.track.tolist()
    assert track[0] == track[1] == track[2] and track[6] == track[7] and len(set(track)) == 5
    np.testing.assert_allclose(replays.sizes[0], [[4.8, 1.9], [14.0, 2.5], [4.8, 1.9]])
    recorded = read_commonroad(folder / "rec_1.xml").cars[1]
    np.testing.assert_array_equal(replays.states[5:66, 1], recorded.states)
    assert replays.present[:81, 1].tolist() == [False] * 5 + [True] * 61 + [False] * 15
    assert not replays.states[~replays.present].any() and not replays.places[~replays.present].any()
    own = replays.states[replays.demonstration_row, replays.demonstration_car]
    begun = imported.vehicle_states[::61, 0]
    assert np.hypot(*(begun - own)[:, :2].T).max() < 0.15
    lines = np.split(replays.reference, replays.first_point[1:-1])
    along, across = np.array(
        [place(*x_y, lines[k]) for x_y, k in zip(begun[:, :2], replays.demonstration_scene, strict=True)]
    ).T
    places = replays.places[replays.demonstration_row, replays.demonstration_car]
    assert abs(np.stack((along, across), -1) - places).max() < 0.15
    assert across == pytest.approx([0, 0, 0, -4, -4, 0, 0, 0], abs=0.15)


def test_actions_drive_highway_env_through_the_states(imported):
    assert imported.actions.shape == (8 * 60, 2) and imported.actions.dtype == np.float32
    lengths = imported.replays.sizes[imported.replays.demonstration_scene, imported.replays.demonstration_car, 0]
    for e, length in enumerate(lengths):
        states = imported.vehicle_states[61 * e : 61 * (e + 1), 0]
        vehicle = Vehicle(None, states[0, :2], states[0, 2], states[0, 3])
        vehicle.LENGTH = length
        for action, state in zip(imported.actions[60 * e : 60 * (e + 1)].astype(float), states[1:], strict=True):
            vehicle.act({"acceleration": 5 * action[0], "steering": LIMIT * action[1]})
            vehicle.step(0.1)
            np.testing.assert_allclose([*vehicle.position, vehicle.heading, vehicle.speed], state, atol=1e-9)


def test_a_recording_of_it_drives_again_in_highway_env_and_sees_what_was_seen(imported, tmp_path):
    recording = imported.recording()
    assert recording.demonstrations.num_episodes == 8 and recording.styles.tolist() == [0] * 8
    assert recording.scene(7) == {"demonstration": 7.0}
    recording.save(tmp_path / "replay.safetensors")
    again = Recording.load(tmp_path / "replay.safetensors", get_scenario("replay"))
    np.testing.assert_array_equal(again.world.states, recording.world.states)
    env = gymnasium.make("infogail/Replay-v0", recording=tmp_path / "replay.safetensors").unwrapped
    for e in (0, 7):
        obs, _ = env.reset(options={"scene": again.scene(e)})
        for k in range(60):
            np.testing.assert_allclose(obs, again.demonstrations.observations[60 * e + k], atol=1e-5)
            np.testing.assert_allclose(
                env.vehicle_state[0, :4], again.trajectory(e)[k, 0], atol=1e-6
            )  # actions in float32
            obs, _, terminated, truncated, _ = env.step(again.demonstrations.actions[60 * e + k])
            assert not terminated
        assert truncated


def test_the_order_of_the_files_does_not_matter(imported, folder):
    again = import_files([folder / name for name in reversed(FILES)])
    np.testing.assert_array_equal(again.actions, imported.actions)
    np.testing.assert_array_equal(again.replays.states, imported.replays.states)
    assert again.report == imported.report


def test_natural_order_and_split():
    assert sorted(["b10", "b9", "a", "b09x", "10"], key=natural_order) == ["10", "a", "b9", "b09x", "b10"]
    splits = {1: [], 2: [1], 3: [2], 4: [3], 7: [3], 8: [3, 7], 25: [3, 7, 11, 15, 19, 23]}
    assert {number: held_out_files(number) for number in splits} == splits


@pytest.mark.parametrize(
    ("x", "y", "heading", "touch"),
    [
        (4.9, 0.0, 0.0, False),
        (4.7, 0.0, 0.0, True),
        (0.0, 2.1, 0.0, False),
        (0.0, 1.9, 0.0, True),
        (3.3, 0.0, np.pi / 2, True),  # half of 4.8 and half of 2
        (3.5, 0.0, np.pi / 2, False),
        (3.3, 2.8, np.pi / 4, True),  # by the corner alone
        (3.8, 3.3, np.pi / 4, False),
    ],
)
def test_rectangles_touch(x, y, heading, touch):
    size = np.array([4.8, 2.0])
    for turn in (0.0, 1.0):
        here, there = np.array([1.0, 2.0, turn, 0.0]), np.array([x, y, heading + turn, 0.0])
        there[:2] = here[:2] + (x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn))
        assert rectangles_touch(here, size, there, size) == touch
        assert rectangles_touch(there, size, here, size) == touch


def test_refuses_what_makes_no_demonstrations(folder, tmp_path):
    with pytest.raises(InvalidScenario, match="given twice"):
        import_files([folder / "rec_1.xml", folder / "." / "rec_1.xml"])
    path = tmp_path / "short.xml"
    path.write_text(file_text([Obstacle(51, steps=30)]))
    with pytest.raises(InvalidScenario, match=r"no demonstration can be made .*1 too short"):
        import_files([path])
    path.write_text(file_text([Obstacle(51, offset=50.0)]))
    with pytest.raises(InvalidScenario, match="no car drives on its lanelets"):
        import_files([path])
    path.write_text(
        file_text([Obstacle(51), Obstacle(52, first_step=1_999_000, start=9), *map(Obstacle, range(60, 80))])
    )
    with pytest.raises(InvalidScenario, match="more than one demonstrations file can hold"):
        import_files([path])


def test_the_command_says_in_one_line_what_is_wrong(folder, tmp_path, capsys):
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"")
    for arguments, problem in (
        ([], "give recordings of traffic"),
        ([str(folder / "rec_1.xml"), "--out", str(there)], "already exists"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["import", *arguments])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and problem in said and said.count("\n") == 1


def write(path, *obstacles, step=0.1):
    path.write_text(file_text(obstacles, step=step))
    return path


def test_cars_of_one_file_at_one_time_are_different_people(tmp_path):
    """A platoon with one speed, also where the files overlap in time."""
    platoon = [replace(Obstacle(51, start=20.0 * k), key=51 + k) for k in range(4)]
    for k, car in enumerate(platoon):
        car.states = Obstacle(51, start=20.0 * k).states
    files = [write(tmp_path / "a.xml", *platoon), write(tmp_path / "b.xml", Obstacle(60, speed=9.0))]
    report = import_files(files).report
    assert report.training == 4 and not any(report.cars_left_out.values())
    again = import_files([*files, write(tmp_path / "c.xml", *platoon)], held_out=files[1:2]).report
    assert again.training == 4 and again.cars_left_out["recorded twice"] == 4


def test_one_file_is_all_for_training_and_says_so(folder, tmp_path, capsys):
    imported = import_files([folder / "rec_10.xml"])
    assert imported.report.held_out_files == () and imported.report.held_out == 0 and imported.report.training > 0
    main(["import", str(folder / "rec_10.xml"), "--out", str(tmp_path / "replay.safetensors")])
    said = [line for line in capsys.readouterr().out.splitlines() if "nothing is held out" in line]
    assert len(said) == 1 and "--held-out FILE" in said[0]


def test_files_may_be_named_that_are_held_out(folder, tmp_path, capsys):
    names = [folder / name for name in ("rec_1.xml", "rec_2.xml", "rec_9.xml", "rec_10.xml")]
    report = import_files(names, held_out=[folder / "." / "rec_1.xml"]).report
    assert report.held_out_files == ("rec_1.xml",) and report.files == 4 and report.held_out == 2
    assert import_files(names[1:], held_out=names[:1]).report == report
    with pytest.raises(InvalidScenario, match="no file is left to train on"):
        import_files(names[:1], held_out=names[:1])
    with pytest.raises(InvalidScenario, match="given twice"):
        import_files(names, held_out=names[:1] * 2)
    out = str(tmp_path / "replay.safetensors")
    main(["import", *map(str, names[1:]), "--held-out", str(names[0]), "--out", out])
    assert "held out: rec_1.xml" in capsys.readouterr().out
    assert Recording.load(Path(out), get_scenario("replay")).num_training == report.training


def test_a_file_that_cannot_be_read_does_not_stop_the_others(folder, tmp_path, capsys):
    bad = tmp_path / "bad.xml"
    bad.write_text(file_text([Obstacle(51)]).replace("<shape>", "<Shape>").replace("</shape>", "</Shape>"))
    good = [str(folder / name) for name in FILES]
    out = tmp_path / "replay.safetensors"
    with pytest.raises(SystemExit) as stop:
        main(["import", str(bad), *good, str(tmp_path / "none.xml"), "--out", str(out)])
    assert stop.value.code == 1
    said = capsys.readouterr()
    named = [line for line in said.err.splitlines() if line.startswith("infogail: ")]
    assert len(named) == 2 and f"{bad}: obstacle 51 has no <shape>" in named[0] and "no such file" in named[1]
    assert f"imported: {out}, from 4 of 6 files" in said.out and "files: 4 (2 more cannot be read)" in said.out
    np.testing.assert_array_equal(
        Recording.load(out, get_scenario("replay")).demonstrations.actions, import_files(list(map(Path, good))).actions
    )
    with pytest.raises(SystemExit) as stop:
        main(["import", str(bad), str(tmp_path / "none.xml"), "--out", str(tmp_path / "nothing.safetensors")])
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and said.count("\n") == 0 and "and 1 more, none of which can be read" in said
    assert not (tmp_path / "nothing.safetensors").exists()


def test_notes_of_the_reader_become_one_line(tmp_path, capfd):
    crossing = (
        '<intersection id="90"><incoming id="91"><incomingLanelet ref="1"/>'
        '<successorsStraight ref="11"/><successorsRight ref="12"/></incoming></intersection>'
    )
    path = tmp_path / "a.xml"
    path.write_text(file_text([LONG]).replace("</commonRoad>", crossing + "</commonRoad>"))
    main(["import", str(path), "--out", str(tmp_path / "replay.safetensors")])
    said = capfd.readouterr()
    assert "deprecated" not in said.err
    assert [line[:23] for line in said.out.splitlines() if "deprecated" in line] == ["commonroad-io: 2 notes,"]


def test_who_stands_on_a_lane_is_in_the_world_and_demonstrates_nothing(tmp_path):
    """Ahead of the driver, he is seen and can be hit; beside the road, facing any way, he is counted."""
    parked = Obstacle(52, start=96.0, static=True, kind="parkedVehicle")
    half = Obstacle(53, start=40.0, offset=6.5, speed=0.0, wobble=0.0, kind="parkedVehicle")  # a part of it on the lane
    half.states[:, 2] += np.pi  # against the traffic
    beside = Obstacle(54, start=40.0, offset=20.0, static=True, kind="parkedVehicle")
    path = write(tmp_path / "a.xml", Obstacle(51, first_step=10), Obstacle(55, offset=-4.0), parked, half, beside)
    imported = import_files([path])
    report, world = imported.report, imported.replays
    assert (report.cars, report.standing, report.not_cars) == (2, 2, {"standing off the lanes": 1})
    assert report.training == 2 and set(world.demonstration_car.tolist()) == {0, 1}
    assert world.present[:, 2:].all() and len(world.present) == 71
    assert not world.states[:, 2:, 3].any() and not np.ptp(world.states[:, 2:], axis=0).any()
    out = tmp_path / "replay.safetensors"
    imported.recording().save(out)
    env = gymnasium.make("infogail/Replay-v0", recording=out).unwrapped
    obs, _ = env.reset(options={"scene": {"demonstration": np.float64(0)}})
    seen = dict(zip(env.scenario.features, obs, strict=True))
    assert seen["leader_present"] == 1 and 50 * seen["leader_gap"] == pytest.approx(96 - 4.8, abs=1.0)
    for _, steering in imported.actions[:60]:
        _, _, terminated, _, info = env.step(np.array([1.0, steering]))
        if terminated:
            break
    assert info["crashed"]


@pytest.mark.parametrize("dt", [0.04, 0.2])
def test_files_with_other_steps_make_demonstrations(tmp_path, dt):
    path = write(tmp_path / "a.xml", with_noise(Obstacle(51, steps=round(8 / dt) + 1, dt=dt), 1), step=dt)
    report = import_files([path]).report
    assert report.training == 3 and report.reproduced == 1.0 and report.median_miss < 0.1


@needs_recordings
def test_three_files_of_us101():
    names = ("USA_US101-19_1_T-1.xml", "USA_US101-23_1_T-1.xml", "USA_US101-25_1_T-1.xml")
    report = import_files([RECORDINGS / name for name in names]).report
    assert report.scenes == 3 and report.held_out_files == (names[2],) and report.cars == 36 + 57 + 37
    assert report.cars_left_out["off the lanes"] == 0 and report.cars_left_out["also in held-out files"] > 10
    assert report.training > 50 and report.held_out > 20
    assert report.reproduced >= 0.95 and report.recovered_jerk < 1.5 < 4 < report.recorded_jerk


@needs_recordings
@pytest.mark.slow
def test_all_of_us101():
    imported = import_files(sorted(RECORDINGS.glob("*.xml")))
    report, replays = imported.report, imported.replays
    assert (report.files, report.scenes, report.cars, len(report.held_out_files)) == (25, 25, 820, 6)
    assert report.cars_left_out["off the lanes"] == 0 and report.cars_left_out["recorded twice"] > 0
    assert report.standing == 0 and not report.unreadable and not report.not_cars
    assert report.training > 600 and report.held_out > 120 and report.reproduced > 0.98
    split = int(replays.num_training[0])
    assert not set(replays.track[:split]) & set(replays.track[split:])
    lasting = replays.demonstration_row[:, None] + np.arange(61)
    recorded = replays.states[lasting, replays.demonstration_car[:, None]]
    driven = imported.vehicle_states.reshape(-1, 61, 4)
    miss = np.sqrt(((recorded - driven)[..., :2] ** 2).sum(-1).mean(1))
    assert miss.max() <= 0.2 and abs(imported.actions).max() <= 1
