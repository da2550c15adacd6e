"""Styles of armies: what crossing means, permutation by game, and a short training that finds three styles."""

from dataclasses import replace

import numpy as np
import pytest

from infogail.envs.point_on_map import HORIZON, episodes_of
from infogail.evaluation.metrics import style_ami
from infogail.starcraft.games import Games
from infogail.starcraft.styles import SETTINGS, code_maps, k_means, labels, meanings, paths_of, read, train

COLUMNS = ("won", "race", "bases")
EARLY, LATE, NEVER = 8, 28, HORIZON + 1


@pytest.fixture(scope="module")
def games():
    """60 games on a line from (0, 0) to (100, 0), whose armies set out early, late, or not at all."""
    rng, number = np.random.default_rng(0), 120
    start = rng.permutation(np.repeat([EARLY, LATE, NEVER], number // 3))
    moments = np.arange(HORIZON + 1)
    x = np.clip(10 * (moments - (start + rng.integers(-2, 3, number))[:, None]), 0, 80) + 3 * rng.normal(
        size=(number, 1)
    )
    y = 5 * rng.normal(size=(number, 1)) + np.zeros_like(x)
    return Games(
        np.stack((x, y), -1).astype(np.float32),
        np.arange(number) % 2 == 0,
        rng.integers(0, 3, number),
        np.searchsorted([EARLY, LATE], start),
        np.arange(number) // 2,
        np.array([[0.0, 0.0], [100.0, 0.0]]),
        np.array([-4.0, -8.0]),
        np.array([[0, 0, 12, 1, 1]]),
        ("Marine",),
        "Line",
    )


def test_terciles_of_crossing(games):
    # Fourteen players of seven games to learn from, five of whom never cross; then the held-out game.
    moments = [1, 49, 2, 49, 3, 9, 4, 49, 5, 8, 49, 6, 7, 49, *(5, 6)]
    centroid = np.zeros((16, HORIZON + 1, 2), np.float32)
    for track, moment in zip(centroid, moments, strict=True):
        track[moment:, 0] = 51
    few = replace(games, centroid=centroid, game=games.game[:16], **{n: getattr(games, n)[:16] for n in COLUMNS})
    # Of those to learn from, a third is before 6, and the second third ends with 9.
    assert labels(few)["crossing"].tolist() == [0, 2, 0, 2, 0, 1, 0, 2, 0, 1, 2, 1, 1, 2, *(0, 1)]


def test_games_are_permuted_whole(games):
    everybody = np.ones(len(games.won), bool)
    of_what = {"crossing": games.bases, "won": games.won.astype(int)}
    same, chance = meanings(games.bases, of_what, everybody)
    assert same == "1.000 (0.001)" and float(chance.split()[0]) < 0.03
    # Who won says which of a pair a player is: as a permutation keeps pairs, it is never by chance.
    assert meanings(games.won.astype(int), of_what, everybody)[1] == "1.000 (1.000)"


def test_codes_are_when_armies_cross(games):
    held_out = games.held_out()
    shown, others = (episodes_of(games.relative()[rows]).demonstrations for rows in (~held_out, held_out))
    assert SETTINGS["num_codes"] == 3
    learner = train(shown, 0, num_envs=16, iterations=2, warm_start_steps=400)
    codes, truth = read(learner, others), games.bases[held_out]
    assert style_ami(codes, truth) > 0.9 and style_ami(k_means(paths_of(shown), paths_of(others)), truth) > 0.9
    maps = code_maps(learner, others, codes, games)
    assert [each.number for each in maps] == np.bincount(codes).tolist()
    assert maps[0].driven.shape == (2, 13)
    driven, people = (
        [grid[:, 7:].sum() for grid in grids] for grids in zip(*((m.driven, m.people) for m in maps), strict=True)
    )
    assert driven == pytest.approx(people, abs=0.15) and min(driven) < 0.05 < 0.3 < max(driven)  # from x = 52 on
