"""Games of StarCraft II on one map, mirrored so that everybody starts in the same corner, in one sealed file."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from infogail.envs.errors import BadInput
from infogail.envs.files import MAX_FILE, UnreadableFile, seal, unseal, write_atomically
from infogail.envs.recordings.report import listed
from infogail.forecast.paths import HELD_OUT, RecordedPaths
from infogail.starcraft.replays import LEAST_SECONDS, MOMENTS, Game, Side, UnusableReplay, load_replay, read_game

SCHEMA = "infogail-games-1"
RACES = ("Protoss", "Terran", "Zerg")
CELL = 8.0  # [map units]
MAX_REPLAY = 2**23  # [bytes]; a long game of two players has 300 kB
ALL_UNITS = "all"  # the type in files that do not tell types apart
AKILON_WASTES = np.array([[24.0, 136.0], [140.0, 20.0]]), np.array([12.0, 12.0])
"""Starts, and the lower left corner of the cells, of the derived npz files, which do not hold them."""


@dataclass(frozen=True)
class Games:
    """P players' games, two of each game, on one map.

    Raises:
        ValueError: shapes, types or values do not fit; the message says which.
    """

    centroid: np.ndarray
    """(P, T, 2) float32 [map units]: the army's, at `MOMENTS`; NaN where there is none"""
    won: np.ndarray
    """(P,) bool"""
    race: np.ndarray
    """(P,) int64: index in `RACES`"""
    bases: np.ndarray
    """(P,) int64: at 6 min"""
    game: np.ndarray
    """(P,) int64: number of the game; later games have larger ones"""
    starts: np.ndarray
    """(2, 2) float64 [map units]: one's own, and the enemy's"""
    corner: np.ndarray
    """(2,) float64 [map units]: lower left corner of the cells"""
    seen: np.ndarray
    """(S, 5) int64: player, type, column and row of a cell of width `CELL`, and how many units times moments"""
    types: tuple[str, ...]
    """Names of the types of units."""
    map_name: str

    def __post_init__(self) -> None:
        players = len(self.won)
        for name, kind, shape in (
            ("centroid", np.float32, (players, len(MOMENTS), 2)),
            ("won", np.bool_, (players,)),
            ("race", np.int64, (players,)),
            ("bases", np.int64, (players,)),
            ("game", np.int64, (players,)),
            ("starts", np.float64, (2, 2)),
            ("corner", np.float64, (2,)),
            ("seen", np.int64, (len(self.seen), 5)),
        ):
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, not {np.dtype(kind)} {shape}")
        if not players or not len(self.seen):
            raise ValueError("it holds no games, or no units")
        if not (np.isfinite(self.starts).all() and np.isfinite(self.corner).all() and np.ptp(self.starts, 0).any()):
            raise ValueError("starts or corner are not finite, or both starts are the same")
        if np.isinf(self.centroid).any() or self.seen.min() < 0 or self.seen.max() > 2**31:
            raise ValueError("a position or a count is out of range")
        if self.race.min() < 0 or self.race.max() >= len(RACES):
            raise ValueError("a race is unknown")
        if self.seen[:, 0].max() >= players or self.seen[:, 1].max() >= len(self.types) or self.seen[:, 2:4].max() > 99:
            raise ValueError("units are of unknown players or types, or outside the map")

    def held_out(self) -> np.ndarray:
        """(P,) bool: the last fifth of the games."""
        games = np.unique(self.game)
        return np.isin(self.game, games[len(games) - int(HELD_OUT * len(games)) :])

    def relative(self) -> np.ndarray:
        """(P, T, 2): `centroid` relative to the starts, as `infogail.envs.point_on_map` has positions."""
        x, y = self.starts[1] - self.starts[0]
        return (self.centroid - self.starts[0]) @ np.array([[x, -y], [y, x]]) / (x * x + y * y)

    def absolute(self, relative: np.ndarray) -> np.ndarray:
        """(…, 2) [map units]: on the map, from positions (…, 2) relative to the starts."""
        x, y = self.starts[1] - self.starts[0]
        return relative @ np.array([[x, y], [-y, x]]) + self.starts[0]

    def box(self, rows: int, columns: int) -> tuple[float, float, float, float]:
        """Left, right, bottom and top [map units] of a grid of cells."""
        (left, bottom), width, height = self.corner.tolist(), CELL * columns, CELL * rows
        return left, left + width, bottom, bottom + height

    def save(self, path: Path) -> None:
        """Write the file `path`.

        Raises:
            OSError: it cannot be written.
        """
        names = ("centroid", "won", "race", "bases", "game", "starts", "corner", "seen")
        metadata = {"schema": SCHEMA, "types": json.dumps(self.types), "map": self.map_name}
        write_atomically(path, seal({name: getattr(self, name) for name in names}, metadata))

    @staticmethod
    def load(path: Path) -> Games:
        """Read and validate the file `path`.

        Raises:
            BadInput: it is missing, is no such file, or was damaged.
        """
        remedy = "import replays again with 'infogail import GAME.SC2Replay …'"
        if not path.is_file():
            raise BadInput(f"{path}: no such file; {remedy}")
        try:
            arrays, metadata = unseal(path, SCHEMA)
            return Games(**arrays, types=tuple(json.loads(metadata["types"])), map_name=metadata["map"])
        except (UnreadableFile, OSError, ValueError, TypeError, KeyError) as error:
            raise BadInput(f"{path}: {' '.join(str(error).split())}; {remedy}") from error


