import numpy as np
import pytest
import torch
from commonroad_files import LANE_END, LENGTH, RADIUS, Obstacle, file_text, lanelet, on_bend

from infogail.envs.recordings.commonroad import Lanelet, read_commonroad
from infogail.envs.recordings.roadway import EXTENSION, find_frames, place


def read(tmp_path, obstacles, **changes):
    path = tmp_path / "a.xml"
    path.write_text(file_text(obstacles, **changes))
    scene = read_commonroad(path)
    return find_frames(scene.lanelets, scene.cars), scene


def straight(key, start, end, y, predecessors=(), successors=(), left=None, right=None, turn=0.0):
    """A lane 4 m wide, along x or turned by `turn` round its start."""
    x = np.arange(start, end + 1.0, 2.0)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    lines = (np.stack((x - start, np.full(len(x), d)), -1) @ rotation + (start, y) for d in (-2.0, 2.0, 0.0))
    return Lanelet(key, *lines, predecessors, successors, left, right)


def test_follows_a_bend_and_drops_the_lane_that_ends(tmp_path):
    (frames, member), _ = read(tmp_path, [Obstacle(51), Obstacle(52, offset=-4.0, start=20.0)])
    (frame,) = frames
    assert member.tolist() == [0, 0] and frame.lanelets == {1, 2, 3, 11, 12}
    reference, edges = frame.reference, frame.edges
    assert len(reference) == pytest.approx(LENGTH + 2 * EXTENSION, abs=2)
    np.testing.assert_allclose(np.hypot(*np.diff(reference[:, :2], axis=0).T), 1.0, atol=1e-3)
    np.testing.assert_allclose(edges[EXTENSION + 10], [-6, -2, 2, 6], atol=0.05)
    np.testing.assert_allclose(edges[0], [-6, -2, 2, 6], atol=0.05)
    last = EXTENSION + int(LANE_END)
    np.testing.assert_allclose(edges[last - 3], [-6, -2, 2, 6], atol=0.05)
    np.testing.assert_allclose(edges[last + 3], [-6, -2, 2, 2], atol=0.05)
    np.testing.assert_allclose(edges[-1], [-6, -2, 2, 2], atol=0.05)
    on_arc = reference[EXTENSION + 20 : -EXTENSION - 20]  # to the left, as y is to the right: negative
    np.testing.assert_allclose(on_arc[:, 3], -1 / RADIUS, rtol=0.02)
    np.testing.assert_allclose(np.hypot(on_arc[:, 0], on_arc[:, 1] + RADIUS), RADIUS, atol=0.05)
    assert abs(reference[[0, -1], 3]).max() < 1e-9  # the extensions are straight


def test_places_along_and_across_in_numpy_and_torch_alike(tmp_path):
    (frames, _), _ = read(tmp_path, [Obstacle(51)])
    reference = frames[0].reference
    distances, offsets = np.array([10.0, 55.5, 100.25, 180.0]), np.array([0.0, -5.0, 1.5, 3.0])
    points = np.stack([on_bend(s, d) for s, d in zip(distances, offsets, strict=True)]) * (1, -1, -1)
    along, across = place(points[:, 0], points[:, 1], reference)
    np.testing.assert_allclose(along, EXTENSION + distances, atol=0.1)
    np.testing.assert_allclose(across, offsets, atol=0.05)
    both = torch.tensor(points)
    stacked = torch.tensor(reference).expand(4, -1, -1)
    for here, there in zip(place(both[:, 0], both[:, 1], stacked), (along, across), strict=True):
        np.testing.assert_allclose(here.numpy(), there, atol=1e-12)


def test_a_car_off_the_lanes_or_against_them_belongs_nowhere(tmp_path):
    obstacles = [Obstacle(51), Obstacle(52, offset=30.0), Obstacle(53, offset=4.0, start=60.0), Obstacle(54)]
    obstacles[3].states = obstacles[3].states[::-1] + (0, 0, np.pi, 0)  # a wrong-way driver
    (frames, member), scene = read(tmp_path, obstacles)
    assert member.tolist() == [0, -1, 0, -1]
    on = frames[0].on_lanes(scene.cars[2].states)
    gone = 60.0 + 14.0 * 0.1 * np.arange(61) > LANE_END  # give or take a metre
    assert 0 < gone.sum() < 31 and abs(int((~on).sum()) - int(gone.sum())) <= 1


