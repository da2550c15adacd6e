"""Peers, distances and divergences by hand; and what people of a hall do, learned and forecast."""

import json
import math
import shlex

import numpy as np
import pytest
from synthetic import hall, recorded

from infogail.cli import main
from infogail.forecast.forecasters import ENDED, MaxEnt, constant_velocity, count_table, straight
from infogail.forecast.grid import HEADINGS
from infogail.forecast.judge import (
    PEERS,
    SMOOTHING,
    divergence,
    judge,
    measure,
    medoids,
    modified_hausdorff,
    occupancy,
    occupancy_floor,
)
from infogail.forecast.walks import make_walks

KEYS = ("nll_per_step", "nll_per_step_goal_unknown", "mhd", "mhd_metres", "occupancy_kl")


@pytest.fixture(scope="module")
def alley():
    """A row of eight cells. Twelve people to learn from and three held out go to its two ends in turn.

    Each path has seven moves: the six after the first, and the stop.
    """
    there = [(0.5, 0.5), (7.9, 0.5)]
    return recorded([there if k % 2 else there[::-1] for k in range(15)])


@pytest.fixture(scope="module")
def walks():
    return make_walks(hall(120), 1.0, None, 0)


@pytest.fixture(scope="module")
def model(walks):
    return MaxEnt(walks)


def test_tables_count(alley):
    """With one goal. α is the smallest, 0.01. The last cell has one move and the stop, the others two and the stop."""
    walks = make_walks(alley, 1.0, 1, 0)
    assert (walks.grid.columns, walks.grid.rows, sum(map(len, walks.held_out.moves))) == (8, 1, 21)
    last = -math.log(6.01 / 6.02)
    by_cell = measure(walks, count_table(walks, by_heading=False), 0)
    assert by_cell["nll_per_step"] == pytest.approx((-6 * math.log(6.01 / 12.03) + last) / 7, abs=1e-6)
    by_heading = measure(walks, count_table(walks, by_heading=True), 0)
    assert by_heading["nll_per_step"] == pytest.approx((-6 * math.log(6.01 / 6.03) + last) / 7, abs=1e-6)
    assert by_heading["nll_per_step_goal_unknown"] == pytest.approx(by_heading["nll_per_step"], abs=1e-12)


@pytest.mark.parametrize("make", [straight, constant_velocity])
def test_lines_keep_their_direction_and_stop_as_often_as_people(alley, make):
    """With both goals. In the four cells nearest to theirs, twelve people make 48 moves, of which 12 are stops."""
    walks = make_walks(alley, 1.0, 2, 0)
    result = measure(walks, make(walks), 0)
    path = 3 * math.log(49 / 37) + math.log(49 / 12)
    assert result["nll_per_step"] == pytest.approx(path / 7, abs=1e-5)
    # Of six who start near one goal, six go to the other; plus one.
    assert result["nll_per_step_goal_unknown"] == pytest.approx((path + math.log(8 / 7)) / 7, abs=1e-5)
    assert result["mhd_best_guess"] == 0.0


def test_modified_hausdorff_distance():
    a, b = np.array([(0.0, 0.0), (1.0, 0.0)]), np.array([(0.0, 0.0), (1.0, 2.0)])
    assert modified_hausdorff(a, b) == modified_hausdorff(b, a) == 1.0  # the means are 0.5 and 1
    assert modified_hausdorff(a, a) == 0.0 and modified_hausdorff(a, a + 3.0) == pytest.approx((18**0.5 + 13**0.5) / 2)


def test_divergence():
    p, q = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    small = SMOOTHING / 2
    assert divergence(p, q) == pytest.approx((1 - small) * math.log(2 * (1 - small)) + small * math.log(2 * small))
    assert divergence(q, q) == 0.0


def test_occupancy(walks):
    shares = occupancy(walks.grid, [np.array([0, 1, 1]), np.array([5])])
    assert shares[[0, 1, 5]].tolist() == [0.25, 0.5, 0.25] and shares.sum() == 1.0
    assert 0.0 < occupancy_floor(walks, 0) < 1.0


def test_the_best_guess_is_amid_the_samples(walks):
    rows = [np.arange(5) + walks.grid.columns * row for row in (0, 1, 1, 1, 6)] * 4
    assert medoids(walks.grid, rows)[0].tolist() == rows[1].tolist()


