"""Obstacles: the kinds of files, what is malformed, and what they tell of cells where nobody went."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from synthetic import hall, recorded

from infogail.cli import main
from infogail.envs.errors import BadInput
from infogail.envs.files import seal
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.grid import BANDS, Grid
from infogail.forecast.obstacles import read_obstacles
from infogail.forecast.paths import SCHEMA, RecordedPaths
from infogail.forecast.walks import make_walks

POINTS = np.array([(0.0, 0.0), (10.0, 8.0)])
XML = """<?xml version="1.0"?>
<Trial xmlns="https://github.com/amiryanj/OpenTraj"><obstacles><Lines>
<Line x1="6.0" y1="2.0" x2="0.0" y2="2.0" thickness="1"/><Line x1="1" y1="1" x2="1" y2="4"/>
</Lines></obstacles></Trial>"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("walls.csv", "y1,x1,y2,x2,colour\n2,6,2,0,red\n1,1,4,1,blue\n"),
        ("walls.xml", XML),
    ],
)
def test_segments(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_obstacles(tmp_path / name, None, POINTS).tolist() == [[6, 2, 0, 2], [1, 1, 1, 4]]


def test_a_picture_covers_its_area(tmp_path):
    """Four by two pixels of 2.5 m by 4 m: the upper left one is dark, and the lower right one where not transparent."""
    pixels = np.full((2, 4, 4), 255, np.uint8)
    pixels[0, 0, :3] = pixels[1, 2:, :3] = 20
    pixels[1, 3, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "map.png")
    found = read_obstacles(tmp_path / "map.png", (0.0, 0.0, 10.0, 8.0), POINTS)
    upper, lower = found[found[:, 1] > 4.0], found[found[:, 1] < 4.0]
    assert (upper[:, [0, 2]] == (0.0, 2.5)).all() and (lower[:, [0, 2]] == (5.0, 7.5)).all()
    assert (found[:, 1] == found[:, 3]).all() and len(upper) == len(lower)
    assert np.sort(found[:, 1])[[0, -1]] == pytest.approx((0.0, 8.0), abs=0.01)
    near = Grid.over(POINTS, 1.0).near(found)[:, 0].reshape(9, 11)  # no cell within is missed
    assert near[4:8, :2].all() and near[:4, 5:7].all() and not near[:4, :4].any() and not near[:, 9:].any()


def test_bands_of_distance():
    """A wall along the left border of the cells of column 2, which are 2 m long and 1 m wide."""
    grid = Grid(0.0, 0.0, 1.0, 8, 1, stretch=2.0)
    near = grid.near(np.array([(4.0, 0.0, 4.0, 1.0)]))
    assert near.argmax(1).tolist() == [1, 0, 0, 1, 2, 3, 0, 0] and near.sum(1).tolist() == [1] * 6 + [0] * 2
    assert BANDS == (0.5, 1.5, 2.5, 4.0) and grid.near(np.empty((0, 4))).shape == (8, 0)


def test_a_wall_repels_where_nobody_went():
    """The pillar of the hall is known, and so is another, beyond where people walk: only its kind tells about it."""
    pillar = [(8.0, 3.5, 12.0, 3.5), (8.0, 6.5, 12.0, 6.5), (8.0, 3.5, 8.0, 6.5), (12.0, 3.5, 12.0, 6.5)]
    paths = hall(60)
    plain = MaxEnt(make_walks(paths, 1.0, None, 0))
    walks = make_walks(replace(paths, obstacles=np.array([*pillar, (14.0, 5.0, 16.0, 5.0)])), 1.0, None, 0)
    model = MaxEnt(walks)
    cell = (int(5.0 - walks.grid.bottom)) * walks.grid.columns + int(15.0 - walks.grid.left)
    entered = np.concatenate([states[:-1] for states in walks.training.states]) // 8
    assert cell not in entered and walks.grid.near(walks.obstacles)[cell, 0]
    assert model.rewards[cell] < plain.rewards[cell] - 0.1
    assert plain.rewards == pytest.approx(plain.learner.weights[: len(walks.grid)].numpy())


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("walls.csv", "x1,y1,x2\n1,2,3\n", "line 1 lacks y2; give columns x1, y1, x2, y2"),
        ("walls.csv", "x1,y1,x2,y2\n1,2,3,nan\n", "line 2: y2 is 'nan', not a finite number"),
        ("walls.csv", "x1,y1,x2,y2\n1,2,3\n", "line 2: y2 is '', not a finite number"),
        ("walls.csv", "x1,y1,x2,y2\n", "has 0 segments"),
        ("walls.csv", "x1,y1,x2,y2\n100,200,300,200\n", "no obstacle is in the area of the paths"),
        ("walls.xml", XML.replace('x2="0.0"', ""), "Line 1: x2 is '', not a finite number"),
        ("walls.xml", "<Trial>", "not XML, or damaged"),
        ("walls.xml", "<!DOCTYPE a>" + XML, "declares a document type"),
        ("walls.xml", "<Trial/>", "has 0 segments"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path, name, content, line):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput) as error:
        read_obstacles(tmp_path / name, None, POINTS)
    assert str(error.value).startswith(f"{tmp_path / name}: {line}") and "\n" not in str(error.value)


