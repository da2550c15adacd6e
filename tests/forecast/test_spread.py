"""Forecasts against the enumeration of all paths; saved, loaded, and filmed."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from synthetic import hall, recorded

from infogail.envs.errors import BadInput
from infogail.forecast.film import CAPTION, film
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.grid import HEADINGS
from infogail.forecast.pictures import typical
from infogail.forecast.saved import MODEL, PATHS, load, save
from infogail.forecast.spread import Spread
from infogail.forecast.walks import make_walks


@pytest.fixture(scope="module")
def alley():
    """8 x 2 cells; twelve people to learn from and three held out go to the two ends of the lower row in turn."""
    there = [(0.5, 0.5), (7.9, 0.5)]
    points = [there if k % 2 else there[::-1] for k in range(15)]
    points[2] = [(7.9, 0.5), (7.9, 1.5), (0.5, 0.5)]
    return make_walks(recorded(points), 1.0, 2, 0)


@pytest.fixture(scope="module")
def model():
    return MaxEnt(make_walks(hall(120), 1.0, None, 0))


def enumerated(model, state, left):
    """All paths of at most `left` moves from `state` to a goal: cells entered, log of exp(reward), goal."""
    following, found = model.walks.graph.next_state.tolist(), []
    reward, ends = model.reward.double().tolist(), len(model.walks.grid) * HEADINGS
    open_paths = [((), 0.0, state)]
    for _ in range(left):
        going = []
        for cells, total, here in open_paths:
            for move, there in enumerate(following[here]):
                if there >= ends:
                    found.append((cells, total + reward[here][move], there - ends))
                elif there >= 0:
                    going.append(((*cells, there // HEADINGS), total + reward[here][move], there))
        open_paths = going
    return found


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_spread_is_that_of_all_paths(alley, scale):
    """Also with rewards so large that exp of their sum overflows float64."""
    weights = scale * torch.from_numpy(np.random.default_rng(0).normal(0.0, 1.0, alley.graph.features.shape[1])).float()
    model = MaxEnt(alley, weights)
    points, path, made = np.array([(7.9, 0.5), (3.5, 0.5)]), alley.held_out.states[0][:4], 3
    prior = alley.goal_prior(alley.held_out)[0]
    forecast = Spread(model).after(points, 0)
    paths = enumerated(model, int(path[-1]), alley.horizon - made)
    logs, goals = (np.array([one[k] for one in paths]) for k in (1, 2))
    chances = model.goal_posterior(path, prior)[-1]
    assert forecast.chances == pytest.approx(chances, abs=1e-6)
    expected = np.zeros((alley.horizon - made, len(alley.grid)))
    for goal, chance in enumerate(chances):
        of_goal = goals == goal
        shares = np.zeros(len(paths))
        shares[of_goal] = chance * np.exp(logs[of_goal] - logsumexp(logs[of_goal]))
        for (cells, _, _), share in zip(paths, shares, strict=True):
            for k, cell in enumerate(cells):
                expected[k, cell] += share
    found = np.zeros_like(expected)
    found[: len(forecast.ahead)] = forecast.ahead
    assert found == pytest.approx(expected, abs=2e-4)  # what is improbable is left out
    assert forecast.entries(2) == pytest.approx(expected[:2].sum(0), abs=1e-4)


def test_the_first_heading_tells_the_goal(alley):
    """By Bayes' rule, with the sums over all paths from each heading in the first cell."""
    weights = torch.from_numpy(np.random.default_rng(1).normal(0.0, 1.0, alley.graph.features.shape[1])).float()
    model = MaxEnt(alley, weights)
    cell, heading = 3, 4
    totals = np.zeros((2, HEADINGS))
    for k in range(HEADINGS):
        for _, total, goal in enumerated(model, cell * HEADINGS + k, alley.horizon):
            totals[goal, k] += np.exp(total)
    counts = alley.start_counts[alley.goals.nearest(alley.grid.places(np.array([cell])))[0]] + 1.0
    expected = counts * totals[:, heading] / totals.sum(1)
    assert Spread(model).start(cell * HEADINGS + heading).chances == pytest.approx(expected / expected.sum(), abs=1e-4)


def test_people_of_the_hall_go_round_the_pillar_to_the_door_ahead(model):
    grid, spread = model.walks.grid, Spread(model)
    x, y = (grid.middles(grid.places(np.arange(len(grid))))).T
    forecast = spread.start(int(np.hypot(x - 15.0, y - 7.0).argmin()) * HEADINGS + 1)  # upwards to the right
    upper = model.walks.goals.centres[:, 1].argmax()
    assert forecast.chances[upper] > 0.8 and forecast.chances.sum() == pytest.approx(1.0)
    entries = spread.start(int(np.hypot(x - 2.0, y - 5.0).argmin()) * HEADINGS).entries()
    pillar = (x > 8.5) & (x < 11.5) & (y > 4.0) & (y < 6.0)
    assert entries[pillar].mean() < 0.1 * entries[(x > 8.5) & (x < 11.5) & ~pillar].mean()


def test_a_forecast_comes_back_as_it_was_saved(model, tmp_path):
    save(tmp_path, hall(120), model, 1.0, None, 0)
    paths, again = load(tmp_path)
    assert np.array_equal(paths.points, hall(120).points) and torch.equal(again.values, model.values)
    for name in (MODEL, PATHS):
        whole = (tmp_path / name).read_bytes()
        for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100], b""):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(BadInput, match=rf"{name}: .*again") as error:
                load(tmp_path)
            assert "\n" not in str(error.value)
        (tmp_path / name).write_bytes(whole)
    hall(120, seed=1).save(tmp_path / PATHS)
    with pytest.raises(BadInput, match=r"not learned from paths\.safetensors beside it"):
        load(tmp_path)
    (tmp_path / MODEL).unlink()
    with pytest.raises(BadInput, match="no such file; run 'infogail forecast' again"):
        load(tmp_path)


def test_the_film_shows_the_spread_over_the_path(model):
    k = typical(model.walks, model)
    frames = list(film(hall(120), model.walks, Spread(model), k))
    assert {frame.shape for frame in frames} == {frames[0].shape} and not any(side % 2 for side in frames[0].shape[:2])
    blue = [int(((frame[..., 2] > 150) & (frame[..., 0] < 120))[CAPTION:].sum()) for frame in frames]
    halt = next(n for n in range(1, len(blue)) if blue[n] < 0.2 * blue[n - 1])  # the map is emptied, and fills again
    assert blue[halt] < blue[halt + 10] < blue[halt + 20] < blue[halt + 40] and blue[-1] < 0.2 * max(blue)
