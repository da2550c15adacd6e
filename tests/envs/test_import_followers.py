"""Trajectory tables become demonstrations of followers: which windows, what is left out, and what the command says."""

from dataclasses import replace

import numpy as np
import pytest
from follow_world import STEPS, write_ngsim

from infogail.cli import main
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.recordings.columns import InvalidTable
from infogail.envs.recordings.commonroad import InvalidScenario
from infogail.envs.recordings.following import import_tables
from infogail.envs.scenarios.following import Follow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four good tables, the last of which is held out by default, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("tables")
    for k in range(1, 5):
        write_ngsim(folder / f"{k}.csv", seed=k)
    (folder / "bad.csv").write_text("frame,speed\n1,2\n")
    return folder


def tables(folder, *names):
    return [folder / f"{name}.csv" for name in names]


def refused(capsys, *arguments):
    """The line in which the command refuses its arguments."""
    with pytest.raises(SystemExit) as stop:
        main(["import", *map(str, arguments)])
    said = capsys.readouterr().err.removeprefix("importing\n")
    assert stop.value.code == 2 and said.startswith("infogail: ") and said.count("\n") == 1
    return said


def starts(world):
    """Driver and step of each window."""
    steps = world.demonstration_row - world.first_row[world.track]
    return list(zip(world.track.tolist(), steps.tolist(), strict=True))


def test_windows_overlap_in_training_and_not_in_judging(folder, tmp_path):
    # 301 states are one window, 351 two; 601 two for judging, whose drivers come first.
    write_ngsim(tmp_path / "a.csv", drivers=3, steps=(301, 351, STEPS))
    write_ngsim(tmp_path / "b.csv", drivers=2, seed=1, steps=(401, 601))
    recording, report = import_tables([tmp_path / "a.csv", tmp_path / "b.csv"])
    world = recording.world
    judged, training = [(0, 0), (1, 0), (1, 300)], [(2, 0), (3, 0), (3, 50), *((4, k) for k in range(0, 401, 50))]
    assert starts(world) == training + judged and world.num_training.tolist() == [12]
    assert world.files == ("a.csv", "b.csv") and world.file.tolist() == [1, 1, 0, 0, 0]
    assert world.first_row.tolist() == [0, 401, 1002, 1303, 1654, 2355]
    assert (report.training, report.held_out, report.drivers, report.judged) == (12, 3, 5, 2)
    assert report.vehicles == 10 and not any(report.left_out.values())
    assert report.minutes == pytest.approx(235.5 / 60, abs=1e-9) and report.misses[0] == 1.0
    assert recording.styles.tolist() == [0] * 15 and recording.num_training == 12


def test_drivers_are_those_in_the_table(folder):
    made = write_ngsim(folder / "known.csv", drivers=2, seed=9)
    recording, report = import_tables([folder / "known.csv"])
    world = recording.world
    np.testing.assert_allclose(world.lengths, made.lengths, atol=1e-3)
    np.testing.assert_allclose(world.leader, made.leader.reshape(-1, 2), atol=1e-3)
    inner = slice(20, -20)  # at the ends, less is known of the acceleration
    np.testing.assert_allclose(world.follower.reshape(2, STEPS, 3)[:, inner], made.follower[:, inner], atol=0.02)
    np.testing.assert_allclose(world.follower[:, 0], made.follower[..., 0].ravel(), atol=0.05)
    assert report.headway[0] < 1.3 and report.headway[2] > 2.2 and report.jerk[0] > 0.0
    assert report.held_out_files == () and "nothing is held out" in report.lines()[-1]


def test_a_recording_of_it_drives_through_what_was_recorded(folder, tmp_path):
    recording, _ = import_tables(tables(folder, 1, 2))
    recording.save(tmp_path / "follow.safetensors")
    again = Recording.load(tmp_path / "follow.safetensors", get_scenario("follow"))
    for name, array in recording.world.arrays().items():
        np.testing.assert_array_equal(again.world.arrays()[name], array)
    assert again.source == "people on the road" and again.world.files == ("1.csv", "2.csv")
    recorded = again.scenario.recorded_states(np.array([0, 20]))
    for window, states in zip((0, 20), recorded, strict=True):
        x, speed = states[0, 0, [0, 3]]
        actions = again.demonstrations.actions[300 * window : 300 * (window + 1), 0].astype(np.float64)
        for action, state in zip(actions, states[1:, 0], strict=True):
            x, speed = x + 0.1 * speed, speed + 0.5 * action
            np.testing.assert_allclose((x, speed, 5 * action), state[[0, 3, 4]], rtol=0, atol=1e-6)


