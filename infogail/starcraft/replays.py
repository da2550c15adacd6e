"""Read one replay of StarCraft II: where scouts, armies and their units went.

A replay holds what players commanded, when units were born, changed and died, and, every 15 s, samples of where some of
them were. Between commands and samples, units are taken to go straight, at the speed of their type. The library
sc2reader decodes replays; they are untrusted, and it may raise anything.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infogail.envs.errors import BadInput

FRAMES = 16  # per game second
MOMENTS = np.arange(120.0, 601.0, 10.0)  # [s] at which armies are located
SCOUTING, SCOUT_STEP = 360, 2  # [s] until when workers are followed, and how often
LEAST_SECONDS = 480.0  # of a game whose armies count
LEFT_HOME, CAME_FAR = 0.1, 0.5  # shares of the way to the enemy's start: a scout's first point, and what makes a scout
BASES_AT = 360  # [s]
EXACT_BUILD, COARSE = 27950, 4  # earlier builds round positions of the tracker down to multiples of COARSE
ALL_SELECTED = 10  # number of the active selection among the control groups
RALLIED = 8.0  # [map units] from a building: who is born there goes to its rally point
BASES = {"CommandCenter", "OrbitalCommand", "PlanetaryFortress", "Nexus", "Hatchery", "Lair", "Hive"}
WORKERS = {"SCV", "Drone", "Probe"}
NO_ARMY = {
    *("Overlord", "Overseer", "OverseerCocoon", "Queen", "QueenBurrowed", "Broodling", "Interceptor", "Locust"),
    *("AutoTurret", "InfestedTerran", "InfestedTerranBurrowed"),
}
USUAL_SPEED = 2.25
SPEEDS = {
    **dict.fromkeys(("SCV", "Drone", "Probe", "Ghost", "WidowMine", "DarkTemplar", "Archon"), 2.8125),
    **dict.fromkeys(("Zergling", "Stalker", "Ultralisk", "Corruptor", "Viper"), 2.9531),
    **dict.fromkeys(("Viking", "Banshee"), 2.75),
    **dict.fromkeys(("Baneling", "Infestor", "Medivac", "WarpPrism", "VoidRay"), 2.5),
    **dict.fromkeys(("Thor", "HighTemplar", "Overseer", "Observer", "Tempest", "Carrier", "MothershipCore"), 1.875),
    **dict.fromkeys(("Battlecruiser", "BroodLord", "Mothership"), 1.4062),
    **dict.fromkeys(("Hellion", "Phoenix"), 4.25),
    **{"Reaper": 3.75, "Mutalisk": 4.0, "Oracle": 3.375, "Queen": 0.9375, "Overlord": 0.4687},
    **dict.fromkeys(("SiegeTankSieged", "WidowMineBurrowed", "SwarmHostBurrowed", "WarpPrismPhasing"), 0.0),
}
"""[map units per game second], without upgrades; the others have `USUAL_SPEED`"""


class UnusableReplay(ValueError):
    """A replay cannot be used; the message completes the phrase 'replays …'."""


@dataclass
class Side:
    """What one player did; positions [map units] are the game's, not mirrored."""

    start: np.ndarray
    """(2,)"""
    race: str
    won: bool
    bases: int = 0
    """at `BASES_AT`"""
    centroid: np.ndarray = field(default_factory=lambda: np.full((len(MOMENTS), 2), np.nan))
    """(len(MOMENTS), 2): of the army; NaN where there is none"""
    scouts: list[np.ndarray] = field(default_factory=list)
    """(n, 3) each: x, y and time [s] of a worker that went far"""
    units: list[tuple[str, float, float]] = field(default_factory=list)
    """type and position of each unit of the army at each moment"""


@dataclass
class Game:
    """One game of one against one."""

    played: int
    """when, in the replay's own clock"""
    map_name: str
    landmarks: frozenset[tuple[str, float, float]]
    """what is on the map at first and belongs to nobody, which tells maps apart in every language"""
    seconds: float
    sides: tuple[Side, Side]
    errors: list[float]
    """[map units]: how far units were from where they were taken to be, at each sample"""

    @property
    def place(self) -> tuple[frozenset[tuple[str, float, float]], frozenset[tuple[float, ...]]]:
        """The map and the starts."""
        return self.landmarks, frozenset(tuple(side.start.tolist()) for side in self.sides)


@dataclass
class _Unit:
    owner: int
    kind: str
    at: np.ndarray
    frame: int
    way: list[np.ndarray] = field(default_factory=list)
    """points that it has yet to go to"""

    def advance(self, frame: int) -> None:
        """Go on until `frame`."""
        left = (frame - self.frame) / FRAMES * speed(self.kind)
        self.frame = frame
        while self.way and left > 0.0:
            offset = self.way[0] - self.at
            distance = float(np.hypot(*offset))
            if distance > left:
                self.at = self.at + offset * (left / distance)
                return
            self.at, left = self.way.pop(0), left - distance


