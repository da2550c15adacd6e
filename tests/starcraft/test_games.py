"""Files of games: imported from replays, mirrored, without names; the derived npz; the commands; malformed files."""

import json

import numpy as np
import pytest
from stand_in import go, replay, select

from infogail.cli import main
from infogail.envs.data.episodes import Episodes
from infogail.envs.errors import BadInput
from infogail.envs.files import seal, unseal
from infogail.envs.point_on_map import NAME
from infogail.envs.tasks import GymTask
from infogail.forecast.paths import RecordedPaths
from infogail.starcraft import games as module
from infogail.starcraft.games import MAX_REPLAY, SCHEMA, Games, import_replays, read_armies


@pytest.fixture
def replays(tmp_path, monkeypatch):
    """Files that are read as the given stand-ins; None: by sc2reader."""
    pytest.importorskip("sc2reader", reason="needs sc2reader, of the extra 'starcraft'")
    read = module.load_replay

    def files(*stand_ins):
        paths = [tmp_path / f"Somebody vs Nobody {k}.SC2Replay" for k in range(len(stand_ins))]
        for k, path in enumerate(paths):
            path.write_bytes(b"%d" % k)
        kept = {b"%d" % k: each for k, each in enumerate(stand_ins) if each is not None}
        monkeypatch.setattr(module, "load_replay", lambda content: kept.get(content) or read(content))
        return paths

    return files


MARCH = [
    *(lambda one, two: select(one, [13], 1), lambda one, two: go(one, 120, 100, 16 * 100)),  # a scout
    *(lambda one, two: select(two, [23], 1), lambda one, two: go(two, 20, 20, 16 * 100)),
    *(lambda one, two: select(one, [11, 12], 1900, "ZeroIndices", []), lambda one, two: go(one, 110, 20, 16 * 120)),
    *(lambda one, two: select(two, [21, 22], 1900, "ZeroIndices", []), lambda one, two: go(two, 30, 100, 16 * 120)),
]


def test_games_are_mirrored_and_numbered_by_when_they_were_played(replays):
    elsewhere = replay(played=5)
    elsewhere.tracker_events[0].x = 50  # a mineral field that is elsewhere
    paths = replays(replay(played=9, commands=MARCH), replay(played=2), replay(400, played=4), elsewhere, None)
    games, scouts, report = import_replays([*paths, paths[0]])
    assert games.game.tolist() == [0, 0, 2, 2] and games.won.tolist() == [True, False] * 2
    assert games.starts.tolist() == [[20, 20], [120, 100]]
    assert games.centroid[2, -1].tolist() == [110, 20]
    assert games.centroid[3, -1].tolist() == [140 - 30, 120 - 100]  # as player 1 would have gone
    assert games.relative()[2, -1].tolist() == pytest.approx([9000 / 16400, -7200 / 16400])
    np.testing.assert_allclose(games.absolute(games.relative()), games.centroid, atol=1e-4)
    assert scouts.group.tolist() == [2, 2] and scouts.path(1)[-1].tolist() == [120, 100]
    assert report.games == 3 and report.lines()[2] == (
        "replays left out: 1 that sc2reader cannot read, 1 that were given twice, 1 of other maps, or other starts"
    )


def test_no_names_are_kept(replays, tmp_path):
    paths, out = replays(replay(commands=MARCH)), tmp_path / "games.safetensors"
    main(["import", *map(str, paths), "--out", str(out)])
    for name in ("games", "games-scouts", "games-armies"):
        content = (tmp_path / f"{name}.safetensors").read_bytes()
        assert b"Somebody" not in content and b"Nobody" not in content
    assert len(RecordedPaths.load(tmp_path / "games-scouts.safetensors")) == 2
    assert Episodes.load(tmp_path / "games-armies.safetensors", GymTask(NAME).interface).num_episodes == 2


def test_replays_of_which_none_can_be_used(replays, tmp_path):
    large = tmp_path / "large.SC2Replay"
    with large.open("wb") as file:
        file.truncate(MAX_REPLAY + 1)
    with pytest.raises(
        BadInput, match=r"no game of 8 minutes or more remains \(1 that sc2reader.*1 of more than 8,388,608"
    ):
        import_replays([*replays(None), large])
    with pytest.raises(BadInput, match="no such file; give replays"):
        import_replays([tmp_path / "none.SC2Replay"])