def test_drivers_recorded_for_too_short_are_counted(tmp_path):
    write_ngsim(tmp_path / "a.csv", drivers=3, steps=(300, 301, 30))
    write_ngsim(tmp_path / "b.csv", drivers=3, seed=1, steps=(400, 401, 200))
    _, report = import_tables([tmp_path / "a.csv", tmp_path / "b.csv"])
    left_out = {"runs under 5 s": 1, "drivers under 30 s": 1, "drivers under 40 s in held-out files": 2}
    assert dict(report.left_out) == left_out
    assert (report.drivers, report.training, report.held_out, report.judged, report.vehicles) == (2, 1, 1, 1, 12)
    assert "left out: 1 runs under 5 s, 2 drivers under 40 s in held-out files, 1 drivers under 30 s" in report.lines()


def test_drivers_of_several_files_are_kept_once_for_judging_if_they_can_be(tmp_path):
    """Under other ids, at other times; the files have 45 s in common."""
    one, other, third = (tmp_path / f"{k}.csv" for k in (1, 2, 3))
    write_ngsim(one, drivers=1, seed=5, steps=450)
    write_ngsim(other, drivers=1, seed=5, first_id=71, first_frame=900)
    write_ngsim(third, drivers=1, seed=6)
    recording, report = import_tables([one, third, other])
    assert report.held_out_files == ("3.csv",) and report.left_out["drivers also in another file"] == 1
    assert report.training == 3 and report.held_out == 2  # the first of the two for training is kept
    recording, report = import_tables([one, other, third], held_out=[other])
    assert report.left_out["drivers also in another file"] == 1
    assert report.training == 9 and report.held_out == 2 and recording.world.file.tolist() == [1, 2]


def test_platoons_of_one_file_are_different_people(tmp_path):
    path = tmp_path / "a.csv"
    write_ngsim(path, drivers=1, seed=5)
    once = path.read_text().splitlines()
    cells = [line.split(",") for line in once[1:]]
    twice = [",".join((str(int(a) + 10), b, c, d, e, str(int(f) + 10 * (f != "0")))) for a, b, c, d, e, f in cells]
    path.write_text("\n".join(once + twice) + "\n")
    _, report = import_tables([path])
    assert report.drivers == 2 and report.training == 18 and not any(report.left_out.values())


def test_windows_that_cannot_be_reproduced_are_counted(tmp_path):
    write_ngsim(tmp_path / "a.csv", drivers=2, steps=401, noise=0.4)
    write_ngsim(tmp_path / "b.csv", drivers=1, seed=1, steps=401)
    _, report = import_tables([tmp_path / "a.csv", tmp_path / "b.csv"], held_out=[tmp_path / "a.csv"])
    assert report.left_out["windows not reproducible"] == 2 and report.held_out == 0 and report.training == 3
    assert (report.drivers, report.judged) == (1, 0) and report.held_out_files == ("a.csv",)


def test_held_out_files(folder):
    report = import_tables(tables(folder, 3, 1, 4, 2)).report
    assert report.held_out_files == ("4.csv",) and report.files[0] == "1.csv (ngsim)" and len(report.files) == 4
    assert (report.training, report.held_out, report.judged) == (3 * 18, 4, 2)
    chosen = import_tables(tables(folder, 1, 2, 3), held_out=tables(folder, 1)).report
    assert chosen.held_out_files == ("1.csv",) and chosen.training == 36
    assert import_tables(tables(folder, 2, 3), held_out=[folder / "." / "1.csv"]).report == chosen
    assert import_tables(tables(folder, 2, 1)).report.held_out_files == ("2.csv",)
    with pytest.raises(InvalidScenario, match="given twice"):
        import_tables(tables(folder, 1, 2, 1))


def test_the_order_of_the_files_does_not_matter(folder):
    (recording, report), (again, same) = (import_tables(tables(folder, *names)) for names in ((1, 2), (2, 1)))
    assert report == same
    np.testing.assert_array_equal(recording.demonstrations.observations, again.demonstrations.observations)


def test_files_that_cannot_be_read_do_not_stop_the_others(folder):
    counted = []
    recording, report = import_tables(tables(folder, "bad", 1, 2, "none"), on_file=lambda: counted.append(1))
    assert len(counted) == 8 and len(report.unreadable) == 2 and report.held_out_files == ("2.csv",)
    assert report.unreadable[0].startswith(f"{folder / 'bad.csv'}: not a table of kind")
    assert report.unreadable[1] == f"{folder / 'none.csv'}: no such file; give a trajectory table"
    good, clean = import_tables(tables(folder, 1, 2))
    assert replace(report, unreadable=()) == clean
    np.testing.assert_array_equal(recording.demonstrations.actions, good.demonstrations.actions)


