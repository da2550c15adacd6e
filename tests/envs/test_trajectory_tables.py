import csv
import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from infogail.envs.recordings.columns import InvalidTable
from infogail.envs.recordings.tables import FOOT, read_table

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "i80"


@pytest.fixture
def write(tmp_path):
    def write(rows, name="a.csv"):
        """`rows` of cells, the first of which are the header's; or the file's text."""
        path = tmp_path / name
        with (gzip.open if name.endswith(".gz") else open)(path, "wt", encoding="utf-8", newline="") as file:
            if isinstance(rows, str):
                file.write(rows)
            else:
                csv.writer(file).writerows(rows)
        return path

    return write


def gaps(pair):
    return pair.leader_states[:, 0] - pair.follower_states[:, 0] - (pair.follower_length + pair.leader_length) / 2


# NGSIM

REDUCED = ("Vehicle_ID", "Frame_ID", "Local_Y", "v_length", "v_Vel", "Preceding")
WHOLE = (*REDUCED, "Lane_ID", "Following", "v_Class", "Global_Time", "Location")


def ngsim(steps=60, first=132, changes=None, **columns):
    """Vehicle 13, 20 ft, 35 ft behind vehicle 15, 15 ft long, both at 30 ft/s; two rows for each step.

    Args:
        changes: (step, vehicle, column) -> value
        columns: (vehicle 13's, vehicle 15's) in all steps
    """
    usual = {
        **{"Vehicle_ID": (13, 15), "v_length": (20, 15), "v_Vel": (30, 30), "Preceding": (15, 0), "Lane_ID": (2, 2)},
        **{"Following": (0, 13), "v_Class": (2, 2), "Location": ("i-80", "i-80")},
        **columns,
    }
    rows = []
    for k in range(steps):
        for who in (0, 1):
            row = {name: both[who] for name, both in usual.items()}
            row |= {"Frame_ID": first + k, "Global_Time": 1113433000000 + 100 * (first + k)}
            row |= {"Local_Y": (150 + 3 * k, 200 + 3 * k)[who]}
            row |= {
                name: value for (step, vehicle, name), value in (changes or {}).items() if (step, vehicle) == (k, who)
            }
            rows.append(row)
    return rows


def table(rows, names=REDUCED):
    return [names, *([row[name] for name in names] for row in rows)]


def spans(read):
    """First step and length of each pair."""
    return [(pair.first_frame, len(pair.follower_states)) for pair in read.pairs]


def test_feet_become_metres_and_front_bumpers_centres(write):
    read = read_table(write(table(ngsim())))
    assert (read.kind, read.vehicles, read.left_out) == ("ngsim", 2, {})
    (pair,) = read.pairs
    assert pair[:3] == ("13", "15", 132)
    assert pair.follower_length == pytest.approx(6.096) and pair.leader_length == pytest.approx(4.572)
    np.testing.assert_allclose(pair.follower_states[:2], [[42.672, 9.144], [43.5864, 9.144]])  # 140 and 143 ft
    np.testing.assert_allclose(pair.leader_states[:2], [[58.674, 9.144], [59.5884, 9.144]])  # 192.5 and 195.5 ft
    np.testing.assert_allclose(gaps(pair), np.full(60, 10.668))  # 200 - 15 - 150 = 35 ft


def test_a_follower_of_unknown_length_has_the_same_gap(write):
    (pair,) = read_table(write(table(ngsim(v_length=(0, 15))))).pairs
    assert pair.follower_length == 5.0 and pair.follower_states[0, 0] == pytest.approx(150 * 0.3048 - 2.5)
    np.testing.assert_allclose(gaps(pair), np.full(60, 10.668))


def test_a_leader_of_unknown_length_is_left_out(write):
    read = read_table(write(table(ngsim(v_length=(20, 0)))))
    assert not read.pairs and read.left_out == {"leader of unknown length": 1}