def test_ways_that_part_have_frames_of_their_own():
    lanelets = {
        1: straight(1, 0, 60, 0.0, successors=(2, 3)),
        2: straight(2, 60, 140, 0.0, predecessors=(1,)),
        3: straight(3, 60, 120, 0.0, predecessors=(1,), turn=1.2),
    }
    ahead = np.zeros((90, 4)) + (0, 0.3, 0, 12.0)
    ahead[:, 0] = 1.2 * np.arange(90)
    turning = ahead.copy()
    beyond = ahead[51:, 0] - 60.0
    turning[51:, :3] = np.stack((60 + np.cos(1.2) * beyond, np.sin(1.2) * beyond, np.full(39, 1.2)), -1)
    cars = [make_car(k, states) for k, states in enumerate((ahead, ahead, turning))]
    frames, member = find_frames(lanelets, cars)
    assert member.tolist()[:2] == [0, 0] and 1 <= len(frames) <= 2
    short = [make_car(0, ahead), make_car(1, turning[45:])]
    frames, member = find_frames(lanelets, short)
    assert member.tolist() == [0, 1] and [sorted(frame.lanelets) for frame in frames] == [[1, 2], [1, 3]]
    assert frames[1].on_lanes(turning[52:]).all() and not frames[0].on_lanes(turning[60:]).any()


def test_a_ramp_belongs_to_the_road_with_a_strip_between():
    lanelets = {
        1: straight(1, 0, 60, 0.0, successors=(2,)),
        2: straight(2, 60, 140, 0.0, predecessors=(1,), right=4),
        3: straight(3, 20, 60, 6.5, successors=(4,)),
        4: straight(4, 60, 140, 4.0, predecessors=(3,), left=2),
    }
    states = np.zeros((60, 4)) + (0, 0, 0, 14.0)
    states[:, 0] = 1.4 * np.arange(60)
    (frame,), _ = find_frames(lanelets, [make_car(0, states)])
    np.testing.assert_allclose(frame.edges[EXTENSION + 5], [-2, 2, 2, 2], atol=1e-6)
    np.testing.assert_allclose(frame.edges[EXTENSION + 40], [-2, 2, 4.5, 8.5], atol=0.3)
    np.testing.assert_allclose(frame.edges[EXTENSION + 100], [-2, 2, 6, 6], atol=1e-6)


def test_a_ring_is_cut_open_and_points_may_be_there_twice():
    angles = np.linspace(0, 2 * np.pi, 5)
    lanelets = {}
    for k in range(4):
        turn = np.repeat(np.linspace(angles[k], angles[k + 1], 20), 2)  # every point twice
        lines = (np.stack((r * np.cos(turn), r * np.sin(turn)), -1) for r in (32.0, 28.0, 30.0))
        lanelets[k] = Lanelet(k, *lines, ((k - 1) % 4,), ((k + 1) % 4,), None, None)
    turn = 0.03 * np.arange(80)
    states = np.stack((30 * np.cos(turn), 30 * np.sin(turn), turn + np.pi / 2, np.full(80, 9.0)), -1)
    frames, member = find_frames(lanelets, [make_car(0, states)])
    assert member.tolist() == [0] and frames[0].lanelets == {0, 1, 2} and np.isfinite(frames[0].reference).all()
    assert abs(frames[0].place(states[5:-5, :2])[:, 1]).max() < 0.5
    frames, member = find_frames(lanelets, [make_car(0, states[60:70] * (-1, -1, 1, 1) + (0, 0, np.pi, 0))])
    assert member.tolist() == [0] and 3 in frames[0].lanelets


def make_car(key, states):
    from infogail.envs.recordings.commonroad import Car

    return Car(key, "car", 4.8, 1.9, 0, states)


def test_bounds_that_end_askew_leave_no_gap(tmp_path):
    road = lanelet(1, 0, 100, -2, 2, successor=2) + lanelet(2, 100.9, 200, -2, 2, predecessor=1)
    (frames, _), _ = read(tmp_path, [Obstacle(51)], road=road)
    np.testing.assert_allclose(frames[0].edges, [[-2, 2]] * len(frames[0].edges), atol=0.1)
