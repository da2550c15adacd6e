"""The command `infogail maps`, and the import of games of StarCraft II."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from infogail.envs.errors import BadInput

# Heavy packages are imported by the command, to keep --help fast.


def given_games(paths: tuple[Path, ...]) -> bool:
    """Whether the first of `paths` is a replay, or the derived npz file of armies."""
    if paths[0].suffix.lower() == ".sc2replay":
        return True
    if paths[0].suffix.lower() != ".npz":
        return False
    from infogail.starcraft.games import holds_armies

    return holds_armies(paths[0])


def import_games(paths: tuple[Path, ...], out: Path | None, force: bool) -> None:
    """Import replays, or the derived file: games to `out`, and beside it scouts, and armies to learn from."""
    from infogail.envs.files import check_output
    from infogail.envs.point_on_map import NAME, episodes_of
    from infogail.parallel.progress import progress_bar
    from infogail.starcraft.games import import_replays, read_armies

    out = out or Path("demos/starcraft.safetensors")
    scouts, armies = (out.with_name(f"{out.stem}-{name}{out.suffix}") for name in ("scouts", "armies"))
    for file in (out, scouts, armies):
        check_output(file, force)
    if paths[0].suffix.lower() == ".npz":
        if len(paths) > 1:
            raise BadInput(f"import {paths[0]}: give it alone, without other files")
        games, scouted, lines = read_armies(paths[0]), None, []
    else:
        with progress_bar("importing", len(paths)) as advance:
            games, scouted, report = import_replays(paths, lambda: advance(1))
        lines = report.lines()
    learned = ~games.held_out()
    games.save(out)
    episodes_of(games.relative()[learned]).save(armies)
    if scouted is not None:
        scouted.save(scouts)
    for line in lines:
        print(line)
    print(f"imported: {out}, {len(games.won):,} players of games of 8 minutes or more")
    print(f"imported: {armies}, episodes of {NAME}: {learned.sum():,} of them; the last fifth of the games is held out")
    if scouted is not None:
        print(f"imported: {scouts}, {len(scouted):,} paths for 'infogail forecast'")


@dataclass(frozen=True)
class Maps:
    """Map where each type of unit is in games of StarCraft II, and the winners' share in each cell."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """File of games, from 'infogail import GAME.SC2Replay …'."""
    out: Path | None = None
    """Output folder, for maps.json and maps.png; runs/maps-FILE by default."""
    force: bool = False
    """Overwrite existing files."""

    def run(self) -> None:
        from infogail.envs.files import check_output, write_atomically
        from infogail.parallel.terminal import print_table
        from infogail.starcraft.games import Games
        from infogail.starcraft.maps import CAUTION, as_json, unit_maps, write_maps

        out = self.out or Path("runs") / f"maps-{self.path.stem}"
        for name in ("maps.json", "maps.png"):
            check_output(out / name, self.force)
        games = Games.load(self.path)
        maps = unit_maps(games)
        text = json.dumps(as_json(games, maps), allow_nan=False)
        write_atomically(out / "maps.json", f"{text}\n".encode())
        picture = write_maps(out, games, maps)
        rows = []
        for each in maps:
            shown, telling = int((each.share == each.share).sum()), int(each.telling.sum())
            rows.append(
                [each.name, f"{each.players:,}", f"{each.winners / each.players:.0%}", f"{shown}", f"{telling}"]
            )
        title = f"{len(set(games.game.tolist())):,} games on {games.map_name}"
        print_table(title, ["", "players", "won", "cells shown", "whose interval excludes that"], rows)
        print("By chance, 1 interval in 20 does.", CAUTION)
        print(out / "maps.json")
        print(picture)
