"""Maximum causal entropy IRL against enumeration of all paths, and what it learns from paths of a known reward."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from infogail.baselines.maxent_irl import NOWHERE, Graph, MaxEntIRL, Paths, expected_moves, policy, soft_values

HEIGHT, WIDTH = 3, 3
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
HORIZON = 6
WALL = 4  # the middle cell


def grid(walls=()) -> Graph:
    """Cells as states, four moves; features: one of each cell that is entered, and 1 for every move."""
    cells = HEIGHT * WIDTH
    following, rows, columns = torch.full((cells, len(MOVES)), NOWHERE), [], []
    for y, x in itertools.product(range(HEIGHT), range(WIDTH)):
        for move, (dy, dx) in enumerate(MOVES):
            here, there = y * WIDTH + x, (y + dy) * WIDTH + x + dx
            if 0 <= y + dy < HEIGHT and 0 <= x + dx < WIDTH and here not in walls and there not in walls:
                following[here, move] = there
                rows += [here * len(MOVES) + move] * 2
                columns += [there, cells]
    size = cells * len(MOVES), cells + 1
    ones = torch.ones(len(rows)).double()
    features = torch.sparse_coo_tensor(torch.tensor([rows, columns]), ones, size, check_invariants=True)
    return Graph(following, features.coalesce())


def all_paths(graph: Graph, start: int, goal: int, horizon: int):
    """Every path from `start` to `goal`: (states, moves)."""
    if start == goal:
        yield [start], []
    elif horizon:
        for move, there in enumerate(graph.next_state[start].tolist()):
            if there != NOWHERE:
                for states, moves in all_paths(graph, there, goal, horizon - 1):
                    yield [start, *states], [move, *moves]


def goals_at(*cells: int) -> torch.Tensor:
    goals = torch.zeros(len(cells), HEIGHT * WIDTH, dtype=torch.bool)
    goals[range(len(cells)), list(cells)] = True
    return goals


@pytest.fixture
def reward(rng) -> torch.Tensor:
    return grid((WALL,)).reward(torch.from_numpy(rng.normal(-1.0, 0.7, HEIGHT * WIDTH + 1)))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def total(reward: torch.Tensor, states, moves) -> float:
    return sum(float(reward[s, a]) for s, a in zip(states[:-1], moves, strict=True))


def test_values_sum_over_all_paths(reward):
    graph, goals = grid((WALL,)), goals_at(8, 2)
    values = soft_values(graph, reward, goals, HORIZON)
    for goal, start, horizon in itertools.product((0, 1), (0, 5, 6), (3, HORIZON)):
        paths = list(all_paths(graph, start, (8, 2)[goal], horizon))
        expected = np.logaddexp.reduce([total(reward, *path) for path in paths]) if paths else -np.inf
        assert float(values[horizon, goal, start]) == pytest.approx(expected, abs=1e-6)
    assert float(values[HORIZON, 0, 8]) == 0.0 and float(values[HORIZON, 0, WALL]) == -np.inf


def test_moves_are_expected_as_often_as_all_paths_make_them(reward):
    graph, goals, starts = grid((WALL,)), goals_at(8, 2), torch.zeros(2, HEIGHT * WIDTH).double()
    starts[0, 0], starts[1, 6], starts[0, 3] = 3.0, 1.0, 2.0
    expected = torch.zeros_like(reward)
    for goal, start, number in ((0, 0, 3.0), (1, 6, 1.0), (0, 3, 2.0)):
        paths = list(all_paths(graph, start, (8, 2)[goal], HORIZON))
        weights = np.exp([total(reward, *path) for path in paths])
        for (states, moves), weight in zip(paths, number * weights / weights.sum(), strict=True):
            for s, a in zip(states[:-1], moves, strict=True):
                expected[s, a] += weight
    moves = expected_moves(graph, reward, soft_values(graph, reward, goals, HORIZON), goals, starts)
    torch.testing.assert_close(moves, expected, rtol=0, atol=1e-6)


def test_the_policy_is_a_distribution_where_the_goal_can_be_reached(reward):
    graph, goals = grid((WALL,)), goals_at(8)
    values = soft_values(graph, reward, goals, HORIZON)
    chances = policy(graph, reward, values[-2], values[-1])[0]
    reachable = torch.tensor([k not in (8, WALL) for k in range(HEIGHT * WIDTH)])
    torch.testing.assert_close(chances.sum(-1)[reachable], torch.ones(7).double())
    assert (chances[graph.next_state == NOWHERE] == 0).all() and chances[WALL].sum() == 0


def sampled_paths(graph: Graph, weights: torch.Tensor, number: int, rng) -> Paths:
    """Paths as the model of these weights draws them, by enumeration."""
    reward, states, moves, goals = graph.reward(weights), [], [], []
    for k in range(number):
        goal, start = (8, 2)[k % 2], (0, 3, 6)[k % 3]
        paths = list(all_paths(graph, start, goal, HORIZON))
        likelihood = np.exp([total(reward, *path) for path in paths])
        chosen = paths[rng.choice(len(paths), p=likelihood / likelihood.sum())]
        states.append(np.array(chosen[0]))
        moves.append(np.array(chosen[1]))
        goals.append(k % 2)
    return Paths(states, moves, np.array(goals))


def test_features_match_at_the_optimum(rng):
    graph, goals = grid((WALL,)), goals_at(8, 2)
    paths = sampled_paths(graph, torch.from_numpy(rng.normal(-1.0, 0.7, HEIGHT * WIDTH + 1)), 60, rng)
    learner = MaxEntIRL(graph, goals, HORIZON, penalty=1e-9)
    learner.fit(paths, iterations=500)
    starts = torch.zeros(2, HEIGHT * WIDTH).double()
    made = torch.zeros(graph.next_state.shape).double()
    for states, moves, goal in zip(paths.states, paths.moves, paths.goals, strict=True):
        starts[goal, states[0]] += 1
        for s, a in zip(states[:-1], moves, strict=True):
            made[s, a] += 1
    reward = graph.reward(learner.weights)
    expected = expected_moves(graph, reward, learner.values(), goals, starts)
    difference = (made - expected).flatten() @ graph.features.to_dense()
    assert difference.abs().max() / len(paths.goals) < 1e-3


def test_the_likelihood_is_that_of_enumeration_and_its_gradient_its_slope(rng):
    graph, goals = grid(), goals_at(8, 2)
    weights = torch.from_numpy(rng.normal(-1.0, 0.7, HEIGHT * WIDTH + 1))
    paths = sampled_paths(graph, weights, 12, rng)
    learner = MaxEntIRL(graph, goals, HORIZON)
    learner.weights = weights
    reward, expected = graph.reward(weights), 0.0
    for states, moves, goal in zip(paths.states, paths.moves, paths.goals, strict=True):
        every = [total(reward, *path) for path in all_paths(graph, states[0], (8, 2)[goal], HORIZON)]
        expected += np.logaddexp.reduce(every) - total(reward, states, moves)
    moves = sum(map(len, paths.moves))
    assert learner.negative_log_likelihood(paths) == pytest.approx(expected / moves, abs=1e-9)
    free, scale = MaxEntIRL(graph, goals, HORIZON, penalty=0.0), 1e-5
    free.weights = weights.clone()
    before = free.negative_log_likelihood(paths)
    free.fit(paths, iterations=1)
    assert free.negative_log_likelihood(paths) <= before
    for k in (0, 5, 9):  # by central differences
        sides = []
        for sign in (1, -1):
            free.weights = weights.clone()
            free.weights[k] += sign * scale
            sides.append(free.negative_log_likelihood(paths) * moves)
        counts, starts = free._counts(paths)
        _, gradient = free._likelihood(weights, counts, starts)
        assert float(gradient[k]) == pytest.approx((sides[0] - sides[1]) / (2 * scale), abs=1e-4)


def test_it_learns_what_people_avoid(rng):
    """People avoid one cell: its weight is the lowest, and unseen paths are about as likely as by the true weights."""
    graph, goals = grid(), goals_at(8, 2)
    avoided = torch.full((HEIGHT * WIDTH + 1,), 0.0).double()
    avoided[5], avoided[-1] = -3.0, -1.0
    learner = MaxEntIRL(graph, goals, HORIZON, costs=[HEIGHT * WIDTH])
    learner.fit(sampled_paths(graph, avoided, 150, rng))
    assert int(learner.weights[:-1].argmin()) == 5 and float(learner.weights[-1]) <= 0.0
    unseen, truth, ignorant = (
        sampled_paths(graph, avoided, 150, rng),
        *(MaxEntIRL(graph, goals, HORIZON) for _ in "12"),
    )
    truth.weights = avoided
    ignorant.weights[-1] = -1.0  # as long as people's paths, but with no cell better than another
    learned, best, worst = (each.negative_log_likelihood(unseen) for each in (learner, truth, ignorant))
    assert best < learned < best + 0.2 * (worst - best)


def test_the_goal_shows_along_the_path(rng):
    graph, goals = grid((WALL,)), goals_at(8, 2)
    learner = MaxEntIRL(graph, goals, HORIZON)
    learner.weights[-1] = -2.0  # short paths
    path = np.array([0, 3, 6, 7, 8])
    posterior = learner.goal_posterior(learner.values(), path, torch.tensor([0.5, 0.5]).double())
    assert posterior.shape == (5, 2) and posterior[0].tolist() == [0.5, 0.5]
    assert (posterior[:4, 0].diff() > 0).all() and float(posterior[-1, 0]) > 0.99
    reward = graph.reward(learner.weights)  # by enumeration, after one move
    sums = []
    for goal in (8, 2):
        every = [(p, total(reward, *p)) for p in all_paths(graph, 0, goal, HORIZON)]
        sums.append(
            np.exp(
                np.logaddexp.reduce([r for p, r in every if p[0][1] == 3]) - np.logaddexp.reduce([r for _, r in every])
            )
        )
    assert float(posterior[1, 0]) == pytest.approx(sums[0] / sum(sums), abs=1e-9)


def test_what_does_not_fit_is_refused():
    graph, goals = grid(), goals_at(8)
    learner = MaxEntIRL(graph, goals, 2)
    with pytest.raises(ValueError, match="4 moves, more than the horizon of 2"):
        learner.fit(Paths([np.array([0, 1, 2, 5, 8])], [np.array([3, 3, 1, 1])], np.array([0])))
    with pytest.raises(ValueError, match="ends in state 1, not at its goal 0"):
        learner.fit(Paths([np.array([0, 1])], [np.array([3])], np.array([0])))
    with pytest.raises(ValueError, match="not one for each of 9 x 3 moves"):
        Graph(graph.next_state[:, :3], graph.features)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_precisions_agree(rng, dtype):
    graph, goals = grid((WALL,)), goals_at(8, 2)
    paths = sampled_paths(graph, torch.from_numpy(rng.normal(-1.0, 0.7, HEIGHT * WIDTH + 1)), 30, rng)
    learner = MaxEntIRL(Graph(graph.next_state, graph.features.to(dtype)), goals, HORIZON)
    assert learner.weights.dtype == dtype
    reference = MaxEntIRL(graph, goals, HORIZON)
    assert learner.fit(paths) == pytest.approx(reference.fit(paths), abs=1e-3)


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_products_give_the_values_and_moves_of_the_recursion(rng, scale):
    """Also where exp(V) overflows float64 in the products, and the recursion itself takes over."""
    graph, goals = grid(), goals_at(8, 2)
    paths = sampled_paths(graph, torch.from_numpy(rng.normal(-1.0, 0.7, HEIGHT * WIDTH + 1)), 12, rng)
    learner = MaxEntIRL(graph, goals, 40)
    learner.weights = torch.full((HEIGHT * WIDTH + 1,), scale).double()
    reward, values = graph.reward(learner.weights), learner.values()
    each = zip(paths.states, paths.moves, paths.goals, strict=True)
    expected = sum(float(values[-1, goal, s[0]]) - total(reward, s, m) for s, m, goal in each)
    assert learner.negative_log_likelihood(paths) == pytest.approx(expected / sum(map(len, paths.moves)), rel=1e-9)
