"""Tables of paths: the three kinds, what is left out, and one clear line for what is malformed."""

import gzip

import numpy as np
import pytest
from synthetic import recorded

from infogail.envs.errors import BadInput
from infogail.envs.files import seal
from infogail.forecast.importing import holds_paths, import_paths
from infogail.forecast.paths import NO_GROUP, SCHEMA, RecordedPaths

TABLE = """time,id,x,y,group,colour
0.0,7,0,0,3,red
0.4,7,1,0,3,red
0.0,8,5,5,4,blue
0.8,7,2,1,3,red
0.4,8,5,4,4,blue
0.0,9,9,9,4,blue
0.0,10,2,2,4,blue
0.4,10,2,2.01,4,blue
"""
UCY = """ 1.0e+00 1.0e+00 -2.5 0.0 10.0 0.0 0.0 -1.3
11.0 1.0 -2.5 0.0 9.5 0.0 0.0 -1.3
1.0 2.0 3.0 0.0 1.0 0.0 0.0 0.0
11.0 2.0 4.0 0.0 1.5 0.0 0.0 0.0
"""


@pytest.fixture
def write(tmp_path):
    def file(name, content):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
        return path

    return file


def refused(path):
    """The line in which the file is refused."""
    with pytest.raises(BadInput) as error:
        import_paths([path])
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", ["people.csv", "people.csv.gz"])
def test_columns(write, name):
    path = write(name, TABLE)
    assert holds_paths(path)
    paths, report = import_paths([path])
    assert paths.points.tolist() == [[0, 0], [1, 0], [2, 1], [5, 5], [5, 4]]
    assert paths.times.tolist() == [0.0, 0.4, 0.8, 0.0, 0.4]
    assert (paths.bounds.tolist(), paths.group.tolist(), paths.scene.tolist()) == ([0, 3, 5], [3, 4], [0, 0])
    assert (paths.files, paths.source) == ((name,), "columns")
    assert report.lines() == [
        "files: 1, ids: 4; gaps in time that cut a path in two: 0",
        "paths: 2 with 5 points, 2 of them in groups",
        "paths left out: 1 with a single point, 1 that do not move",
    ]


@pytest.mark.parametrize("name", ["obsmat.txt", "obsmat.txt.gz"])
def test_ucy(write, name):
    path = write(name, UCY)
    assert holds_paths(path)
    paths, _ = import_paths([path])
    assert paths.points.tolist() == [[-2.5, 10.0], [-2.5, 9.5], [3.0, 1.0], [4.0, 1.5]]
    assert paths.times.tolist() == [0.04, 0.44, 0.04, 0.44] and paths.group.tolist() == [NO_GROUP] * 2


@pytest.mark.parametrize("group", ["game", "group", None])
def test_npz(tmp_path, group):
    path = tmp_path / "scouts.npz"
    xyt = np.array([(0, 0, 5), (1, 2, 6), (3, 3, 9), (8, 8, 1), (9, 8, 2)], np.float32)
    np.savez(path, xyt=xyt, bounds=np.array([0, 3, 5]), **({group: np.array([331634, 12])} if group else {}))
    assert holds_paths(path)
    paths, _ = import_paths([path])
    assert paths.path(0).tolist() == [[0, 0], [1, 2], [3, 3]] and paths.seconds(0).tolist() == [0, 1, 4]
    assert paths.group.tolist() == ([331634, 12] if group else [NO_GROUP] * 2)


def test_files_are_scenes_in_which_ids_repeat(write):
    paths, report = import_paths([write("a.csv", TABLE), write("b.txt", UCY)])
    assert paths.scene.tolist() == [0, 0, 1, 1] and paths.source == "columns, ucy" and report.people == 6
    assert paths.group.tolist() == [3, 4, NO_GROUP, NO_GROUP]


def test_a_gap_in_time_cuts_a_path(write):
    rows = [f"{t},1,{t},0" for t in (0, 1, 2, 3, 20, 21)]
    paths, report = import_paths([write("gap.csv", "\n".join(["time,id,x,y", *rows]))])
    assert paths.bounds.tolist() == [0, 4, 6] and report.cut == 1


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("time,id,x\n0,1,2\n", "not a table of paths: line 1 lacks y"),
        ("time,id,x,y\n0,1,2,3\n1,1,2,three\n", "line 3: y is 'three', not a finite number; correct or remove the row"),
        ("time,id,x,y\n0,1,nan,3\n", "line 2: x is 'nan', not a finite number; correct or remove the row"),
        ("time,id,x,y\n0,1,2\n", "line 2: has 3 cells, not 4; correct or remove the row"),
        ("time,id,x,y\n0,1.5,2,3\n", "line 2: id is 1.5, not a whole number; correct or remove the row"),
        ("time,id,x,y,group\n0,1,2,3,-2\n", "line 2: group is -2, not a whole number; correct or remove the row"),
        ("time,id,x,y\n", "has a header but no rows"),
        ("", "is empty"),
        ("time,id,x,y\n1,4,0,0\n1,4,1,1\n", "id 4 is at two points at time 1; remove one of them"),
        ("time,id,x,y\n1,4,0,0\n1,5,1,1\n", "no path remains (2 with a single point left out)"),
        (UCY + "21.0 2.0 4.0 0.0\n", "line 5: has 4 cells, not 8"),
    ],
)
def test_a_malformed_table_is_refused(write, content, line):
    assert refused(write("people.csv", content)).startswith(line)


