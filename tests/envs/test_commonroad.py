import re
import sys

import numpy as np
import pytest
from commonroad_files import ROAD, Obstacle, file_text

from infogail.envs.recordings import commonroad
from infogail.envs.recordings.commonroad import InvalidScenario, read_commonroad

LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    + "]>"
)
TEXT = file_text([Obstacle(51)])


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.xml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_reads_lanes_and_cars_with_y_to_the_right(write):
    path = write(file_text([Obstacle(51, steps=3), Obstacle(52, first_step=7, kind="truck", size=(12.0, 2.5))]))
    scene = read_commonroad(path)
    assert scene.name == "a.xml" and not scene.left_out
    car, truck = scene.cars
    assert (car.id, car.kind, car.length, car.width, car.first_step) == (51, "car", 4.8, 1.9, 0)
    assert (truck.kind, truck.length, truck.width, truck.first_step, len(truck.states)) == ("truck", 12.0, 2.5, 7, 61)
    # Round (0, 500) at 15 m/s to begin with, to the left: toward negative y, and negative headings.
    np.testing.assert_allclose(car.states[0], [0.0, 0.0, 0.0, 15.0], atol=1e-3)
    np.testing.assert_allclose(car.states[2], [2.9991, -0.0090, -0.0060, 14.9869], atol=1e-3)
    middle = scene.lanelets[2]
    assert (middle.left_neighbour, middle.right_neighbour, middle.predecessors, middle.successors) == (1, 3, (), (12,))
    np.testing.assert_allclose(
        [middle.left[0], middle.right[0], middle.centre[0]], [[0, -2], [0, 2], [0, 0]], atol=1e-3
    )


def test_leaves_out_what_is_no_car_and_what_is_not_known_exactly(write):
    polygon = "<polygon>" + "<point><x>0</x><y>0</y></point>" * 3 + "</polygon>"
    walker = Obstacle(52, kind="pedestrian")
    strange = Obstacle(53, shape="<circle><radius>1.0</radius></circle>"), Obstacle(54, shape=polygon)
    scene = read_commonroad(write(file_text([Obstacle(51), walker, Obstacle(55, kind="bicycle"), strange[0]])))
    assert [car.id for car in scene.cars] == [51]
    assert scene.left_out == {"not a vehicle": 2, "not a rectangle with exact states": 1}
    area = (
        Obstacle(56)
        .xml()
        .replace("<point><x>", "<circle><radius>1</radius><center><x>")
        .replace("</y></point></position>", "</y></center></circle></position>")
    )
    text = file_text([Obstacle(51)]).replace("</commonRoad>", area + "</commonRoad>")
    assert read_commonroad(write(text)).left_out == {"not a rectangle with exact states": 1}


def test_leaves_out_whom_nobody_knows_when_he_came(write):
    when = "<intervalStart>0</intervalStart><intervalEnd>1</intervalEnd>"
    late = Obstacle(56).xml().replace("<exact>0</exact>", when, 1)
    text = TEXT.replace("</commonRoad>", late + "</commonRoad>")
    assert read_commonroad(write(text)).left_out == {"not a rectangle with exact states": 1}


def test_moves_what_is_far_from_the_origin_there(write):
    def far(text):
        return re.sub(r"<x>([^<]*)</x>", lambda match: f"<x>{float(match[1]) + 4_000_000:.4f}</x>", text)

    near, moved = read_commonroad(write(TEXT)), read_commonroad(write(far(TEXT)))
    # The new origin is the first lanelet's first point, which is 4 m to the left of the old one.
    np.testing.assert_allclose(moved.cars[0].states, near.cars[0].states + [0, 4, 0, 0], atol=1e-3)
    np.testing.assert_allclose(moved.lanelets[12].right, near.lanelets[12].right + [0, 4], atol=1e-3)


def test_reads_the_older_version(write):
    text = TEXT.replace('"2020a"', '"2018b"').replace("<commonRoad ", '<commonRoad tags="highway" ')
    text = re.sub("<location>.*</location><scenarioTags/>", "", text).replace("dynamicObstacle", "obstacle")
    text = text.replace("<type>car", "<role>dynamic</role><type>car")
    assert len(read_commonroad(write(text)).cars) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not XML"),
        (b"\x89PNG\x00\xff", "not XML"),
        (TEXT[: len(TEXT) // 2], "not XML, or damaged"),
        (
            file_text([Obstacle(51)], head=LAUGHS).replace("<scenarioTags/>", "<scenarioTags>&j;</scenarioTags>"),
            "",  # which of both is said depends on the version of libxml2
        ),
        (
            file_text([Obstacle(51)], head='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>').replace(
                "<laneletType>highway", "<laneletType>&x;"
            ),
            "DOCTYPE",
        ),
        (file_text([Obstacle(51)], head='<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd">'), "DOCTYPE"),
        ("<osm/>", "<osm>, not of <commonRoad>"),
        ("<commonRoad/>", "not a CommonRoad scenario"),
        (TEXT.replace("2020a", "1999x"), "1999x"),
        (file_text([Obstacle(51)], step=0.04), "time step is 0.04 s"),
        (file_text([Obstacle(51)], road=""), "no lanelets"),
        (file_text([]), "no recorded cars"),
        (file_text([Obstacle(51, kind="pedestrian")]), "no recorded cars"),
        (file_text([Obstacle(51, size=(4.8, 300.0))]), "300 m wide"),
        (file_text([Obstacle(51, size=("nan", 2.0))]), "nan m long"),
        (TEXT.replace("<velocity><exact>", "<velocity><exact>9", 1), "faster than 100 m/s"),
        (re.sub("<velocity><exact>[^<]*", "<velocity><exact>nan", TEXT), "car 51 holds NaN"),
        (re.sub("(<initialState>.*?<x>)[^<]*", r"\g<1>700", TEXT), "car 51 jumps"),
        (file_text([Obstacle(51)], road=re.sub("<x>[^<]*", "<x>inf", ROAD, count=1)), "lanelet 1 holds NaN"),
        (file_text([Obstacle(51)], road=re.sub("<x>[^<]*", "<x>abc", ROAD, count=1)), "ValueError"),
    ],
)
def test_refuses_in_one_line_what_cannot_be_used(write, content, problem):
    path = write(content)
    with pytest.raises(InvalidScenario) as refused:
        read_commonroad(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and problem in message and "\n" not in message and len(message) < 500
    assert "root:" not in message


def test_refuses_what_is_not_there_or_no_file(tmp_path):
    with pytest.raises(InvalidScenario, match="no such file"):
        read_commonroad(tmp_path / "none.xml")
    with pytest.raises(InvalidScenario, match="is a folder"):
        read_commonroad(tmp_path)


@pytest.mark.parametrize(
    ("limit", "value", "problem"),
    [("MAX_FILE", 1000, "bytes, more than 1,000"), ("MAX_STATES", 59, "60 states"), ("MAX_LANELETS", 4, "5 lanelets")],
)
def test_refuses_what_is_too_large(write, monkeypatch, limit, value, problem):
    monkeypatch.setattr(commonroad, limit, value)
    with pytest.raises(InvalidScenario, match=problem):
        read_commonroad(write(TEXT))


def test_says_which_extra_is_missing(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "commonroad", None)
    with pytest.raises(InvalidScenario, match=r"pip install 'infogail\[data\]'"):
        read_commonroad(write(TEXT))