@pytest.mark.parametrize("names", [REDUCED, WHOLE])
def test_a_pair_lasts_while_the_leader_stays(write, names):
    first = 0 if "Global_Time" in names else 132
    rows = ngsim(steps=160, changes={(k, 0, "Preceding"): 0 for k in range(60, 65)})
    read = read_table(write(table(rows, names)))
    assert spans(read) == [(first, 60), (first + 65, 95)] and read.vehicles == 2 and not read.left_out


@pytest.mark.parametrize(
    ("change", "ended"),
    [
        ({(k, who, "Lane_ID"): 3 for k in range(60, 120) for who in (0, 1)}, [(0, 60), (60, 60)]),  # both change lane
        ({(k, 0, "Lane_ID"): 3 for k in range(60, 120)}, [(0, 60)]),
        ({(k, 1, "Lane_ID"): 3 for k in range(60, 120)}, [(0, 60)]),
        ({(k, 1, "Following"): 99 for k in range(60, 120)}, [(0, 60)]),
        ({(k, 0, "Preceding"): 99 for k in range(60, 120)}, [(0, 60)]),
    ],
)
def test_what_ends_a_pair(write, change, ended):
    read = read_table(write(table(ngsim(steps=120, changes=change), WHOLE)))
    assert spans(read) == ended and not read.left_out


@pytest.mark.parametrize("who", [0, 1])
def test_missing_rows_end_a_pair(write, who):
    rows = ngsim(steps=120)
    del rows[2 * 60 + who]
    read = read_table(write(table(rows)))
    assert spans(read) == [(132, 60), (193, 59)] and read.vehicles == 2


def test_short_runs_are_left_out(write):
    assert spans(read_table(write(table(ngsim(steps=50))))) == [(132, 50)]
    read = read_table(write(table(ngsim(steps=49))))
    assert not read.pairs and read.left_out == {"runs under 5 s": 1}


def test_implausible_gaps_are_cut_out(write):
    # The leader's rear is at 185 + 3 k ft; 0.29 m are 0.951 ft, 0.31 m are 1.017 ft.
    changes = {(60, 0, "Local_Y"): 185 + 180 - 0.951, (10, 0, "Local_Y"): 185 + 30 - 1.017}
    read = read_table(write(table(ngsim(steps=160, changes=changes))))
    assert spans(read) == [(132, 60), (193, 99)] and read.left_out == {"steps with an implausible gap": 1}
    read = read_table(write(table(ngsim(steps=99, changes=changes))))
    assert spans(read) == [(132, 60)] and read.left_out["runs under 5 s"] == 1


@pytest.mark.parametrize("classes", [(1, 2), (2, 1)])
def test_motorcycles_are_left_out(write, classes):
    read = read_table(write(table(ngsim(v_Class=classes), WHOLE)))
    assert not read.pairs and read.left_out == {"motorcycles": 1} and read.vehicles == 2


def test_ids_that_restart_are_other_vehicles(write):
    early, late = ngsim(steps=60, first=100), ngsim(steps=70, first=9100)
    for row in late:
        row["Frame_ID"] -= 9000  # as in the next quarter of an hour's file
    read = read_table(write(table(early + late, WHOLE)))
    assert spans(read) == [(0, 60), (9000, 70)] and read.vehicles == 4


def test_places_are_told_apart(write):
    """The same ids at the same time elsewhere; and nobody there drives at once with anybody here."""
    names = tuple(name for name in WHOLE if name != "Global_Time")
    here, there = ngsim(steps=60), ngsim(steps=80, Location=("us-101", "us-101"), v_Vel=(40, 40))
    mixed = [row for both in zip(here, there, strict=False) for row in both] + there[len(here) :]
    read = read_table(write(table(mixed, names)))
    assert spans(read) == [(132, 60), (192, 80)] and read.vehicles == 4
    assert [pair.follower_states[0, 1] for pair in read.pairs] == pytest.approx([30 * FOOT, 40 * FOOT])


