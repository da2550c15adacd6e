"""Replays: where units are between commands and samples, scouts, armies, and what cannot be used."""

import sys

import numpy as np
import pytest
from stand_in import born, event, go, replay, select

from infogail.envs.errors import BadInput
from infogail.starcraft.replays import MOMENTS, UnusableReplay, load_replay, read_game

pytest.importorskip("sc2reader", reason="needs sc2reader, of the extra 'starcraft'")


def centroid(game, second, side=0):
    """(2,) of an army at a second."""
    return game.sides[side].centroid[MOMENTS.tolist().index(second)].tolist()


def test_units_go_straight_at_their_speed_and_stop_where_they_were_sent():
    march = [lambda one, _: select(one, [11, 12], 1900), lambda one, _: go(one, 110, 20, 16 * 120)]
    game = read_game(replay(commands=march))
    assert centroid(game, 120) == [20, 25]
    # At 2.25 a second: 22.5 in 10 s. The one from (20, 30) has √(90² + 10²) = 90.554 to go, so it is at
    # 22.5 / 90.554 of its way.
    share = 22.5 / 8200**0.5
    assert centroid(game, 130) == pytest.approx([(42.5 + 20 + 90 * share) / 2, (20 + 30 - 10 * share) / 2])
    assert centroid(game, 170) == centroid(game, 600) == [110, 20]
    assert centroid(game, 600, side=1) == [120, 100]
    assert (game.sides[0].race, game.sides[0].won, game.sides[1].won) == ("Terran", True, False)
    assert [side.bases for side in game.sides] == [1, 1] and game.seconds == 600
    assert game.sides[0].units.count(("Marine", 110.0, 20.0)) == 45 + 44  # from 160 s on, and from 170 s on


def test_queued_commands_a_stop_and_control_groups():
    commands = [
        lambda one, _: select(one, [11], 1),
        lambda one, _: event("SetControlGroupEvent", 2, player=one, control_group=3),
        lambda one, _: select(one, [12], 3, "ZeroIndices", []),
        lambda one, _: go(one, 20, 75, 16 * 120),  # 45 away: 20 s
        lambda one, _: event(
            "GetControlGroupEvent", 16 * 120, player=one, control_group=3, mask_type="None", mask_data=0
        ),
        lambda one, _: go(one, 65, 20, 16 * 120),
        lambda one, _: go(one, 65, 65, 16 * 121, queued=True),
        lambda one, _: event("BasicCommandEvent", 16 * 150, player=one, ability_name="Stop"),
    ]
    game = read_game(replay(commands=commands))
    assert centroid(game, 130) == [(42.5 + 20) / 2, (20 + 52.5) / 2]
    assert centroid(game, 600) == [(65 + 20) / 2, (42.5 + 75) / 2]  # stopped 10 s after the corner


def test_samples_set_positions_right_and_give_the_error():
    sample = event("UnitPositionsEvent", 16 * 200, positions=[(11, (23, 24)), (10, (90, 90)), (99, (1, 1))])
    game = read_game(replay(tracker=[sample]))
    assert game.errors == [5.0]  # from (20, 20) to (23, 24); buildings and units that are not known do not count
    assert centroid(game, 190) == [20, 25] and centroid(game, 210) == [21.5, 27]
    old = read_game(replay(build=25604, tracker=[sample]))  # rounds down to multiples of 4: 2 more on average
    assert old.errors == [5.0] and centroid(old, 210) == [23.5, 29] and old.sides[0].start.tolist() == [22, 22]


def test_deaths_new_units_and_rally_points():
    tracker = [
        event("UnitDiedEvent", 16 * 300, unit_id=21, unit_id_index=21),
        event("UnitDiedEvent", 16 * 300, unit_id=22, unit_id_index=22),
        born(30, "Barracks", 1, 40, 20),
        born(31, "Marine", 1, 42, 20, 16 * 400),
    ]
    rally = [lambda one, _: select(one, [30], 10), lambda one, _: go(one, 42, 65, 11)]
    game = read_game(replay(tracker=tracker, commands=rally))
    assert centroid(game, 290, side=1) == [120, 100] and np.isnan(centroid(game, 310, side=1)).all()
    assert centroid(game, 420) == pytest.approx([(20 + 20 + 42) / 3, (20 + 30 + 65) / 3])  # 45 in 20 s


def test_scouts_are_workers_that_come_far():
    way = [
        lambda one, two: select(one, [13], 1),
        lambda one, two: go(one, 120, 100, 16 * 100),  # from (22, 20), in 45 s
        lambda one, two: select(two, [23], 1),
        lambda one, two: go(two, 100, 90, 16 * 100),
    ]
    first, second = read_game(replay(commands=way)).sides
    (path,) = first.scouts
    assert not second.scouts
    # At 104 s it has 11.25 of 126.507 behind it, and a tenth of the way between the starts:
    # (10.715 · 100 + 7.114 · 80) / (100² + 80²) = 0.10004.
    assert path[0].tolist() == pytest.approx([22 + 98 * 5.625 / 126.507, 20 + 80 * 5.625 / 126.507, 102], abs=1e-3)
    assert path[-1].tolist() == [120, 100, 360] and np.diff(path[:, 2]).tolist() == [2] * (len(path) - 1)


@pytest.mark.parametrize(
    ("kind", "data", "kept"),
    [
        ("None", None, [1, 2, 3]),
        ("Mask", [True, False], [2, 3]),
        ("OneIndices", [2], [1, 2]),
        ("ZeroIndices", [2], [3]),
    ],
)
def test_selections_are_masked(kind, data, kept):
    sent = {11: 1, 12: 2, 14: 3}
    commands = [
        lambda one, _: select(one, list(sent), 1),
        lambda one, _: select(one, [], 2, kind, data),
        lambda one, _: go(one, 20, 250, 16 * 119),
    ]
    game = read_game(replay(tracker=[born(14, "Marine", 1, 20, 40)], commands=commands))
    moved = [y not in (20, 30, 40) for _, _, y in game.sides[0].units[:3]]
    assert [sent[tag] for tag, went in zip(sent, moved, strict=True) if went] == kept


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"players": []}, "not one against one"),
        ({"tracker_events": []}, "without tracker events"),
        ({"map_name": "x", "frames": None}, "contradict themselves"),
    ],
)
def test_what_cannot_be_used_says_why(change, problem):
    one = replay()
    vars(one).update(change)
    with pytest.raises(UnusableReplay, match=problem):
        read_game(one)
    with pytest.raises(UnusableReplay, match="without a winner"):
        read_game(replay(results=("Unknown", "Unknown")))


def test_content_that_is_no_replay():
    for content in (b"", b"MPQ\x1b" + bytes(range(256)) * 8, b"PK\x03\x04"):
        with pytest.raises(UnusableReplay, match="cannot read"):
            load_replay(content)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sc2reader", None)
    with pytest.raises(BadInput, match=r"pip install 'infogail\[starcraft\]'"):
        load_replay(b"")
