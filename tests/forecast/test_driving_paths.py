"""Paths of drivers: on the map of their scenario, without styles; and what trained drivers and their codes add."""

import json
import math
import shlex
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from follow_world import record_followers
from replay_world import record_world
from synthetic import hall, recorded

from infogail.cli import main
from infogail.envs.catalogue import get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.forecast.driving import import_driving, paths_of
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.paths import RecordedPaths
from infogail.forecast.reading import Reading, judge_reading, moves_made
from infogail.forecast.walks import make_walks


@pytest.fixture(scope="module")
def recording():
    return record(get_scenario("pass"), 20, 0)[0]


@pytest.fixture(scope="module")
def paths(recording):
    return paths_of(recording, "pass.safetensors")


def test_a_pass_is_drawn_around_the_lead(recording, paths):
    assert len(paths) == 20 and paths.source == "pass" and paths.stretch == 5.0
    assert paths.axes == ("ahead of the lead car [m]", "to its left [m]")
    states = recording.trajectory(3)
    assert paths.path(3)[:, 0] == pytest.approx(states[:, 0, 0] - states[:, 1, 0])
    assert paths.path(3)[:, 1] == pytest.approx(states[:, 1, 1] - states[:, 0, 1])
    assert paths.seconds(3)[[1, -1]] == pytest.approx((0.2, 12.0))
    beside = [path[abs(path[:, 0]).argmin(), 1] > 0 for path in (paths.path(k) for k in range(20))]
    assert beside == (recording.styles == 0).tolist()  # left is up
    assert sorted(map(tuple, paths.obstacles[:, :2].tolist())) == [(-2.5, -1), (-2.5, 1), (2.5, -1), (2.5, 1)]


def test_what_runs_did_not_learn_from_is_held_out_and_styles_stay_behind(recording, paths):
    assert np.flatnonzero(paths.held_out()).tolist() == [16, 17, 18, 19] and recording.num_training == 16
    other = paths_of(replace(recording, styles=1 - recording.styles), "pass.safetensors")
    for name in ("points", "times", "bounds", "scene", "group"):
        assert np.array_equal(getattr(paths, name), getattr(other, name))


@pytest.mark.parametrize("name", ["turn", "highway-manners"])
def test_other_scenarios_are_drawn_along_the_road(name):
    recording, _ = record(get_scenario(name), 10, 0)
    paths, scenario = paths_of(recording, "file"), recording.scenario
    states, scene = recording.trajectory(0), recording.scene(0)
    along = scenario.distance(states, scene)
    start = 0.0 if name == "turn" else along[0]
    assert paths.path(0)[:, 0] == pytest.approx(along - start)
    assert paths.path(0)[:, 1] == pytest.approx(scenario.lane_offset(states, scene))


def test_cells_are_longer_than_wide(paths):
    walks = make_walks(paths, None, None, 0)
    grid = walks.grid
    assert grid.size.tolist() == [5 * grid.cell, grid.cell] and 600 < len(grid) < 2600
    middle = grid.middles(np.array([(2.0, 3.0)]))
    assert middle == pytest.approx(np.array([(grid.left + 12.5 * grid.cell, grid.bottom + 3.5 * grid.cell)]))
    assert grid.walk(middle).tolist() == [3 * grid.columns + 2]
    left, right, _, top = grid.extent
    assert left == paths.points[:, 0].min() and right >= paths.points[:, 0].max() and top >= paths.points[:, 1].max()


def readers(beliefs):
    """A driver whose posterior has these `beliefs` (T + 1, K) along each demonstration of six observations."""
    bounds, remaining = 6 * np.arange(len(beliefs) + 1), iter(beliefs)
    demonstrations = SimpleNamespace(episode_bounds=bounds, observations=np.zeros((bounds[-1], 1)), actions=None)
    demonstrations.actions = demonstrations.observations
    driver = SimpleNamespace(belief=lambda observations, actions: next(remaining))
    scenario = SimpleNamespace(policy_frequency=1)
    return driver, SimpleNamespace(demonstrations=demonstrations, scenario=scenario)