def test_thousands_in_quotes_as_the_portal_exports_them(write):
    rows = ngsim(Vehicle_ID=("1,163", "1,157"), Preceding=("1,157", "0"), Following=("0", "1,163"))
    for row in rows:
        row |= {"Global_Time": f"{row['Global_Time']:,}", "Local_Y": f"{row['Local_Y'] + 1000:,.3f}"}
    path = write(table(rows, WHOLE))
    assert '"1,163",132,"1,150.000"' in path.read_text()
    (pair,) = read_table(path).pairs
    assert pair[:2] == ("1163", "1157") and pair.follower_states[0, 0] == pytest.approx(1140 * 0.3048)


def test_variants_of_the_format_are_read_alike(write):
    rows = ngsim()
    (expected,) = read_table(write(table(rows))).pairs
    names = ("VEHICLE_ID", "frame_id", "Local_Y", "v_Length", "v_Vel", "Preceeding")
    extra = [[*row, "x"] for row in table(rows)[1:]]
    text = "".join(",".join(map(str, row)) + "\n" for row in table(rows))
    spaced = "".join("  ".join(map(str, row)) + " \n" for row in table(rows))
    for path in (
        write([(*names, "More"), *extra]),
        write(table(rows), "a.csv.gz"),
        write("\ufeff" + text + "\n \n"),
        write(text.replace("\n", "\r\n")),
        write(spaced, "a.txt"),
        write(spaced.replace("  ", "\t"), "a.txt"),
        write([table(rows)[0], *sorted(table(rows)[1:], key=lambda row: (row[0], -row[1]))]),
    ):
        read = read_table(path)
        assert read.kind == "ngsim" and read.pairs[0][:3] == expected[:3]
        np.testing.assert_array_equal(read.pairs[0].follower_states, expected.follower_states)
        np.testing.assert_array_equal(read.pairs[0].leader_states, expected.leader_states)


def test_text_files_of_ngsim_have_no_header(write):
    rows = []
    for row in ngsim():
        head = [row["Vehicle_ID"], row["Frame_ID"], 60, row["Global_Time"], 16.5, row["Local_Y"], 6e6, 1e6]
        rows.append([*head, row["v_length"], 6, 2, row["v_Vel"], 0, 2, row["Preceding"], row["Following"], 0, 0])
    path = write("".join(" ".join(map(str, row)) + "\n" for row in rows), "trajectories-0750am-0805am.txt")
    (pair,) = read_table(path).pairs
    assert pair[:3] == ("13", "15", 0) and len(pair.follower_states) == 60
    np.testing.assert_allclose(gaps(pair), np.full(60, 10.668))


# highD

HIGHD = ("frame", "id", "x", "y", "width", "height", "xVelocity", "precedingId", "laneId")
HIGHD_META = [("id", "width", "height", "class", "drivingDirection"), (2, 4, 2, "Car", 2), (1, 6, 2, "Truck", 2)]


def highd(frames=130, first=51, lane=lambda k: 3, x=lambda k: 0.8 * k, speed=lambda k: 20.0):
    """Vehicle 2, 4 m long, follows vehicle 1, 6 m long; at 25 Hz."""
    rows = [HIGHD]
    for k in range(frames):
        rows.append((first + k, 2, 100 + x(k), 8, 4, 2, speed(k), 1, lane(k)))
        rows.append((first + k, 1, 140 + x(k), 8, 6, 2.5, speed(k), 0, lane(k)))
    return rows


def write_highd(write, rows, meta=HIGHD_META, rate=None):
    write(meta, "01_tracksMeta.csv")
    if rate is not None:
        write([("id", "frameRate"), (1, rate)], "01_recordingMeta.csv")
    return write(rows, "01_tracks.csv")


def test_highd_is_resampled_to_ten_hertz(write):
    rows = highd(x=lambda k: 0.01 * k**2, speed=lambda k: 20 + 0.1 * k)
    read = read_table(write_highd(write, rows))
    assert (read.kind, read.vehicles, read.left_out) == ("highd", 2, {})
    (pair,) = read.pairs
    assert pair[:3] == ("2", "1", 20) and (pair.follower_length, pair.leader_length) == (4.0, 6.0)  # 51 frames: 2.04 s
    # Frames 0, 2.5 (halfway from 0.04 to 0.09 m) and 5; the 130th frame is 5.16 s after the first.
    np.testing.assert_allclose(pair.follower_states[:3], [[102.0, 20.0], [102.065, 20.25], [102.25, 20.5]])
    np.testing.assert_allclose(pair.leader_states[:3], [[143.0, 20.0], [143.065, 20.25], [143.25, 20.5]])
    assert pair.follower_states.shape == pair.leader_states.shape == (52, 2)
    np.testing.assert_allclose(gaps(pair), np.full(52, 36.0))


