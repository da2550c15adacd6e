import json
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from infogail.cli import main
from infogail.runs.driver import load
from infogail.stress.search import Found, attempt, explore, fewest, repeat, same, score, search, write
from infogail.stress.trials import Setting, Traffic, Trial, run_trial

PLANNERS = """
def accelerates(observation):
    return 3


def careful(observation):
    return 1 if observation[1:, 1].min() > 0.3 else 4
"""
SETTING = Setting("highway-v0", {"vehicles_count": 10, "duration": 6, "lanes_count": 2}, None)
PLANNER = "searched_planners:accelerates"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "searched_planners.py").write_text(PLANNERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "searched_planners", raising=False)
    return tmp_path


def trial(seed=0, crashed=False, fault=False, error="", ttc=5.0):
    return Trial("searched", seed, 5.0, error, crashed, fault, False, ttc, False, False, 20.0, 100.0, 1, 0.001)


# Delta debugging


@pytest.mark.parametrize(
    ("needed", "most"),
    # Halving finds one of 16 in four rounds of at most two tries, after a try of none; what it separates takes longer.
    [({0}, 6), ({13}, 9), ({0, 1}, 30), ({2, 11}, 60), ({1, 6, 15}, 120), (set(), 1), (set(range(16)), 63)],
)
def test_fewest_finds_what_is_needed(needed, most):
    asked = []

    def fails(cars):
        asked.append(tuple(cars))
        return needed <= set(cars)

    assert set(fewest(list(range(16)), fails)) == needed
    assert len(asked) <= most


def test_fewest_is_minimal_where_cars_can_stand_in_for_each_other():
    def fails(cars):
        return len({1, 5, 9} & set(cars)) >= 2 or {3, 4} <= set(cars)

    found = fewest(list(range(12)), fails)
    assert fails(found)
    assert not any(fails(some) for some in combinations(found, len(found) - 1))
    assert fewest([], fails) == ()


# The search


def test_a_case_in_words():
    case = Found(7, (1.0,), (2, 0, 1), (2,), trial(7, True, True))
    assert str(case) == "seed 7: a crash that is its fault, after 5.0 s, with 2 of 3 cars, of codes 2 1"
    assert "a crash, not its fault," in str(replace(case, trial=trial(7, True)))
    assert str(replace(case, trial=trial(7))).startswith("seed 7: no crash, after 5.0 s")
    assert (
        str(replace(case, fewer=(1, 2, 3), trial=trial(error="E: no")))
        == "seed 7: E: no, after 5.0 s, with 0 of 3 cars"
    )


def test_at_fault_is_worse_than_a_crash_than_a_near_miss():
    order = [trial(crashed=True, fault=True), trial(crashed=True, ttc=0.0), trial(ttc=0.0), trial(ttc=1.5)]
    assert [score(each) for each in order] == [-2.0, -1.0, 0.0, 1.5]
    assert score(trial(error="no")) == -2.0


def test_finds_rare_trouble_sooner_than_chance():
    """It learns which codes of the two nearest cars matter, although starts differ."""
    difficulty = np.random.default_rng(0).uniform(0.0, 4.0, 200)

    def tried(chosen):
        for seed, near in chosen:
            ttc = difficulty[seed - 100] + 1.5 * (near[0] != 2) + 1.5 * (near[1] != 0) - 1.0
            yield Found(seed, (0.25,) * 4, tuple(near), (), trial(seed, ttc < 0, ttc < 0, ttc=max(ttc, 0.0)))

    episodes = explore(tried, 4, 100, 200)
    assert [each.seed for each in episodes] == list(range(100, 300))
    # 1/16 of code pairs leave an offset of -1, under which a quarter of the starts fail: 200/64 by chance, 50 at most.
    assert sum(each.trial.failed for each in episodes) >= 10


def test_found_cases_repeat_and_need_all_their_cars(highway_run, folder):
    found, trials = search(PLANNER, highway_run, SETTING, 16, seed=3, keep=3, processes=1)
    assert len(trials) <= 16 and found
    assert len({case.seed for case in found}) == len(found)
    result = write(folder / "out", found, trials, SETTING, PLANNER, highway_run)
    assert result["failed"] == sum(each.failed for each in trials) >= len(found)
    assert json.loads((folder / "out" / "found.json").read_text())["cases"][0]["seed"] == found[0].seed
    for case in found:
        again, outcome = repeat(folder / "out" / f"case-{case.seed}.json", PLANNER)
        assert same(again.trial, outcome) and same(outcome, case.trial) and again == case
    case = found[0]
    left = [number for number in range(1, 11) if number not in case.fewer]
    assert case.cars == len(left) < 10
    for number in left:
        traffic, fewer = Traffic("searched", case.mix), [*case.fewer, number]
        other = run_trial(SETTING, traffic, case.seed, PLANNER, highway_run, fewer, case.codes)
        assert (other.crashed, other.at_fault) != (case.trial.crashed, case.trial.at_fault)


def test_result_does_not_depend_on_processes(highway_run):
    (one, first), (two, second) = (search(PLANNER, highway_run, SETTING, 10, keep=1, processes=n) for n in (1, 2))
    assert [(case.seed, case.codes, case.fewer) for case in one] == [
        (case.seed, case.codes, case.fewer) for case in two
    ]
    assert len(first) == len(second) and all(map(same, first, second))


def test_the_nearest_cars_have_the_codes_searched(highway_run):
    mix = tuple(load(highway_run).prior.tolist())
    case = attempt(SETTING, mix, 0, [3, 3, 3, 3, 3, 3], PLANNER, highway_run)
    other = attempt(SETTING, mix, 0, [1, 1, 1, 1, 1, 1], PLANNER, highway_run)
    changed = [k for k in range(10) if case.codes[k] != other.codes[k]]
    assert [case.codes[k] for k in changed] == [3] * 6 and [other.codes[k] for k in changed] == [1] * 6


# The command


def infogail(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as leaving:
        return leaving.code
    return 0


def test_command(highway_run, folder, capsys):
    (folder / "small.json").write_text(json.dumps(SETTING.config))
    words = "--traffic", highway_run, "--config", "small.json", "--processes", 1, "--out", "out"
    assert infogail("stress", PLANNER, *words, "--search", 8) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads((folder / "out" / "found.json").read_text())
    assert lines[0].startswith(f"{result['failed']} of {result['episodes']} episodes fail")
    assert len(lines) == 2 + len(result["cases"]) and result["cases"]
    file = folder / "out" / f"case-{result['cases'][0]['seed']}.json"
    assert infogail("stress", PLANNER, "--repeat", file) == 1
    assert capsys.readouterr().out == f"{lines[1]}\n"
    infogail("stress", "searched_planners:careful", "--repeat", file)
    assert f"other than in {file}" in capsys.readouterr().out
    damaged = {
        "not a case that --search wrote": json.dumps({"seed": 1}),
        "was found with other traffic": file.read_text().replace('"traffic_sha256": "', '"traffic_sha256": "0'),
    }
    for problem, content in damaged.items():
        file.write_text(content)
        assert infogail("stress", PLANNER, "--repeat", file) == 2
        assert problem in capsys.readouterr().err
    assert infogail("stress", PLANNER, "--repeat", "none.json") == 2


def test_without_optuna(highway_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert infogail("stress", PLANNER, "--traffic", highway_run, "--search", 8) == 2