@dataclass(frozen=True)
class GamesReport:
    """The summary of an import of replays."""

    files: int
    games: int
    map_name: str
    errors: np.ndarray
    """(N,) [map units]: see `replays.Game`"""
    left_out: Counter[str]
    """Replays that were left out, by reason."""

    def lines(self) -> list[str]:
        """The summary as human-readable lines."""
        middle, high = np.quantile(self.errors, (0.5, 0.9)) if len(self.errors) else (np.nan, np.nan)
        return [
            f"replays: {self.files:,}, of which {self.games:,} are used, on {self.map_name!r}",
            f"units were {middle:.1f} map units from where they were taken to be, in the median of "
            f"{len(self.errors):,} samples; 90 % at most {high:.1f}",
            f"replays left out: {listed(self.left_out)}",
        ]


def import_replays(
    files: Sequence[Path], on_file: Callable[[], None] = lambda: None
) -> tuple[Games, RecordedPaths | None, GamesReport]:
    """Read replays; of several maps, the one with the most games. No names of players or files, nor chat, are kept.

    Returns:
        the games of at least `LEAST_SECONDS`; scouts' paths of all games, None if there are none; the summary.

    Raises:
        BadInput: a file is missing, sc2reader is not installed, or no game remains.
    """
    left_out, games, known = Counter[str](), [], set[bytes]()
    for path in files:
        if not path.is_file():
            raise BadInput(f"{path}: no such file; give replays of StarCraft II")
        try:
            if path.stat().st_size > MAX_REPLAY:
                raise UnusableReplay(f"of more than {MAX_REPLAY:,} bytes")
            content = path.read_bytes()
            if (digest := sha256(content).digest()) in known:
                raise UnusableReplay("that were given twice")
            known.add(digest)
            games.append(read_game(load_replay(content)))
        except UnusableReplay as error:
            left_out[str(error)] += 1
        on_file()
    usual = next((place for place, _ in Counter(game.place for game in games).most_common(1)), None)
    left_out["of other maps, or other starts"] = sum(game.place != usual for game in games)
    games = sorted((game for game in games if game.place == usual), key=lambda game: game.played)
    long = [game for game in games if game.seconds >= LEAST_SECONDS]
    if not long:
        problem = f"no game of {LEAST_SECONDS / 60:g} minutes or more remains ({listed(+left_out)} left out)"
        raise BadInput(f"{files[0]}: {problem}; give replays of one against one")
    errors = np.concatenate([game.errors for game in games])
    report = GamesReport(len(files), len(games), long[0].map_name, errors, +left_out)
    starts = np.array(sorted(side.start.tolist() for side in games[0].sides))
    return _games(games, starts), _scouts(games, starts), report


def _mirrored(points: np.ndarray, side: Side, starts: np.ndarray) -> np.ndarray:
    """Points (…, 2) of `side`, turned by half a turn about the middle unless it starts at the first of `starts`."""
    return points if (side.start == starts[0]).all() else starts.sum(0) - points