def test_highd_toward_smaller_x_is_mirrored(write):
    rows = [HIGHD]
    for k in range(130):
        rows.append((k, 2, 400 - 0.8 * k, 8, 4, 2, -20, 1, 3))
        rows.append((k, 1, 350 - 0.8 * k, 8, 6, 2.5, -20, 0, 3))
    meta = [(*row[:4], 1) if row[0] != "id" else row for row in HIGHD_META]
    (pair,) = read_table(write_highd(write, rows, meta)).pairs
    np.testing.assert_allclose(pair.follower_states[:2], [[-402.0, 20.0], [-400.0, 20.0]])
    np.testing.assert_allclose(pair.leader_states[:2], [[-353.0, 20.0], [-351.0, 20.0]])
    np.testing.assert_allclose(gaps(pair), np.full(52, 44.0))


def test_a_lane_change_in_highd_ends_a_pair(write):
    read = read_table(write_highd(write, highd(frames=330, first=0, lane=lambda k: 3 if k < 150 else 2)))
    assert spans(read) == [(0, 60), (60, 72)]  # 149 and 179 frames after the first: 5.96 s and 7.16 s


def test_the_frame_rate_is_that_of_the_recording(write):
    (pair,) = read_table(write_highd(write, highd(first=20), rate=20)).pairs
    assert pair.first_frame == 10 and len(pair.follower_states) == 65
    np.testing.assert_allclose(pair.follower_states[:2, 0], [102.0, 103.6])
    (pair,) = read_table(write_highd(write, highd(first=20), rate=10)).pairs
    assert pair.first_frame == 20 and len(pair.follower_states) == 130


def test_meta_files_are_found_beside_or_given(write, tmp_path):
    path = write_highd(write, highd())
    (tmp_path / "01_tracksMeta.csv").rename(tmp_path / "b.csv")
    with pytest.raises(InvalidTable, match=r"01_tracks\.csv: its tracksMeta file"):
        read_table(path)
    assert len(read_table(path, meta=tmp_path / "b.csv").pairs) == 1
    with pytest.raises(InvalidTable, match=r"c\.csv: no such file"):
        read_table(path, meta=tmp_path / "c.csv")
    write(HIGHD_META, "02_tracksMeta.csv.gz")
    assert len(read_table(write(highd(), "02_tracks.csv.gz")).pairs) == 1


# inD and exiD

DRONE = ("recordingId", "trackId", "frame", "xCenter", "yCenter", "heading", "width", "length", "lonVelocity")
EXID = (*DRONE, "leadId", "laneletId", "laneChange")


def bend(s):
    """x [m], y [m], heading [rad] on a road that bends left for 60 m, with a radius of 50 m, then goes straight on."""
    angle = min(s, 60.0) / 50
    straight = max(s - 60.0, 0.0)
    x = 50 * math.sin(angle) + straight * math.cos(angle)
    return x, 50 * (1 - math.cos(angle)) + straight * math.sin(angle), angle


def drive(track, first_s, speed=10.0, frames=300, length=4.5, first=0, aside=0.0, turned=0.0, lead=None, changes=()):
    """Rows of one road user on the bend, `aside` to the right [m]."""
    rows = []
    for k in range(frames):
        x, y, heading = bend(first_s + speed * k / 25)
        place = x + aside * math.sin(heading), y - aside * math.cos(heading)
        row = (9, track, first + k, *place, math.degrees(heading + turned) % 360, 1.8, length, speed)
        rows.append(row if lead is None else (*row, lead, "12;13", int(k in changes)))
    return rows