@pytest.fixture
def armies(tmp_path):
    """A derived npz file of ten players, of whom the first of each game wins and comes to the enemy."""
    path = tmp_path / "armies.npz"
    number, steps = 10, 49
    centroid = np.full((number, steps, 2), np.nan, np.float32)
    centroid[:, 10:] = [24, 136]
    centroid[::2, 20:] = [140, 20]
    occupancy = np.zeros((number, 17, 18), np.int32)
    occupancy[:, 15, 1], occupancy[::2, 1, 16] = 30, 10
    arrays = {
        "centroid": centroid,
        "occupancy": occupancy,
        "race": np.array(["Terran", "Zerg"] * 5),
        "won": np.arange(number) % 2 == 0,
        "bases_at_6min": np.full(number, 2, np.int8),
        "game": np.repeat(np.arange(100, 105), 2),
    }

    def write(**changes):
        np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
        return path

    return write


def test_the_derived_file(armies, tmp_path):
    games = read_armies(armies())
    assert games.held_out().tolist() == [False] * 8 + [True] * 2 and games.race.tolist() == [1, 2] * 5
    relative = games.relative()
    assert np.isnan(relative[:, 9]).all() and relative[:, 10].tolist() == [[0, 0]] * 10
    assert relative[:2, -1].tolist() == [[1, 0], [0, 0]]
    assert games.seen[games.seen[:, 0] == 0].tolist() == [[0, 0, 16, 1, 10], [0, 0, 1, 15, 30]]
    games.save(tmp_path / "games.safetensors")
    again = Games.load(tmp_path / "games.safetensors")
    assert np.array_equal(again.centroid, games.centroid, equal_nan=True) and again.types == ("all",)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"won": None}, r"lacks an array \(won"),
        ({"won": np.zeros(3, bool)}, r"centroid is float32 \(10, 49, 2\), not float32 \(3, 49, 2\)"),
        ({"race": np.array(["Human"] * 10)}, "a race is unknown"),
        ({"occupancy": np.zeros((10, 3))}, r"occupancy is not \(P, rows, columns\)"),
        ({"game": np.array([{}] * 10)}, "Object arrays cannot be loaded"),
        ({"centroid": np.full((10, 49, 2), np.inf)}, "out of range"),
    ],
)
def test_a_malformed_derived_file_is_refused_in_one_line(armies, changes, problem):
    with pytest.raises(BadInput, match=problem) as error:
        read_armies(armies(**changes))
    assert "\n" not in str(error.value)


def test_a_changed_file_of_games_is_refused(armies, tmp_path):
    path = tmp_path / "games.safetensors"
    with pytest.raises(BadInput, match="no such file; import replays"):
        Games.load(path)
    read_armies(armies()).save(path)
    arrays, metadata = unseal(path, SCHEMA)
    for name, index, value, problem in (
        ("seen", (0, 0), 10, "unknown players"),
        ("seen", (0, 2), 100, "outside the map"),
        ("race", 0, 3, "race is unknown"),
        ("starts", ..., 1.0, "both starts are the same"),
    ):
        changed = arrays[name].copy()
        changed[index] = value
        path.write_bytes(seal(arrays | {name: changed}, metadata))
        with pytest.raises(BadInput, match=problem):
            Games.load(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"games\.safetensors: "):
        Games.load(path)


def test_from_the_derived_file_to_maps_and_a_trained_point(armies, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["import", str(armies())])
    main(["maps", "demos/starcraft.safetensors"])
    out = capsys.readouterr().out
    assert "5 games on Akilon Wastes" in out and "Winning comes first" in out
    assert json.loads((tmp_path / "runs/maps-starcraft/maps.json").read_text())["units"]["all"]["players"] == 10
    small = ["--num-envs", "4", "--iterations", "1", "--warm-start-steps", "20", "--rim-tries", "1", "--rim-steps", "2"]
    main(["train", NAME, "--demonstrations", "demos/starcraft-armies.safetensors", "--out", "runs/point", *small])
    main(["evaluate", "runs/point", "--episodes", "4", "--json"])
    assert json.loads((tmp_path / "runs/point/metrics.json").read_text())["length_mean"] == 48
    with pytest.raises(SystemExit) as stop:
        main(["maps", "demos/starcraft.safetensors"])
    assert stop.value.code == 2 and "already exists" in capsys.readouterr().err


def test_real_armies_read_as_their_readme_says():
    from pathlib import Path

    path = Path(__file__).parents[3] / "shared/data/starcraft/akilon_army.npz"
    if not path.is_file():
        pytest.skip(f"needs {path.name}, which is not shipped")
    games = read_armies(path)
    assert len(games.won) == 962 and len(np.unique(games.game)) == 481
    # In the first minutes of their armies people are near home.
    first = np.nanmedian(games.relative()[:, :12], axis=(0, 1))
    assert np.hypot(*first) < 0.2