def _games(games: Sequence[Game], starts: np.ndarray) -> Games:
    """Of games of at least `LEAST_SECONDS`; all are numbered."""
    sides = [(k, side) for k, game in enumerate(games) if game.seconds >= LEAST_SECONDS for side in game.sides]
    types = sorted({kind for _, side in sides for kind, *_ in side.units})
    rows = [(p, types.index(kind), x, y) for p, (_, side) in enumerate(sides) for kind, x, y in side.units]
    number, kind, *places = (np.array(column) for column in zip(*rows, strict=True))
    mirror = np.array([(side.start != starts[0]).any() for _, side in sides])
    points = np.stack(places, 1)
    points = np.where(mirror[number][:, None], starts.sum(0) - points, points)
    corner = np.floor(points.min(0) / CELL) * CELL
    cells = ((points - corner) / CELL).astype(np.int64)
    cell, count = np.unique(np.column_stack((number, kind, cells)), axis=0, return_counts=True)
    return Games(
        np.stack([_mirrored(side.centroid, side, starts) for _, side in sides]).astype(np.float32),
        np.array([side.won for _, side in sides]),
        np.array([RACES.index(side.race) for _, side in sides]),
        np.array([side.bases for _, side in sides]),
        np.array([k for k, _ in sides]),
        starts,
        corner,
        np.column_stack((cell, count)),
        tuple(types),
        games[0].map_name,
    )


def _scouts(games: Sequence[Game], starts: np.ndarray) -> RecordedPaths | None:
    """The paths of all scouts, grouped by game; times are since the start of the game."""
    paths = [(k, side, path) for k, game in enumerate(games) for side in game.sides for path in side.scouts]
    if not paths:
        return None
    return RecordedPaths(
        np.concatenate([_mirrored(path[:, :2], side, starts) for _, side, path in paths]),
        np.concatenate([path[:, 2] for _, _, path in paths]),
        np.append(0, np.cumsum([len(path) for _, _, path in paths])).astype(np.int64),
        np.zeros(len(paths), np.int64),
        np.array([k for k, _, _ in paths]),
        ("replays",),  # their names may hold those of players
        "starcraft",
    )


def holds_armies(path: Path) -> bool:
    """Whether `path` is an npz file with `centroid`; not if it cannot be read."""
    try:
        with zipfile.ZipFile(path) as packed:
            return "centroid.npy" in packed.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def read_armies(path: Path) -> Games:
    """Read the derived file of Akilon Wastes: `centroid` (P, T, 2), `won`, `race`, `bases_at_6min`, `game` (P,) and
    `occupancy` (P, rows, columns), already mirrored.

    Raises:
        BadInput: it is damaged or malformed; one line that says what, where, and the remedy.
    """
    remedy = "give an npz file of armies, or replays"
    try:
        with zipfile.ZipFile(path) as packed:
            if (size := sum(member.file_size for member in packed.infolist())) > MAX_FILE:
                raise ValueError(f"holds {size:,} bytes, more than {MAX_FILE:,}")
        with np.load(path, allow_pickle=False) as arrays:
            occupancy, race = arrays["occupancy"], arrays["race"]
            if occupancy.ndim != 3 or not set(race.tolist()) <= set(RACES):
                raise ValueError("occupancy is not (P, rows, columns), or a race is unknown")
            player, row, column = np.nonzero(occupancy > 0)
            starts, corner = AKILON_WASTES
            return Games(
                arrays["centroid"].astype(np.float32),
                arrays["won"],
                np.array([RACES.index(name) for name in race.tolist()], np.int64),
                arrays["bases_at_6min"].astype(np.int64),
                arrays["game"].astype(np.int64),
                starts,
                corner,
                np.stack((player, 0 * player, column, row, occupancy[player, row, column].astype(np.int64)), 1),
                (ALL_UNITS,),
                "Akilon Wastes",
            )
    except KeyError as error:
        raise BadInput(f"{path}: lacks an array ({error.args[0]}); {remedy}") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, SyntaxError, TypeError) as error:
        raise BadInput(f"{path}: {' '.join(str(error).split())}; {remedy}") from error