def write_drone(write, rows, classes, header=DRONE):
    write(
        [("recordingId", "trackId", "class"), *((9, track, kind) for track, kind in classes.items())],
        "09_tracksMeta.csv",
    )
    return write([header, *rows], "09_tracks.csv")


def test_exid_is_along_the_path_of_the_follower(write):
    rows = drive(0, 0.0, lead=1) + drive(1, 20.0, lead=-1, length=5.5)
    read = read_table(write_drone(write, rows, {0: "car", 1: "truck"}, EXID))
    assert (read.kind, read.vehicles, read.left_out) == ("exid", 2, {})
    (pair,) = read.pairs
    assert pair[:3] == ("0", "1", 0) and (pair.follower_length, pair.leader_length) == (4.5, 5.5)
    # The path is 119.6 m long, so that the leader drives beyond its end for 2 s.
    np.testing.assert_allclose(pair.follower_states[:, 0], np.arange(120.0), atol=1e-3)
    np.testing.assert_allclose(pair.leader_states[:, 0], 20 + np.arange(120.0), atol=0.01)
    np.testing.assert_allclose(pair.leader_states[:, 1], 10, atol=0.15)
    np.testing.assert_array_equal(pair.follower_states[:, 1], 10)


def test_exid_ends_at_changes_of_lane_and_of_leader(write):
    rows = drive(0, 0.0, lead=1, changes=(140,)) + drive(1, 20.0, lead=-1) + drive(2, 40.0, lead=-1)
    names = {0: "car", 1: "van", 2: "bus"}
    read = read_table(write_drone(write, rows, names, EXID))
    assert spans(read) == [(0, 56), (56, 64)]
    rows[160:300] = [(*row[:9], 2, *row[10:]) for row in rows[160:300]]
    read = read_table(write_drone(write, rows, names, EXID))
    assert [(pair.leader, len(pair.leader_states)) for pair in read.pairs] == [("1", 56), ("2", 56)]
    assert read.left_out == {"runs under 5 s": 1}


def test_exid_leaders_that_are_no_cars(write):
    rows = drive(0, 0.0, lead=1) + drive(1, 20.0, lead=-1)
    read = read_table(write_drone(write, rows, {0: "car", 1: "motorcycle"}, EXID))
    assert not read.pairs and read.left_out == {"not cars": 1} and read.vehicles == 1


def test_ind_finds_the_leader_on_the_path(write):
    rows = drive(0, 0.0) + drive(1, 20.0) + drive(2, 50.0)
    read = read_table(write_drone(write, rows, {0: "car", 1: "Car", 2: "truck_bus"}))
    assert (read.kind, read.vehicles) == ("ind", 3)
    assert [pair[:3] for pair in read.pairs] == [("0", "1", 0), ("1", "2", 0)]
    np.testing.assert_allclose(read.pairs[0].leader_states[:, 0], 20 + np.arange(120.0), atol=0.01)
    np.testing.assert_allclose(gaps(read.pairs[1]), np.full(120, 25.5), atol=0.01)


@pytest.mark.parametrize(
    ("other", "leader"),
    [
        ({"aside": 1.4}, "1"),
        ({"aside": 1.6}, "2"),
        ({"turned": 0.7}, "1"),
        ({"turned": 0.9}, "2"),  # more than 45°
        ({"turned": math.pi}, "2"),
    ],
)
def test_ind_leaders_drive_on_the_path_and_in_its_direction(write, other, leader):
    rows = drive(0, 0.0) + drive(1, 20.0, **other) + drive(2, 40.0)
    pairs = read_table(write_drone(write, rows, dict.fromkeys((0, 1, 2), "car"))).pairs
    assert [pair.leader for pair in pairs if pair.follower == "0"] == [leader]


def test_ind_leaders_are_within_a_hundred_metres(write):
    for distance, count in ((99, 1), (101, 0)):
        path = write_drone(write, drive(0, 60.0) + drive(1, 60.0 + distance), {0: "car", 1: "car"})
        assert len(read_table(path).pairs) == count