def test_people_who_walk_around_a_pillar(walks, model):
    result = judge(walks, model, 0)
    assert len(walks.goals) == 2
    for peer in PEERS:
        assert {f"{peer}_{key}" for key in KEYS} <= set(result)
        for key in ("nll_per_step", "nll_per_step_goal_unknown"):
            assert result[key] < 0.95 * result[f"{peer}_{key}"]
    for peer in ("straight", "constant_velocity"):
        assert result["mhd"] < result[f"{peer}_mhd"] and result["occupancy_kl"] < result[f"{peer}_occupancy_kl"]
    assert result["occupancy_kl"] < 1.5 * result["occupancy_kl_floor"]
    assert result["mhd_metres"] == pytest.approx(result["mhd"] * walks.grid.cell)
    assert (result["paths"], result["held_out_paths"]) == (120, 24)


def test_the_pillar_has_a_low_reward_and_samples_avoid_it(walks, model):
    drawn = model.sample(walks.held_out, np.random.default_rng(0))
    assert drawn.shape[0] == 24 and (drawn[:, 0] >= 0).all() and (drawn[:, -1] == ENDED).all()
    x, y = (walks.grid.places(drawn[drawn != ENDED] // HEADINGS) * walks.grid.cell).T
    x, y = x + walks.grid.left, y + walks.grid.bottom
    behind = (x > 8.0) & (x < 11.0) & (y > 3.5) & (y < 5.5)
    beside = (x > 8.0) & (x < 11.0) & ~behind
    assert behind.sum() < 0.05 * beside.sum()


def test_the_goal_shows(walks, model):
    prior = walks.goal_prior(walks.held_out)
    right = 0
    for states, moves, goal, own in zip(
        walks.held_out.states, walks.held_out.moves, walks.held_out.goals, prior, strict=True
    ):
        posterior = model.goal_posterior(states, own)
        assert posterior[0] == pytest.approx(own) and posterior[-1, goal] == pytest.approx(1.0)
        assert posterior.sum(1) == pytest.approx(1.0)
        right += posterior[len(moves) * 3 // 4].argmax() == goal
    assert right >= 18


def command(arguments):
    """The exit status of `infogail ARGUMENTS`."""
    try:
        main(shlex.split(arguments))
    except SystemExit as stop:
        return stop.code or 0
    return 0


def test_from_a_table_to_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paths = hall(40)
    rows = [
        f"{time},{k},{x},{y}"
        for k in range(40)
        for time, (x, y) in zip(paths.times[paths.bounds[k] :], paths.path(k), strict=False)
    ]
    (tmp_path / "hall.csv").write_text("\n".join(["time,id,x,y", *rows]))
    assert command("import hall.csv") == 0
    out = capsys.readouterr().out
    assert "paths: 40 with 1,600 points" in out and "imported: demos/paths.safetensors, 40 paths" in out
    assert command("forecast demos/paths.safetensors --cell 1 --json") == 0
    result = json.loads(capsys.readouterr().out)
    folder = tmp_path / "runs/forecast-paths"
    assert result == json.loads((folder / "metrics.json").read_text()) and set(KEYS) <= set(result)
    pictures = {"reward.png", "occupancy.png", "forecast.png", "forecast.mp4", "forecast.gif"}
    names = {"metrics.json", "forecast.safetensors", "paths.safetensors"} | pictures
    assert {file.name for file in folder.iterdir()} == names
    before = {name: (folder / name).read_bytes() for name in names}
    assert command("forecast demos/paths.safetensors --cell 1 --force") == 0
    out = capsys.readouterr().out
    assert "8 held-out of 40 paths" in out and "people vs people" in out
    assert before == {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("forecast none.safetensors", "none.safetensors: no such file; import the paths again"),
        ("forecast hall.safetensors --cell 0", "--cell 0.0: give a number above 0"),
        ("forecast hall.safetensors --goals 0", "--goals 0: give at least 1"),
        ("forecast hall.safetensors --seed -1", "--seed -1: give at least 0"),
        ("forecast hall.safetensors --out taken", "taken/metrics.json: already exists; replace it with --force"),
        ("forecast hall.csv", "hall.csv: not a readable safetensors file"),
        ("import hall.csv --kind paths", "hall.csv: line 2: x is 'one', not a finite number"),
        ("import none.csv --kind paths", "none.csv: no such file"),
        ("import hall.csv --held-out hall.csv", "--held-out: 'infogail forecast' holds out the last fifth"),
        ("import hall.csv --out hall.safetensors", "hall.safetensors: already exists"),
    ],
)
def test_refused_in_one_line(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    hall(20).save(tmp_path / "hall.safetensors")
    (tmp_path / "hall.csv").write_text("time,id,x,y\n0,1,one,2\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/metrics.json").touch()
    assert command(arguments) == 2
    out, errors = capsys.readouterr()
    assert out == "" and errors.startswith(f"infogail: {line}") and errors.count("\n") == 1
