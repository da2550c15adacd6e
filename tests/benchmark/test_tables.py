from infogail.benchmark.cells import plan
from infogail.benchmark.results import MEASURES, Cell, Results
from infogail.benchmark.tables import print_table, summarise
from infogail.config.config import Config


def test_many_variants_become_rows():
    names = ("default", "no-rim", "trpo", "replay", "wgan-gp", "absorbing", "no-decay")
    blank = dict.fromkeys(MEASURES, 1.0) | {"style_rank_correlation": None}
    results = Results(dict.fromkeys(plan(["infogail"], ["pass"], (0, 1), names), blank), {})
    headings, rows = summarise(results)
    assert [row[0] for row in rows][:2] == ["pass infogail", "pass infogail-no-rim"] and len(rows) == 7
    assert MEASURES["style_rank_correlation"].heading not in headings  # is not defined for any
    assert len(summarise(results, short=True)[0]) < len(headings) == len(rows[0]) - 1
    headings, rows = summarise(Results(dict.fromkeys(plan(["infogail"], ["pass"], (0,), names[:6]), blank), {}))
    assert len(headings) == 6 and rows[0] == ["seeds", *["1"] * 6]


def test_the_table_has_intervals_over_seeds(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    blank = dict.fromkeys(MEASURES, 1.0)
    nmi = {"infogail": (0.25, 0.5, 0.96, 1.0), "gail": (0.0, 0.0, 0.3, 0.0)}
    metrics = {
        Cell("pass", name, Config.of(seed=k)): blank | {"style_nmi": value, "seconds_to_styles": None if k else 8.5}
        for name, values in nmi.items()
        for k, value in enumerate(values)
    }
    print_table(Results(metrics, {}))
    out = capsys.readouterr().out
    headings = [measure.heading for measure in MEASURES.values()]
    row = {heading: line for heading in headings for line in out.splitlines() if line.strip().startswith(heading)}
    # The middle half of each four values: (0.5 + 0.96) / 2, and 0.
    assert "0.73 [" in row["style NMI"] and " 0 [0, " in row["style NMI"]
    assert "8.5 [8.5, 8.5] (3 never)" in row["s to styles"]
    assert "with NMI ≥ 0.95" in out and "P(style NMI of infogail > gail) = 0.938" in out  # 15 of 16 pairs