def test_what_makes_no_demonstrations_is_refused_in_one_line(folder, tmp_path):
    write_ngsim(tmp_path / "short.csv", drivers=2, steps=200)
    write_ngsim(tmp_path / "long.csv", seed=1)
    one = tables(folder, 1)
    for given, held_out, problem in (
        (tables(folder, "bad", "none"), (), r"bad\.csv: not a table .* \(and 1 more, none of which can be read\)$"),
        (tables(folder, "none"), (), r"none\.csv: no such file; give a trajectory table$"),
        (one, one, r"1\.csv: no file is left to train on; give more files, or hold out fewer$"),
        (tables(folder, "bad"), one, r"1\.csv: no file is left to train on"),
        (
            [tmp_path / "short.csv"],
            (),
            r"short\.csv: no demonstration can be made \(2 drivers under 30 s\); give longer",
        ),
        ([tmp_path / "short.csv"], [tmp_path / "long.csv"], r"no demonstration can be made \(2 drivers under 30 s\)"),
    ):
        with pytest.raises(InvalidTable, match=problem) as error:
            import_tables(given, held_out=held_out)
        assert isinstance(error.value, BadInput) and "\n" not in str(error.value)


def test_the_kind_can_be_named(folder):
    named, told = import_tables(tables(folder, 1), "ngsim"), import_tables(tables(folder, 1))
    assert named.report == told.report
    with pytest.raises(InvalidTable, match=r"1\.csv: not a table of kind highd: line 1 lacks frame, id"):
        import_tables(tables(folder, 1), "highd")


def test_the_command_writes_the_file_and_prints_the_report(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["import", *map(str, tables(folder, 1, 2))])
    said, out = capsys.readouterr().out, tmp_path / "demos" / "follow.safetensors"
    recording = Recording.load(out, get_scenario("follow"))
    assert recording.num_training == 18 and recording.demonstrations.num_episodes == 22
    assert said.splitlines() == [
        *import_tables(tables(folder, 1, 2)).report.lines(),
        "imported: demos/follow.safetensors, from 2 of 2 files",
    ]
    assert "files: 1.csv (ngsim), 2.csv (ngsim); held out: 2.csv" in said
    assert "demonstrations: 18 for training, 4 held out" in said and "nothing is held out" not in said
    before = out.read_bytes()
    assert "already exists; replace it with --force" in refused(capsys, *tables(folder, 3))
    assert out.read_bytes() == before
    main(["import", *map(str, tables(folder, 3)), "--force"])
    assert out.read_bytes() != before and "nothing is held out" in capsys.readouterr().out


def test_the_command_takes_tables_of_any_name_if_their_kind_is_given(folder, tmp_path, capsys):
    data, out = tmp_path / "trajectories.dat", tmp_path / "follow.safetensors"
    data.write_bytes((folder / "1.csv").read_bytes())
    main(["import", str(data), "--kind", "ngsim", "--held-out", str(folder / "2.csv"), "--out", str(out)])
    assert "held out: 2.csv" in capsys.readouterr().out
    assert Recording.load(out, Follow()).num_training == 18
    out.unlink()
    assert "trajectories.dat: not a table of kind highd" in refused(capsys, data, "--kind", "highd", "--out", out)
    assert not out.exists()


def test_the_command_fails_after_the_others_if_a_file_cannot_be_read(folder, tmp_path, capsys):
    out = tmp_path / "follow.safetensors"
    with pytest.raises(SystemExit) as stop:
        main(["import", *map(str, tables(folder, "bad", 1, 2)), "--out", str(out)])
    said = capsys.readouterr()
    named = [line for line in said.err.splitlines() if line.startswith("infogail: ")]
    assert stop.value.code == 1 and len(named) == 1 and "bad.csv: not a table of kind" in named[0]
    assert f"imported: {out}, from 2 of 3 files" in said.out and Recording.load(out, Follow()).num_training == 18


def test_the_command_refuses_in_one_line_what_cannot_be_imported(folder, tmp_path, capsys):
    table, scene, out = folder / "1.csv", tmp_path / "a.xml", tmp_path / "out.safetensors"
    scene.write_text("<commonRoad/>")
    mixed = f"{table} is a trajectory table, {scene} a CommonRoad file; import them one by one"
    for arguments, problem in (
        ((folder / "bad.csv",), "not a table of kind"),
        ((table, "--held-out", table), "no file is left to train on"),
        ((table, table), "given twice"),
        ((table, "--environment", "CartPole-v1"), "recordings of traffic have none; leave it out"),
        ((table, scene), mixed),
        ((scene, table), mixed),
        ((scene, "--held-out", table), mixed),
        ((scene, "--kind", "ngsim"), f"--kind ngsim: is for trajectory tables, {scene} is a CommonRoad file"),
        ((table, "--kind", "waymo"), "waymo"),
        ((folder, "--kind", "ngsim"), "is a folder; give a trajectory table in it"),
    ):
        assert problem in refused(capsys, *arguments, "--out", out), arguments
    assert not out.exists()
    assert "is a folder; give the name of a file in it" in refused(capsys, table, "--out", tmp_path)