def speed(kind: str) -> float:
    """Of a type of units [map units per game second]."""
    return SPEEDS.get(kind, USUAL_SPEED)


def load_replay(content: bytes) -> Any:
    """sc2reader's replay.

    Raises:
        BadInput: sc2reader is not installed.
        UnusableReplay: it cannot be read.
    """
    try:
        import sc2reader
    except ImportError as error:
        raise BadInput("replays: need sc2reader; install it with: pip install 'infogail[starcraft]'") from error
    try:
        return sc2reader.load_replay(io.BytesIO(content), load_level=4)
    except Exception as error:  # of any kind: the content is untrusted, and sc2reader checks little of it
        raise UnusableReplay("that sc2reader cannot read") from error


def read_game(replay: Any) -> Game:
    """The game in sc2reader's `replay`.

    Raises:
        UnusableReplay: it is not one against one with a winner and tracker events, or is inconsistent.
    """
    try:
        return _Reckoning(replay).game()
    except UnusableReplay:
        raise
    except Exception as error:  # of any kind: see `load_replay`
        raise UnusableReplay("that contradict themselves") from error


class _Reckoning:
    """Follows the units of one game."""

    def __init__(self, replay: Any) -> None:
        if len(replay.players) != 2:
            raise UnusableReplay("that are not one against one")
        if not replay.tracker_events:
            raise UnusableReplay("without tracker events (before version 2.0.8)")
        if sorted(str(player.result) for player in replay.players) != ["Loss", "Win"]:
            raise UnusableReplay("without a winner")
        from sc2reader.data import unit_lookup

        self.replay = replay
        self.army = {name for race in unit_lookup.values() for name, info in race.items() if info.get("is_army")}
        self.army -= {name.lower() for name in NO_ARMY}
        self.shift = COARSE / 2 if replay.build < EXACT_BUILD else 0.0
        self.units: dict[int, _Unit] = {}
        self.by_index: dict[int, int] = {}
        self.rally: dict[int, np.ndarray] = {}
        self.groups: dict[int, list[list[int]]] = {
            player.pid: [[] for _ in range(ALL_SELECTED + 1)] for player in replay.players
        }
        self.sides: dict[int, Side] = {}
        self.workers: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
        self.errors: list[float] = []

    def game(self) -> Game:
        """Follow all events."""
        replay = self.replay
        born = [event for event in replay.tracker_events if event.name == "UnitBornEvent" and event.frame == 0]
        starts = {event.control_pid: self.place(event) for event in born if event.unit_type_name in BASES}
        for player in replay.players:
            self.sides[player.pid] = Side(starts[player.pid], str(player.play_race), player.result == "Win")
        landmarks = frozenset((e.unit_type_name, float(e.x), float(e.y)) for e in born if e.control_pid == 0)
        last, moment = int(replay.frames), 0
        events = sorted([*replay.tracker_events, *replay.game_events], key=lambda event: event.frame)
        for event in events:
            while moment <= min(event.frame, FRAMES * int(MOMENTS[-1])):
                self.look(moment)
                moment += FRAMES * SCOUT_STEP
            handler = getattr(self, f"on_{event.name}", None)
            if handler is not None:
                handler(event)
        first, second = (self.sides[player.pid] for player in replay.players)
        for (owner, _), seen in self.workers.items():
            side = self.sides[owner]
            side.scouts += scouting(np.array(seen), side.start, (second if side is first else first).start)
        name, played = str(replay.map_name), int(replay.unix_timestamp)
        return Game(played, name, landmarks, last / FRAMES, (first, second), self.errors)

    def place(self, event: Any) -> np.ndarray:
        """(2,): where a tracker event happened."""
        return np.array([event.x, event.y], float) + self.shift

    def look(self, frame: int) -> None:
        """Note where everybody is."""
        second = frame // FRAMES
        located = second in MOMENTS
        if not located and second > SCOUTING:
            return
        armies: dict[int, list[np.ndarray]] = {pid: [] for pid in self.sides}
        for tag, unit in self.units.items():
            if unit.owner not in self.sides:
                continue
            if unit.kind in WORKERS and second <= SCOUTING:
                unit.advance(frame)
                self.workers.setdefault((unit.owner, tag), []).append((*unit.at, second))
            elif located and unit.kind.lower() in self.army:
                unit.advance(frame)
                armies[unit.owner].append(unit.at)
                self.sides[unit.owner].units.append((unit.kind, *unit.at))
        for pid, places in armies.items():
            if located and places:
                self.sides[pid].centroid[MOMENTS.searchsorted(second)] = np.mean(places, 0)
        if second == BASES_AT:
            bases = Counter(unit.owner for unit in self.units.values() if unit.kind.removesuffix("Flying") in BASES)
            for pid, side in self.sides.items():
                side.bases = bases[pid]

    def on_UnitBornEvent(self, event: Any) -> None:
        unit = _Unit(event.control_pid, event.unit_type_name, self.place(event), event.frame)
        self.units[event.unit_id], self.by_index[event.unit_id_index] = unit, event.unit_id
        if event.frame and self.moves(unit):
            near = [
                (float(np.hypot(*(self.units[tag].at - unit.at))), point)
                for tag, point in self.rally.items()
                if tag in self.units and self.units[tag].owner == unit.owner
            ]
            distance, point = min(near, key=lambda each: each[0], default=(np.inf, unit.at))
            if distance < RALLIED:
                unit.way = [point]

    on_UnitInitEvent = on_UnitBornEvent

    def on_UnitTypeChangeEvent(self, event: Any) -> None:
        if unit := self.units.get(event.unit_id):
            unit.advance(event.frame)
            unit.kind = event.unit_type_name

    def on_UnitOwnerChangeEvent(self, event: Any) -> None:
        if unit := self.units.get(event.unit_id):
            unit.owner = event.control_pid

    def on_UnitDiedEvent(self, event: Any) -> None:
        self.units.pop(event.unit_id, None)
        self.by_index.pop(event.unit_id_index, None)

    def on_UnitPositionsEvent(self, event: Any) -> None:
        for index, place in event.positions:
            unit = self.units.get(self.by_index.get(index, -1))
            if unit is None or not self.moves(unit):
                continue
            unit.advance(event.frame)
            known = np.array(place, float) + self.shift
            self.errors.append(float(np.hypot(*(unit.at - known))))
            unit.at = known

    def on_SelectionEvent(self, event: Any) -> None:
        groups = self.groups_of(event)
        kept = masked(groups[event.control_group], event)
        groups[event.control_group] = sorted({*kept, *(info[0] for info in event.new_unit_info)})

    def on_SetControlGroupEvent(self, event: Any) -> None:
        groups = self.groups_of(event)
        groups[event.control_group] = groups[ALL_SELECTED]

    def on_AddToControlGroupEvent(self, event: Any) -> None:
        groups = self.groups_of(event)
        groups[event.control_group] = sorted({*masked(groups[event.control_group], event), *groups[ALL_SELECTED]})

    def on_GetControlGroupEvent(self, event: Any) -> None:
        groups = self.groups_of(event)
        groups[ALL_SELECTED] = masked(groups[event.control_group], event)

    def on_TargetPointCommandEvent(self, event: Any) -> None:
        """Send the selected units there; buildings take it as their rally point."""
        point = np.array([event.x, event.y], float)
        for tag in self.groups_of(event)[ALL_SELECTED]:
            unit = self.units.get(tag)
            if unit is None or unit.owner != event.player.pid:
                continue
            if not self.moves(unit):
                self.rally[tag] = point
                continue
            unit.advance(event.frame)
            unit.way = [*unit.way, point] if event.flag["queued"] else [point]

    on_TargetUnitCommandEvent = on_TargetPointCommandEvent
    on_UpdateTargetPointCommandEvent = on_TargetPointCommandEvent
    on_UpdateTargetUnitCommandEvent = on_TargetPointCommandEvent

    def on_BasicCommandEvent(self, event: Any) -> None:
        """Stop the selected units, if that is the command."""
        if event.ability_name not in ("Stop", "HoldPosition"):
            return
        for tag in self.groups_of(event)[ALL_SELECTED]:
            unit = self.units.get(tag)
            if unit is not None and unit.owner == event.player.pid:
                unit.advance(event.frame)
                unit.way = []

    def groups_of(self, event: Any) -> list[list[int]]:
        """The control groups of the player of an event; those of an observer are not kept."""
        return self.groups.get(getattr(event.player, "pid", 0)) or [[] for _ in range(ALL_SELECTED + 1)]

    def moves(self, unit: _Unit) -> bool:
        """Whether it is neither a building nor neutral, an egg or a larva."""
        kind = unit.kind.lower()
        return unit.owner in self.groups and (kind in self.army or unit.kind in WORKERS or unit.kind in NO_ARMY)


def scouting(seen: np.ndarray, start: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """What a worker `seen` (n, 3) did from when it last left home, in a list; or an empty list if it did not go far."""
    way = other - start
    progress = (seen[:, :2] - start) @ way / (way @ way)
    if progress.max() < CAME_FAR:
        return []
    before = np.flatnonzero(progress[: int((progress >= CAME_FAR).argmax())] < LEFT_HOME)
    path = seen[before[-1] if len(before) else 0 :]
    return [path] if len(path) > 1 else []


def masked(group: list[int], event: Any) -> list[int]:
    """What remains of a selection, which is in order of the units' numbers, after the event's removals."""
    kind, data = event.mask_type, event.mask_data
    if kind == "Mask":
        removed = {k for k, bit in enumerate(data) if bit}
    elif kind == "OneIndices":
        removed = set(data)
    elif kind == "ZeroIndices":
        removed = set(range(len(group))) - set(data)
    else:
        return group
    return [tag for k, tag in enumerate(group) if k not in removed]