def test_a_code_that_is_read_tells_the_way():
    """People go straight on for 6 s, then turn left or right by their code; the moves do not tell before."""
    ways = np.random.default_rng(0).integers(2, size=60)
    ahead = [(0.5 + 8.0 / 6.0 * k, 6.5) for k in range(7)]
    paths = recorded([[*ahead, (13.5, 6.5 + (5.0 if way else -5.0))] for way in ways], step=1.0)
    walks = make_walks(paths, 1.0, 1, 0)
    model = MaxEnt(walks)
    sure = np.linspace(0.5, 1.0, 7)
    driver, recording = readers([np.stack((1 - sure, sure), -1)[:, :: 1 if way else -1] for way in ways])
    reading = Reading(model, driver, recording)
    assert reading.codes.tolist() == [0, 1] and reading.prior[1] == pytest.approx(ways[:48].mean())
    result = judge_reading(walks, paths, model, reading)
    plain, by_moves, read = (result[f"nll_rest{name}"] for name in ("", "_codes_by_moves", "_codes_read"))
    assert read[0] == pytest.approx(by_moves[0], abs=0.05) and read[0] < plain[0] + 0.02
    left = np.mean([len(moves) for moves in walks.held_out.moves]) - moves_made(walks, paths, 0, 5)
    gain = math.log(2) + math.log(sure[5])  # of who is sure instead of in doubt, on each path
    assert (by_moves[5] - read[5]) * left == pytest.approx(gain, abs=0.2)
    assert (plain[5] - read[5]) * left > gain - 0.2
    assert reading.belief(0, 3) == pytest.approx(np.array((0.25, 0.75))[:: 1 if ways[0] else -1])


def test_moves_that_have_been_made():
    paths = recorded([[(0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (9.5, 0.5)]] * 15, step=1.0)
    walks = make_walks(paths, 1.0, 1, 0)
    # The first cell gives no state, the second the first heading: moves are counted from the third on.
    assert [moves_made(walks, paths, 0, points) for points in (0, 1, 2, 3)] == [0, 0, 1, 8]


def test_from_a_recording_to_metrics(tmp_path, monkeypatch, capsys, recording):
    monkeypatch.chdir(tmp_path)
    recording.save(tmp_path / "pass.safetensors")
    main(shlex.split("import pass.safetensors --out paths.safetensors"))
    assert "paths: 20 with 1,220 points" in capsys.readouterr().out
    short = "--iterations 1 --settling-iterations None --num-envs 16 --bc-steps 20 --rim-steps 5"
    main(shlex.split(f"train pass --demonstrations pass.safetensors --out run {short}"))
    capsys.readouterr()
    main(shlex.split("forecast paths.safetensors --cell 1 --run run --episodes 4 --out out --json"))
    result = json.loads(capsys.readouterr().out)
    assert 1 <= result["run_infogail_episodes"] <= 4 and result["run_infogail_occupancy_kl"] > 0
    assert len(result["nll_rest_codes_read"]) == len(result["rest_after_seconds"]) == 7
    assert (tmp_path / "out/reading.png").stat().st_size > 10_000
    hall(20).save(tmp_path / "hall.safetensors")
    for arguments, line in (
        ("forecast hall.safetensors --run run --out other", "--run run: did not learn from hall.csv"),
        ("forecast paths.safetensors --run run run --out other", "--run run: is of infogail, as is another"),
        ("forecast paths.safetensors --run none --out other", "none/manifest.json: no such file"),
        ("forecast paths.safetensors --run run --folds 2 --out other", "--folds: a run learned from all but"),
        ("import paths.safetensors --out o.safetensors", "paths.safetensors: holds no driving"),
        ("import pass.safetensors run --kind paths --out o.safetensors", "import pass.safetensors: give a file of"),
    ):
        with pytest.raises(SystemExit):
            main(shlex.split(arguments))
        assert capsys.readouterr().err.startswith(f"infogail: {line}")


def test_import_reads_files_of_driving_alone(tmp_path, recording):
    recording.save(tmp_path / "pass.safetensors")
    paths, report = import_driving(tmp_path / "pass.safetensors")
    assert isinstance(paths, RecordedPaths) and report.paths == 20 and paths.files == ("pass.safetensors",)
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(BadInput, match="not a readable safetensors file"):
        import_driving(tmp_path / "text.safetensors")


def test_recorded_people_are_drawn_and_drivers_are_held_out_whole(tmp_path):
    following = record_followers(tmp_path / "follow.safetensors")
    paths = paths_of(following, "follow.safetensors")
    states = following.scenario.recorded_states(np.arange(1))[0]
    gap = states[:, 1, 0] - states[:, 0, 0]
    assert paths.path(0)[:, 0] == pytest.approx(-gap) and (paths.points[:, 1] == 0.0).all()
    track = following.world.track
    held_out = paths.held_out()
    assert not set(track[held_out]) & set(track[~held_out]) and not held_out[: following.num_training].any()
    replayed = record_world(tmp_path / "replay.safetensors")
    path = paths_of(replayed, "replay.safetensors").path(0)
    assert path[0, 0] == 0.0 and path[-1] - path[0] == pytest.approx((60.0, 0.0), abs=0.1)  # 6 s at 10 m/s