def test_other_tables_are_not_taken_for_paths(write, tmp_path):
    highd = write("01_tracks.csv", "frame,id,x,y,width,height,xVelocity,precedingId,laneId\n1,1,2,3,4,2,30,0,2\n")
    assert not holds_paths(write("empty.csv", "")) and not holds_paths(highd)
    assert not holds_paths(tmp_path / "missing.csv") and not holds_paths(tmp_path)
    assert refused(tmp_path / "missing.csv").startswith("no such file")
    assert refused(write("packed.csv.gz", TABLE).rename(tmp_path / "plain.csv")).startswith("is not UTF-8 text")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"xyt": None}, "lacks xyt"),
        ({"xyt": np.zeros((5, 2))}, "xyt is float64 (5, 2), not numbers (N, 3)"),
        ({"xyt": np.full((5, 3), np.nan)}, "row 0 of xyt is not finite"),
        ({"bounds": np.array([0, 4])}, "bounds do not rise from 0 to the 5 rows of xyt"),
        ({"game": np.array([1.0, 2.0])}, "game is not one whole number for each of 2 paths"),
        ({"bounds": np.array([0, {}], object)}, "not a readable npz file"),
    ],
)
def test_a_malformed_npz_is_refused(tmp_path, change, line):
    arrays = {"xyt": np.arange(15.0).reshape(5, 3), "bounds": np.array([0, 3, 5]), "game": np.array([1, 2])} | change
    path = tmp_path / "paths.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    assert refused(path).startswith(line)
    path.write_bytes(path.read_bytes()[:50])
    assert refused(path).startswith("not a readable npz file")


def test_the_file_comes_back_as_it_was_written(tmp_path):
    paths = recorded([[(0, 0), (1, 1)], [(2, 2), (3, 3), (4, 5)]], group=[1, NO_GROUP], scene=[0, 1])
    paths.save(tmp_path / "paths.safetensors")
    again = RecordedPaths.load(tmp_path / "paths.safetensors")
    for name in ("points", "times", "bounds", "scene", "group", "files", "source"):
        assert np.array_equal(getattr(again, name), getattr(paths, name))
    (tmp_path / "again.safetensors").write_bytes((tmp_path / "paths.safetensors").read_bytes())
    with pytest.raises(BadInput, match="no such file; import the paths again"):
        RecordedPaths.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("name", "array", "line"),
    [
        ("points", np.zeros((5, 3)), "points is float64 (5, 3)"),
        ("points", np.full((5, 2), np.inf), "points or times are not finite"),
        ("times", np.zeros(5), "times do not increase"),
        ("bounds", np.array([0, 1, 5]), "bounds do not cut 5 points"),
        ("scene", np.array([0, 2]), "a scene has no file"),
        ("extra", np.zeros(1), "unexpected keyword argument 'extra'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, name, array, line):
    arrays = {
        "points": np.arange(10.0).reshape(5, 2),
        "times": np.array([0.0, 1, 0, 1, 2]),
        "bounds": np.array([0, 2, 5]),
        "scene": np.array([0, 1]),
        "group": np.array([-1, -1]),
    }
    file = tmp_path / "paths.safetensors"
    file.write_bytes(seal(arrays | {name: array}, {"schema": SCHEMA, "files": '["a", "b"]', "source": "npz"}))
    with pytest.raises(BadInput) as error:
        RecordedPaths.load(file)
    assert line in str(error.value) and "import the paths again" in str(error.value)


def test_held_out_by_time_in_each_scene_or_by_group():
    points = [[(0, 0), (1, 1)]] * 10
    start = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    by_time = recorded(points, scene=[0] * 5 + [1] * 5, start=start).held_out()
    assert np.flatnonzero(by_time).tolist() == [0, 5]
    by_group = recorded(points, group=[9, 1, 3, 5, 9, 2, 4, 1, 1, 1], start=start).held_out()
    assert np.flatnonzero(by_group).tolist() == [0, 4]  # of six groups, the last
