from infogail.evaluation.people_table import TABLES, print_table


def test_the_table_fits_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    numbers = dict.fromkeys([key for columns in TABLES.values() for key in columns], 12.3456)
    peers = dict.fromkeys(("person", "constant_velocity", "idm_mobil"), numbers)
    print_table({"algorithm": "infogail", "ami_speed": 0.5, "peers": peers, "wasserstein_speed_floor": 1.0} | numbers)
    shown = capsys.readouterr().out
    assert "…" not in shown and "IDM/MOBIL" in shown and shown.count("12.3") == 16 * 4 and "ami_speed" in shown
    assert "people vs people" in shown