def test_a_picture_that_does_not_fit_is_refused(tmp_path):
    Image.new("L", (4, 4), 255).save(tmp_path / "white.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "white.png").read_bytes()[:40])
    Image.new("L", (3000, 2000), 0).save(tmp_path / "large.png")
    area = (0.0, 0.0, 10.0, 8.0)
    for name, covers, line in (
        ("white.png", None, "a picture; give --area LEFT BOTTOM RIGHT TOP"),
        ("white.png", (10.0, 0.0, 0.0, 8.0), "give left < right"),
        ("white.png", area, "has 0 runs of dark pixels"),
        ("cut.png", area, "not a readable picture"),
        ("large.png", area, "has 3000 x 2000 pixels, more than 4,000,000"),
        ("none.png", area, "no such file"),
        ("walls.csv", area, "not a picture; leave --area out"),
    ):
        with pytest.raises(BadInput) as error:
            read_obstacles(tmp_path / name, covers, POINTS)
        assert line in str(error.value)


def test_files_keep_them_and_older_ones_have_none(tmp_path):
    paths = replace(recorded([[(0, 0), (1, 1)]]), obstacles=np.array([(0.0, 1.0, 2.0, 3.0)]), stretch=2.0)
    paths.save(tmp_path / "paths.safetensors")
    again = RecordedPaths.load(tmp_path / "paths.safetensors")
    assert again.obstacles.tolist() == [[0, 1, 2, 3]] and again.stretch == 2.0 and again.axes == ("x", "y")
    arrays = {name: getattr(paths, name) for name in ("points", "times", "bounds", "scene", "group")}
    metadata = {"schema": SCHEMA, "files": '["a"]', "source": "columns"}
    (tmp_path / "older.safetensors").write_bytes(seal(arrays, metadata))
    older = RecordedPaths.load(tmp_path / "older.safetensors")
    assert older.obstacles.shape == (0, 4) and older.stretch == 1.0


def test_import(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hall.csv").write_text("time,id,x,y\n0,1,0,0\n1,1,10,8\n")
    (tmp_path / "walls.csv").write_text("x1,y1,x2,y2\n1,2,3,4\n")
    main(shlex.split("import hall.csv --obstacles walls.csv"))
    assert "obstacles: 1 segments" in capsys.readouterr().out
    assert len(RecordedPaths.load(tmp_path / "demos/paths.safetensors").obstacles) == 1
    for arguments, line in (
        ("import hall.csv --area 0 0 1 1 --force", "--area: is what a picture covers"),
        ("import tracks.xml --obstacles walls.csv", "--obstacles and --area: are for paths"),
    ):
        with pytest.raises(SystemExit):
            main(shlex.split(arguments))
        assert line in capsys.readouterr().err
