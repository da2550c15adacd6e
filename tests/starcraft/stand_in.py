"""A stand-in for sc2reader's replay: objects with the same attributes."""

from types import SimpleNamespace

EXACT = 30000  # a build whose tracker does not round


def event(name, frame, **attributes):
    return SimpleNamespace(name=name, frame=frame, **attributes)


def born(tag, kind, owner, x, y, frame=0):
    kept = {"unit_id": tag, "unit_id_index": tag, "unit_type_name": kind, "control_pid": owner, "x": x, "y": y}
    return event("UnitBornEvent", frame, **kept)


def select(player, tags, frame, kept="None", data=None, group=10):
    attributes = {"control_group": group, "mask_type": kept, "mask_data": data}
    return event("SelectionEvent", frame, player=player, new_unit_info=[(tag, 0, 0, 0) for tag in tags], **attributes)


def go(player, x, y, frame, queued=False):
    return event("TargetPointCommandEvent", frame, player=player, x=x, y=y, flag={"queued": queued})


def replay(seconds=600, build=EXACT, results=("Win", "Loss"), played=1, tracker=(), commands=()):
    """Player 1 (Terran) starts at (20, 20) and player 2 (Zerg) at (120, 100); each has a worker and an army of two.

    Marines 11 and 12 of player 1 start at (20, 20) and (20, 30), zerglings 21 and 22 of player 2 at (120, 100). SCV 13
    is at (22, 20), drone 23 at (118, 100).
    """
    first, second = players = [
        SimpleNamespace(pid=pid, play_race=race, result=result, name="Somebody")
        for pid, race, result in zip((1, 2), ("Terran", "Zerg"), results, strict=True)
    ]
    begin = [
        *(born(1, "MineralField", 0, 10, 10), born(10, "CommandCenter", 1, 20, 20), born(20, "Hatchery", 2, 120, 100)),
        *(born(11, "Marine", 1, 20, 20), born(12, "Marine", 1, 20, 30), born(13, "SCV", 1, 22, 20)),
        *(born(21, "Zergling", 2, 120, 100), born(22, "Zergling", 2, 120, 100), born(23, "Drone", 2, 118, 100)),
    ]
    end = event("PlayerLeaveEvent", 16 * seconds)
    return SimpleNamespace(
        players=players,
        tracker_events=[*begin, *tracker],
        game_events=[*(make(first, second) for make in commands), end],
        build=build,
        frames=16 * seconds,
        map_name="Somewhere",
        unix_timestamp=played,
    )
