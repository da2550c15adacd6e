"""Cars at a junction: what is read and told once, their manoeuvres, and what lanes foretell."""

import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commonroad_files import file_text
from junction import PIECES, arc, car, crowd, line, road
from test_judge import command

from infogail.envs.errors import BadInput
from infogail.forecast.forecasters import MaxEnt, straight
from infogail.forecast.grid import HEADINGS, Grid
from infogail.forecast.intersections.folds import judge_folds
from infogail.forecast.intersections.lanes import FEATURES, lane_heading, with_lanes
from infogail.forecast.intersections.manoeuvres import (
    heading_change,
    judge_manoeuvres,
    manoeuvre,
    print_manoeuvres,
    summary,
)
from infogail.forecast.intersections.streets import import_streets
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.walks import make_walks

LANKERSHIM = Path(__file__).parents[3] / "shared" / "data" / "lankershim" / "lankershim.tar.xz"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes files of these names and texts; returns the paths."""
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.xml").write_text(text)
        return [Path(f"{name}.xml") for name in texts]

    return write


@pytest.fixture(scope="module")
def junction(tmp_path_factory):
    """60 cars in five files."""
    folder = tmp_path_factory.mktemp("junction")
    paths = [folder / f"{k}.xml" for k in range(5)]
    for k, path in enumerate(paths):
        path.write_text(crowd(range(100 + 12 * k, 112 + 12 * k), k, (3.0 * k, -5.0 * k)))
    return import_streets(paths)[0]


def test_a_person_in_overlapping_files_is_told_once_and_maps_are_aligned(files):
    first = [car(51, "east"), car(52, "left", aside=0.2), car(53, "right", steps=20)]
    there = (7.0, -3.0)
    # 1.5 s later: one with another id, one that is new, one that was too short before.
    second = [car(151, "east", first=15, origin=there), car(54, "right", origin=there), car(53, "right", origin=there)]
    alone = [car(55, "north"), car(56, "east", start=80.0, steps=40), car(57, "north", steps=45)]
    texts = {
        "a": file_text(first, road((0.0, 0.0))),
        "b": file_text(second, road(there)),
        "c": file_text(alone, road((0.0, 0.0))),
    }
    paths, report = import_streets(files(**texts))
    assert report.lines() == [
        "files: 3, ids: 7; gaps in time that cut a path in two: 0",
        "paths: 5 with 400 points, 5 of them in groups",
        "paths left out: 1 that neither turn nor cross a junction, 1 that end in a junction, not yet turned",
    ]
    assert (paths.scene.tolist(), paths.group.tolist()) == ([0, 0, 1, 1, 2], [0, 0, 0, 0, 1])
    assert Counter(manoeuvre(paths.path(k)) for k in range(5)) == {0: 1, 1: 2, 2: 2}
    # Right turns of both files run along the same lane: after turning, 4 m to the left of the way to the left.
    east, left, *right = (paths.path(k) for k in range(4))
    along = (east[-1] - east[0]) / np.linalg.norm(east[-1] - east[0])
    assert all(abs((own[0] - east[0]) @ (-along[1], along[0]) + 4.0) < 1e-2 for own in right)
    assert (left[-1] - left[-5]) @ along == pytest.approx(-4.0, abs=0.6)


def test_the_command_names_files_that_cannot_be_read(files, capsys):
    files(a=crowd(range(60, 68), 0), b="<commonRoad/>")
    assert command("import a.xml b.xml --kind paths --out streets.safetensors") == 1
    out, errors = capsys.readouterr()
    assert "files: 1 (1 more cannot be read), ids: 8" in out and "imported: streets.safetensors, 8 paths" in out
    assert errors.startswith("infogail: b.xml: ") and errors.count("\n") == 1
    again = RecordedPaths.load(Path("streets.safetensors"))
    assert len(np.unique(again.lanes[:, 0])) == len(PIECES)


def test_what_shows_no_junction_of_this_place_is_refused(files):
    elsewhere = {key: (centre * 1.2, after) for key, (centre, after) in PIECES.items()}
    paths = files(a=crowd(range(60, 64), 0), b=file_text([car(70, "east")], road((0.0, 0.0), elsewhere)), c="<a/>")
    with pytest.raises(BadInput, match=r"^b\.xml: shares no lane with a\.xml; import each place by itself$"):
        import_streets(paths[:2])
    with pytest.raises(BadInput, match=r"^c\.xml: its root element is <a>"):
        import_streets(paths[2:])
    straight = {key: PIECES[key] for key in (1, 2, 3)}
    (alone,) = files(d=file_text([car(70, "east")], road((0.0, 0.0), straight)))
    with pytest.raises(BadInput, match=r"^d\.xml: no path remains \(1 that neither turn nor cross a junction left out"):
        import_streets([alone])


def test_manoeuvres():
    assert np.degrees(heading_change(arc((0, 0), 20, 0, 90))) == pytest.approx(90 - 17, abs=1)  # chords of 6 m
    assert manoeuvre(arc((0, 0), 20, 0, 90)) == 0 and manoeuvre(arc((0, 0), 20, 90, 0)) == 2
    assert manoeuvre(line((0, 0), (30, 0), (60, 15))) == 1  # 26.6 degrees
    assert manoeuvre(line((0, 0), (30, 0), (60, 20))) == 0  # 33.7 degrees
    assert manoeuvre(np.array([(0.0, 0.0), (0.0, 0.0), (2.0, 0.0), (2.0, -2.0)])) == 2
    assert heading_change(np.zeros((5, 2))) == 0.0
    result = summary(np.array([[4, 1, 0], [0, 4, 0], [0, 0, 1]]), 5)
    assert (result["manoeuvre_accuracy_2s"], result["manoeuvre_commonest"], result["manoeuvre_cars"]) == (0.9, 0.5, 10)
    assert result["manoeuvre_accuracy_2s_low"] == pytest.approx(0.5958, abs=1e-4)  # Wilson's, of 9 in 10
    assert result["manoeuvre_accuracy_2s_high"] == pytest.approx(0.9821, abs=1e-4)
    assert result["manoeuvre_confusion"]["left"] == {"left": 4, "straight": 1, "right": 0}


def test_lanes_as_features():
    """Two lanes, one after the other, along the lower row of six cells; the upper row has none."""
    grid = Grid(0.0, 0.0, 1.0, 3, 2)
    lanes = np.array(
        [(0, 0.0, 1.0, 0.0, 0.0), (0, 1.2, 1.0, 1.2, 0.0), (1, 1.2, 1.0, 1.2, 0.0), (1, 3.0, 1.0, 3.0, 0.0)]
    )
    plain = grid.graph(np.zeros(6, np.int64), np.array([2]))
    graph = with_lanes(plain, grid, lanes)
    assert graph.features.shape[1] == plain.features.shape[1] + FEATURES
    astray, changes = graph.features.to_dense()[:, -FEATURES:].reshape(*graph.next_state.shape, FEATURES).unbind(-1)
    east, north, west, south_east = 0, 2, 4, 7
    for cell, move, expected in (
        (0, east, (0, 0)),
        (1, east, (0, 0)),  # onto the lane that follows
        (1, west, (1, 0)),  # against it
        (0, north, (1, 0)),  # to where no lane is
        (3, south_east, (0, 1)),  # onto a lane from beside it
    ):
        state = cell * HEADINGS
        assert (astray[state, move], changes[state, move]) == expected
    assert (lane_heading(lanes, np.array([2.0, 0.5])), lane_heading(lanes, np.array([2.0, 1.5]))) == (0.0, None)


def test_the_lane_foretells_the_manoeuvre(junction):
    walks = make_walks(junction, 4.0, None, 0)
    model = MaxEnt(walks)
    result = judge_manoeuvres(junction, walks, model, 0)
    assert result["manoeuvre_cars"] == len(walks.recorded) == 12
    assert result["manoeuvre_commonest"] == 0.5 and result["manoeuvre_accuracy_2s"] >= 0.9
    chances = model.goal_prior(walks.held_out)
    assert chances.sum(1) == pytest.approx(1.0)
    assert chances[np.arange(12), walks.held_out.goals].mean() > 2 * walks.goal_prior(walks.held_out).mean()


def test_folds_hold_out_each_group_once(junction, capsys):
    result = judge_folds(junction, 2, 5.0, None, 0)
    total, moves, number = 0.0, 0, 0
    for part in ((0, 1, 2), (3, 4)):
        walks = make_walks(junction, 5.0, None, 0, np.isin(junction.group, part))
        known = straight(walks).log_likelihood(walks.held_out)
        goals = walks.held_out.goals
        total -= known[np.arange(len(goals)), goals].sum()
        moves, number = moves + sum(map(len, walks.held_out.moves)), number + len(goals)
    assert (result["folds"], result["held_out_paths"], result["held_out_moves"]) == (2, number, moves)
    assert result["straight_nll_per_step"] == pytest.approx(total / moves, rel=1e-6)
    assert result["manoeuvre_cars"] == number and result["manoeuvre_accuracy_2s"] > result["manoeuvre_commonest"]
    assert result["nll_per_step"] < result["table_goal_cell_heading_nll_per_step"]
    print_manoeuvres(result)
    assert f"right: {result['manoeuvre_accuracy_2s']:.1%} of {number} cars" in capsys.readouterr().out
    with pytest.raises(BadInput, match=r"^--folds 6: the paths have 5 groups; give at most as many folds$"):
        judge_folds(junction, 6, 5.0, None, 0)
    with pytest.raises(BadInput, match=r"^--folds 2: not all paths have a group; leave it out$"):
        judge_folds(replace(junction, group=junction.group - 1), 2, 5.0, None, 0)


@pytest.mark.skipif(not LANKERSHIM.is_file(), reason="needs the recordings of Lankershim Boulevard")
def test_lankershim(tmp_path):
    names = [f"USA_Lanker-{name}_T-1.xml" for name in ("1_1", "1_2", "2_13", "2_14")]
    with tarfile.open(LANKERSHIM) as archive:
        for member in archive.getmembers():
            if Path(member.name).name in names:
                (tmp_path / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    paths, report = import_streets([tmp_path / name for name in names])
    assert (
        len(report.unreadable) == 1 and "USA_Lanker-1_1_T-1.xml: obstacle 1213 has no <shape>" in report.unreadable[0]
    )
    assert paths.files == tuple(names[1:]) and set(paths.group[paths.scene > 0]) == {1}
    # In 1_2, five turn left and two turn right; of the others, four of whom 2_13 and 2_14 both show, each counts once.
    assert report.people < 42 + 73 + 70 - 60 and (paths.group[paths.scene == 0] == 0).all()
    assert len({tuple(paths.path(k)[-1].round(1)) for k in range(len(paths))}) == len(paths)
