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
    corners = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in ((0, 0), (4, 0), (0, 2)))
    polygon = f"<polygon>{corners}</polygon>"
    walker = Obstacle(52, kind="pedestrian")
    strange = Obstacle(53, shape="<circle><radius>1.0</radius></circle>"), Obstacle(54, shape=polygon)
    scene = read_commonroad(write(file_text([Obstacle(51), walker, Obstacle(55, kind="bicycle"), strange[0]])))
    assert [car.id for car in scene.cars] == [51]
    assert scene.left_out == {"not a vehicle": 2, "not a rectangle": 1} and not scene.standing
    assert read_commonroad(write(file_text([Obstacle(51), strange[1]]))).left_out == {"not a rectangle": 1}
    area = (
        Obstacle(56)
        .xml()
        .replace("<point><x>", "<circle><radius>1</radius><center><x>")
        .replace("</y></point></position>", "</y></center></circle></position>")
    )
    text = file_text([Obstacle(51)]).replace("</commonRoad>", area + "</commonRoad>")
    assert read_commonroad(write(text)).left_out == {"without exact positions": 1}


def test_leaves_out_whom_nobody_knows_when_he_came(write):
    when = "<intervalStart>0</intervalStart><intervalEnd>1</intervalEnd>"
    late = Obstacle(56).xml().replace("<exact>0</exact>", when, 1)
    text = TEXT.replace("</commonRoad>", late + "</commonRoad>")
    assert read_commonroad(write(text)).left_out == {"at inexact times": 1}


def cut_out(tag, text, count=0):
    return re.sub(f"<{tag}>.*?</{tag}>", "", text, count=count)


def with_cars(*cars):
    return file_text([Obstacle(51)]).replace("</commonRoad>", "".join(cars) + "</commonRoad>")


def test_each_reason_to_leave_a_car_out_has_its_name(write):
    gap = re.sub(r"<state><time><exact>30</exact>.*?</state>", "", Obstacle(56).xml())
    ranged = "<intervalStart>9</intervalStart><intervalEnd>15</intervalEnd>"
    vague = re.sub(r"(<velocity>)<exact>[^<]*</exact>", rf"\1{ranged}", Obstacle(57).xml(), count=1)
    once, blind = cut_out("velocity", Obstacle(58, steps=1).xml()), cut_out("orientation", Obstacle(59).xml(), 1)
    area = re.sub("<trajectory>.*</trajectory>", "", Obstacle(60).xml()).replace(
        "</dynamicObstacle>",
        "<occupancySet><occupancy><shape><circle><radius>2</radius><center><x>1</x><y>0</y></center></circle></shape>"
        "<time><exact>1</exact></time></occupancy></occupancySet></dynamicObstacle>",
    )
    scene = read_commonroad(write(with_cars(gap, vague, once, blind, area)))
    assert [car.id for car in scene.cars] == [51]
    assert scene.left_out == {
        "with steps missing": 1,
        "without exact speeds": 1,
        "without speeds, and seen only once": 1,
        "without exact headings": 1,
        "without a trajectory": 1,
    }


@pytest.mark.parametrize("count", [1, 0])  # of the first state alone, of all
def test_speeds_that_a_file_lacks_follow_from_its_positions(write, count):
    car = Obstacle(51, steps=101)
    scene = read_commonroad(
        write(file_text([]).replace("</commonRoad>", cut_out("velocity", car.xml(), count) + "</commonRoad>"))
    )
    assert not scene.left_out
    np.testing.assert_allclose(scene.cars[0].states[1:-1, 3], car.states[1:-1, 3], atol=0.02)
    assert scene.cars[0].states[[0, -1], 3] == pytest.approx(car.states[[0, -1], 3], abs=0.1)


