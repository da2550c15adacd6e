import pytest

from infogail.envs.catalogue import get_scenario
from infogail.evaluation.judges import judge_of
from infogail.evaluation.people_table import print_table


@pytest.mark.parametrize(("scenario", "peer"), [("replay", "IDM/MOBIL"), ("follow", "K IDMs")])
def test_the_table_fits_a_terminal(scenario, peer, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "84")
    judge = judge_of(get_scenario(scenario))
    numbers = dict.fromkeys([key for columns in judge.tables.values() for key in columns], 12.3456)
    peers = dict.fromkeys(judge.peers, numbers)
    result = {"scenario": scenario, "algorithm": "infogail", "ami_speed": 0.5, "peers": peers} | numbers
    print_table(result | {"wasserstein_speed_floor": 1.0, f"{next(iter(judge.peers))}_realism": 0.987})
    shown = capsys.readouterr().out
    rows = len(peers) + 1
    assert "…" not in shown and peer in shown and "ami_speed" in shown
    assert shown.count("12.3") == len(numbers) * rows