def test_a_bicycle_in_between_is_followed_not_the_car_ahead_of_it(write):
    rows = drive(0, 0.0) + drive(1, 20.0, length=1.8) + drive(2, 40.0)
    read = read_table(write_drone(write, rows, {0: "car", 1: "bicycle", 2: "car"}))
    assert not read.pairs and read.left_out == {"not cars": 1} and read.vehicles == 2


def test_parked_cars_are_left_out(write):
    rows = drive(0, 0.0, speed=0.0) + drive(1, 10.0, speed=0.0)
    read = read_table(write_drone(write, rows, {0: "car", 1: "car"}))
    assert not read.pairs and read.left_out == {"parked": 1}
    read = read_table(write_drone(write, drive(0, 0.0, frames=200) + drive(1, 90.0, speed=0.0), {0: "car", 1: "car"}))
    (pair,) = read.pairs  # who approaches someone who stands is not parked
    np.testing.assert_allclose(pair.leader_states[:, 1], 0, atol=1e-9)


# What is wrong with files

HEADER = ",".join(REDUCED)
ROW = "13,132,150,20,30,15\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: is empty; give a trajectory table"),
        ("\n" + HEADER, "a.csv: line 1 is empty; give a trajectory table"),
        (HEADER + "\n\n", "a.csv: has a header but no rows; give a file of recorded traffic"),
        (
            "Vehicle_ID,Frame_ID,Local_Y,v_length\n1,2,3,4\n",
            "not a table of kind ngsim, the nearest: line 1 lacks v_Vel, Preceding; give the file as it was published",
        ),
        (
            "id,frame,x,width,laneId\n1,2,3,4,5\n",
            "of kind highd, the nearest: line 1 lacks xVelocity, precedingId",
        ),
        ("trackId,frame,xCenter,heading,leadId\n", "of kind exid, the nearest: line 1 lacks yCenter, length"),
        (ROW * 2, "line 1 lacks"),
        (
            f"{HEADER}\n{ROW}\n13,133,abc,20,30,15\n",
            "line 4: Local_Y is 'abc', not a number; correct or remove the row",
        ),
        (f"{HEADER}\n{ROW}13,133,,20,30,15\n", "line 3: Local_Y is '', not a number"),
        (f'{HEADER}\n{ROW}13,133,"1,5",20,30,15\n', "line 3: Local_Y is '1,5', not a number"),
        (f"{HEADER}\n{ROW}13,133,nan,20,30,15\n", "line 3: Local_Y is nan, not a finite number, or out of range"),
        (f"{HEADER}\n{ROW}13,133,150,20,inf,15\n", "line 3: v_Vel is inf, not a finite number"),
        (f"{HEADER}\n{ROW}13,133,1e300,20,30,15\n", "line 3: Local_Y is 1e+300, not a finite number, or out of range"),
        (f"{HEADER}\n{ROW}13,133.5,150,20,30,15\n", "line 3: Frame_ID is 133.5, not a whole number; correct or remove"),
        (f"{HEADER}\n{ROW}1e300,133,150,20,30,15\n", "line 3: Vehicle_ID is 1e+300, not a whole number"),
        (f"{HEADER}\n{ROW}13,133,150\n", "line 3: has 3 cells, fewer than the 6 needed; correct or remove the row"),
        (
            f"{HEADER}\n{ROW}15,132,200,15,30,0\n{ROW}",
            "line 4: vehicle 13 is already recorded at this time, in line 2; remove one of the two rows",
        ),
        (f"{HEADER}\n{ROW}" + "1" * 200_000, "line 3: has 100,000 characters or more; give a table"),
        (f"{HEADER}\n" + '"' + ("1" * 1000 + "\n") * 200, "not comma-separated cells"),
    ],
)
def test_a_bad_table_is_reported_with_the_line(write, text, message):
    path = write(text)
    with pytest.raises(InvalidTable) as caught:
        read_table(path)
    error = str(caught.value)
    assert message in error and error.startswith(str(path)) and "\n" not in error


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"\xff\xfe\x00V", "a.csv", "is not UTF-8 text"),
        (
            gzip.compress(HEADER.encode(), mtime=0),
            "a.csv",
            "is not UTF-8 text; give a table of text, with .gz in its name if packed",
        ),
        (b"Vehicle_ID", "a.csv.gz", "not a gzip file, or a damaged or truncated one; download it again"),
        (
            gzip.compress(f"{HEADER}\n{ROW}".encode() * 9, mtime=0)[:-20],
            "a.csv.gz",
            "not a gzip file, or a damaged or truncated",
        ),
        (
            gzip.compress(HEADER.encode(), mtime=0)[:10] + b"\xff" * 40,
            "a.csv.gz",
            "not a gzip file, or a damaged or truncated one",
        ),
    ],
)
def test_a_file_that_is_no_text_is_reported(tmp_path, content, name, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidTable) as caught:
        read_table(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_an_unknown_kind_are_reported(tmp_path, write):
    with pytest.raises(InvalidTable, match=r"b\.csv: no such file; give a trajectory table"):
        read_table(tmp_path / "b.csv")
    with pytest.raises(InvalidTable, match="is a folder; give a trajectory table in it"):
        read_table(tmp_path)
    path = write(table(ngsim()))
    with pytest.raises(InvalidTable, match="unknown kind of table 'NGSIM'; choose one of ngsim, highd, ind, exid"):
        read_table(path, kind="NGSIM")
    with pytest.raises(InvalidTable, match="not a table of kind highd: line 1 lacks frame, id, x, width"):
        read_table(path, kind="highd")
    assert len(read_table(path, kind="ngsim").pairs) == 1


def test_the_kind_may_be_given(write):
    rows = drive(0, 0.0, lead=-1) + drive(1, 20.0, lead=-1)
    path = write_drone(write, rows, {0: "car", 1: "car"}, EXID)
    assert not read_table(path).pairs and len(read_table(path, kind="ind").pairs) == 1


@pytest.mark.parametrize(
    ("meta", "rate", "message"),
    [
        (
            HIGHD_META[:2],
            None,
            r"tracksMeta\.csv: lacks vehicle 1 of 01_tracks\.csv; give the file of the same recording",
        ),
        ([*HIGHD_META, HIGHD_META[1]], None, r"tracksMeta\.csv: line 4: has vehicle 2 again; remove one of the rows"),
        ([("id", "class"), (1, "Car")], None, "not a table of kind highd tracksMeta: line 1 lacks drivingDirection"),
        ([*HIGHD_META[:2], (1, 6, 2, "Truck", 3)], None, "line 3: drivingDirection is 3; it must be 1 or 2"),
        (HIGHD_META, 0, r"recordingMeta\.csv: frameRate is 0 Hz; it must be 1 to 1000"),
        (HIGHD_META, "fast", r"recordingMeta\.csv: line 2: frameRate is 'fast', not a number"),
    ],
)
def test_bad_meta_files_are_reported(write, meta, rate, message):
    path = write_highd(write, highd(), meta, rate)
    with pytest.raises(InvalidTable, match=message):
        read_table(path)


@pytest.mark.parametrize(("name", "pairs"), [("i80-0400.csv.gz", 113), ("i80-0500.csv.gz", 115)])
def test_recordings_of_interstate_80(name, pairs):
    path = RECORDINGS / name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    read = read_table(path)
    assert len(read.pairs) == pairs and read.vehicles in (208, 217)
    headways = [np.median(gaps(pair) / pair.follower_states[:, 1].clip(1.0)) for pair in read.pairs]
    low, middle, high = np.percentile(headways, [10, 50, 90])
    assert 1.0 < low < 1.3 < middle < 2.2 < high < 3.0
    steps = [len(pair.follower_states) for pair in read.pairs]
    assert 550 < np.median(steps) < 700 and max(steps) < 1750
    assert set(read.left_out) <= {"steps with an implausible gap"}
    assert min(gaps(pair).min() for pair in read.pairs) >= 0.3
