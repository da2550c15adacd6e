"""Paths on a grid, and its graph, by hand."""

import numpy as np
import pytest
from synthetic import hall, recorded

from infogail.baselines.maxent_irl import NOWHERE
from infogail.envs.errors import BadInput
from infogail.forecast.goals import find_goals
from infogail.forecast.grid import HEADINGS, STOP, TURNS, Grid, usual_cell
from infogail.forecast.walks import make_walks

GRID = Grid(left=10.0, bottom=-1.0, cell=2.0, columns=4, rows=3)
#   8  9 10 11     y from 3 to 5
#   4  5  6  7
#   0  1  2  3     x from 10 to 18


@pytest.mark.parametrize(
    ("points", "cells"),
    [
        ([(11, 0), (17, 0)], [0, 1, 2, 3]),
        ([(17, 4), (11, 4)], [11, 10, 9, 8]),
        ([(11, 0), (15, 4)], [0, 5, 10]),
        ([(11, 0), (15, 3.6)], [0, 5, 10]),  # the corners are cut
        ([(11, 0), (13, 0), (13, 2), (15, 2)], [0, 5, 6]),
        ([(11, 0), (11.5, 0.5)], [0]),
        ([(11, 0), (15, 0), (11, 0)], [0, 1, 2, 1, 0]),
        ([(18, 0), (10, 0)], [3, 2, 1, 0]),  # the border belongs to the cells inside
    ],
)
def test_walk(points, cells):
    assert GRID.walk(np.array(points, float)).tolist() == cells


def test_moves_carry_their_heading():
    states, moves = GRID.moves(np.array([0, 1, 6, 10, 9]))
    assert moves.tolist() == [1, 2, 4]  # after the first, along x: diagonal, along y, back along x
    assert states.tolist() == [1 * 8 + 0, 6 * 8 + 1, 10 * 8 + 2, 9 * 8 + 4]


def test_graph():
    goals, ends = np.array([0, 0, 1, 1] * 3), np.array([3, 3, 11])
    graph = GRID.graph(goals, ends)
    states = len(GRID) * HEADINGS
    assert graph.next_state.shape == (states + 2, HEADINGS + 1)
    state = 5 * HEADINGS + 1
    assert graph.next_state[state].tolist() == [48, 81, 74, 67, 36, 5, 14, 23, states]
    assert graph.next_state[0].tolist() == [8, 41, 34, NOWHERE, NOWHERE, NOWHERE, NOWHERE, NOWHERE, states]
    assert (graph.next_state[states:] == NOWHERE).all() and graph.next_state[3 * HEADINGS, STOP] == states + 1
    features = graph.features.to_dense().view(*graph.next_state.shape, -1)

    def of(state, move):
        row = features[state, move]
        return {k: pytest.approx(float(row[k]), abs=1e-6) for k in row.nonzero().flatten().tolist()}

    turn, length = len(GRID), len(GRID) + TURNS
    assert of(state, 1) == {10: 1, turn: 1, length: 2**0.5}
    assert of(state, 0) == {6: 1, turn + 1: 1, length: 1}
    assert of(state, 7) == {2: 1, turn + 2: 1, length: 2**0.5}
    assert of(state, 5) == {0: 1, turn + 4: 1, length: 2**0.5}
    stop = features[3 * HEADINGS, STOP]
    assert stop.nonzero().flatten().tolist() == [length + 1, length + 2 + 3]
    far, near = (float(features[cell * HEADINGS, STOP, length + 1]) for cell in (0, 3))
    assert far < near and float(features[7 * HEADINGS, STOP, length + 1]) > far
    assert list(GRID.costs) == list(range(turn, length + 1))


def test_cells_of_the_usual_size():
    corners = np.array([(0.0, 0.0), (48.0, 27.0)])
    assert usual_cell(corners) == 1.0 and usual_cell(corners * 4.4) == 4.0
    grid = Grid.over(corners, 1.0)
    assert (grid.columns, grid.rows) == (49, 28)
    assert usual_cell(np.array([(0.0, 0.0), (1296.0, 0.0)])) == 1.0  # along a line
    with pytest.raises(ValueError, match="more than 4,000"):
        Grid.over(corners, 0.1)


def test_goals_are_clusters_of_ends():
    ends = np.array([0, 0, 0, 3, 3, 7, 3])
    goals = find_goals(GRID, ends, 2, seed=0)
    left = int(goals.centres[:, 0].argmin())
    assert goals.centres[[left, 1 - left]] == pytest.approx(np.array([(0.0, 0.0), (3.0, 0.25)]), abs=1e-9)
    assert goals.nearest(np.array([(0, 2), (3, 2)])).tolist() == [left, 1 - left]
    assert len(find_goals(GRID, ends, None, seed=0)) == 3  # so that ends are within 0.2 cells of their centres
    with pytest.raises(ValueError, match="3 different cells, fewer than 4"):
        find_goals(GRID, ends, 4, seed=0)


def test_walks_end_with_a_stop_in_their_goal():
    walks = make_walks(hall(40), 1.0, None, 0)
    assert len(walks.goals) == 2 and len(walks.training.goals) == 32 and walks.recorded.tolist() == list(range(32, 40))
    ends = len(walks.grid) * HEADINGS
    for states, moves, goal in zip(walks.training.states, walks.training.moves, walks.training.goals, strict=True):
        assert states[-1] == ends + goal and moves[-1] == STOP and len(states) == len(moves) + 1
        assert (walks.graph.next_state[states[:-1], moves].numpy() == states[1:]).all()
    assert walks.goal_states.sum(1).tolist() == [1, 1] and walks.goal_states[1, ends + 1]
    prior = walks.goal_prior(walks.held_out)
    assert prior.shape == (8, 2) and prior.sum(1) == pytest.approx(1.0)


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(BadInput, match="0 paths to learn from have 6 cells of 9 or more, fewer than 10"):
        make_walks(hall(40), 9.0, None, 0)
    with pytest.raises(BadInput, match=r"--cell 0.001: .* more than 4,000; give a larger one"):
        make_walks(hall(40), 0.001, None, 0)
    with pytest.raises(BadInput, match=r"--goals 99: paths end in .* fewer than 99; give fewer"):
        make_walks(hall(40), 1.0, 99, 0)
    with pytest.raises(BadInput, match="0 paths held out"):
        make_walks(recorded([[(0, k), (20, k)] for k in range(12)], group=[1] * 12), 1.0, None, 0)
