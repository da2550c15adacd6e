"""Maps of units: shares of time, winners' shares with Wilson's interval, and blank cells."""

import numpy as np
import pytest

from infogail.starcraft.games import Games
from infogail.starcraft.maps import LEAST, as_json, unit_maps, wilson
from infogail.starcraft.replays import MOMENTS


def test_wilson_as_tabulated():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    low, share, high = wilson(np.array([81.0, 15, 0, 1]), np.array([263.0, 148, 20, 29]))
    assert low.tolist() == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high.tolist() == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)
    assert share[0] == 81 / 263


def test_maps_count_players_not_units():
    # 40 players; the 20 winners, each with a different number of units, in column 1, everybody for one moment at home.
    players = np.arange(40)
    won = players < 20
    home = np.column_stack((players, 0 * players, 0 * players, 0 * players, 1 + 0 * players))
    away = np.column_stack((players, 0 * players, 1 + 0 * players, 0 * players, players))[1:20]
    alone = np.array([[39, 1, 2, 0, 5]])
    games = Games(
        np.full((40, len(MOMENTS), 2), np.nan, np.float32),
        won,
        np.zeros(40, np.int64),
        np.zeros(40, np.int64),
        players // 2,
        np.array([[0.0, 0.0], [20.0, 0.0]]),
        np.zeros(2),
        np.concatenate((home, away, alone)).astype(np.int64),
        ("Zealot", "Probe"),
        "Somewhere",
    )
    zealots, probes = unit_maps(games)
    assert (zealots.name, zealots.players, zealots.winners) == ("Zealot", 40, 20)
    assert zealots.time.tolist() == [pytest.approx([40 / 230, 190 / 230, 0])]
    assert zealots.visitors.tolist() == [[40, 19, 0]] and LEAST == 20
    assert zealots.share[0, 0] == 0.5 and np.isnan(zealots.share[0, 1:]).all() and not zealots.telling.any()
    assert (probes.players, probes.winners) == (1, 0) and np.isnan(probes.share).all()
    more = np.concatenate((games.seen, [[0, 0, 1, 0, 1]]))
    zealots, _ = unit_maps(Games(**(vars(games) | {"seen": more})))
    assert zealots.share[0, 1] == 1.0 and zealots.telling.tolist() == [[False, True, False]]
    units = as_json(games, unit_maps(games))["units"]
    assert units["Zealot"]["winners_share_by_cell"] == [[0.5, None, None]]