@pytest.mark.parametrize("dt", [0.04, 1 / 30, 0.05, 0.12, 0.2])
def test_other_steps_are_interpolated_at_tenths_of_a_second(write, dt):
    """Against the same drive, whose place at any time is known."""
    car = Obstacle(51, steps=round(9 / dt), first_step=7, wobble=3.0, dt=dt)
    car.states[:, 2] = (car.states[:, 2] + 2 * np.pi - 0.05) % (2 * np.pi)  # headings that pass from 6.28 to 0
    (found,) = read_commonroad(write(file_text([car], step=dt))).cars
    first, last = 7 * dt, (6 + car.steps) * dt
    assert found.first_step == np.ceil(first / 0.1 - 1e-6)
    assert found.first_step + len(found.states) - 1 == np.floor(last / 0.1 + 1e-6)
    true = Obstacle(51, steps=20_000, wobble=3.0, dt=0.001)
    at = np.round((0.1 * (found.first_step + np.arange(len(found.states))) - first) / 0.001).astype(int)
    x, y, heading, speed = true.states[at].T
    assert np.hypot(found.states[:, 0] - x, found.states[:, 1] + y).max() < 0.05
    assert abs(np.unwrap(found.states[:, 2]) - found.states[0, 2] + heading - heading[0]).max() < 2e-3
    assert abs(found.states[:, 3] - speed).max() < 0.05


def test_who_is_seen_between_two_steps_alone_is_left_out(write):
    scene = read_commonroad(write(file_text([Obstacle(51), Obstacle(52, steps=1, first_step=1)], step=0.04)))
    assert [car.id for car in scene.cars] == [51] and scene.left_out == {"seen for less than a step": 1}


def test_reads_what_stands(write):
    """Static obstacles of any shape as the rectangles around them; a parked vehicle that is recorded over time, too."""
    polygon = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in ((0, 0), (4, 0), (4, 1), (0, 2)))
    standing = [
        Obstacle(52, start=50.0, static=True, kind="parkedVehicle"),
        Obstacle(53, start=60.0, static=True, kind="pillar", shape="<circle><radius>0.5</radius></circle>"),
        Obstacle(54, static=True, kind="constructionZone", shape=f"<polygon>{polygon}</polygon>"),
        Obstacle(55, start=70.0, static=True, kind="roadBoundary", size=(300.0, 0.5)),
        Obstacle(56, start=80.0, kind="parkedVehicle", speed=0.0, wobble=0.0),
    ]
    scene = read_commonroad(write(file_text([Obstacle(51), *standing])))
    assert [car.id for car in scene.cars] == [51]
    assert scene.left_out == {"standing, larger than 50 m by 10 m": 1}
    found = {car.id: car for car in scene.standing}
    assert {key: (car.length, car.width) for key, car in found.items()} == {
        52: (4.8, 1.9),
        53: (1.0, 1.0),
        54: (4.0, 2.0),
        56: (4.8, 1.9),
    }
    assert all(car.states.shape == (1, 4) and car.states[0, 3] == 0 for car in found.values())
    np.testing.assert_allclose(found[54].states[0, :3], [2.0, -1.0, 0.0], atol=1e-3)  # its middle, y to the right


def test_what_commonroad_io_says_is_collected(write, capfd):
    crossing = (
        '<intersection id="90"><incoming id="91"><incomingLanelet ref="1"/><successorsStraight ref="11"/>'
        "</incoming></intersection>"
    )
    notes = read_commonroad(write(with_cars(crossing))).notes
    assert len(notes) == 1 and "deprecated" in notes[0]
    assert capfd.readouterr() == ("", "")


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
        ("<osm/>", "<osm>, not <commonRoad>"),
        ("<commonRoad/>", "not a readable CommonRoad scenario"),
        (TEXT.replace("2020a", "1999x"), "1999x"),
        (file_text([Obstacle(51)], step=0.25), "time step is 0.25 s"),
        (file_text([Obstacle(51)], step=0.0), "time step is 0 s"),
        (TEXT.replace("<shape>", "<Shape>").replace("</shape>", "</Shape>"), "obstacle 51 has no <shape>"),
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
