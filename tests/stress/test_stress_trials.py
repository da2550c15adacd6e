import json
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from infogail.cli import main
from infogail.envs.errors import BadInput
from infogail.stress.campaign import TRIALS, run_trials
from infogail.stress.results import junit, summarise, violations
from infogail.stress.trace import Trace, at_fault, brakes_hard, lane_changes, struck, time_to_collision
from infogail.stress.trials import Setting, Trial, check, drive, kinds_of_traffic, make_environment, run_trial

PLANNERS = """
import time

import numpy as np


def brakes(observation):
    return 4


def accelerates(observation):
    return 3


def brakes_fully(observation):
    return np.array([-1.0, 0.0])


def accelerates_fully(env, observation):
    assert env.config["duration"] == 5
    return [1.0, 0.0]


def raises(observation):
    raise ValueError("no\\nidea")


def nan(observation):
    return np.array([np.nan, 0.0])


def unknown(observation):
    return 5


def too_many(observation):
    return np.zeros(3)


def slow(observation):
    time.sleep(0.02)
    return 4


class Third:
    decisions = 0

    def __call__(self, observation):
        self.decisions += 1
        if self.decisions == 3:
            raise KeyError("third")
        return 1


def needs_two(observation):
    assert observation.shape == SHAPE, observation.shape
    return 1
"""
SMALL = {"vehicles_count": 10, "duration": 5}
SETTING = Setting("highway-v0", SMALL, None)
CONTINUOUS = Setting("highway-v0", {**SMALL, "action": {"type": "ContinuousAction"}}, None)
SEEDS = range(3)
GRAY = [0.3, 0.6, 0.1]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "stress_planners.py").write_text(PLANNERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "stress_planners", raising=False)
    return tmp_path


@pytest.fixture
def kinds(highway_run):
    return {kind.name: kind for kind in kinds_of_traffic(highway_run, [(1, 0, 0, 1)])}


@pytest.fixture
def drives(highway_run, kinds):
    def drives(planner, setting=SETTING, traffic="mix"):
        name = planner if planner == "idm" else f"stress_planners:{planner}"
        return [run_trial(setting, kinds[traffic], seed, name, highway_run) for seed in SEEDS]

    return drives


# Planners


@pytest.mark.parametrize(
    ("planner", "setting", "progress"),
    # In steps of 1/15 s the speed nears its goal by 1/9 of the difference each, as highway-env's MDPVehicle does:
    # progress = 5 s × goal ∓ (5/15) m × Σ (8/9)^k = 100 + 3, 150 - 3. Otherwise it changes by 1/3 m/s in each of 75
    # steps: (75 × 25 - 74 × 75 / 2 / 3) / 15; up to highway-env's limit of 40 m/s:
    # (46 × 25 + 45 × 46 / 2 / 3 + 29 × 40) / 15.
    [
        ("brakes", SETTING, 103.0),
        ("accelerates", SETTING, 147.0),
        ("brakes_fully", CONTINUOUS, 63.33),
        ("accelerates_fully", CONTINUOUS, 177.0),
    ],
)
def test_always_braking_and_always_accelerating(drives, planner, setting, progress):
    trials = drives(planner, setting)
    whole = [trial for trial in trials if not trial.crashed]
    assert not any(trial.error or trial.lane_changes for trial in trials)
    assert all(trial.seconds == pytest.approx(5.0) for trial in whole)
    assert all(trial.progress == pytest.approx(progress, abs=0.4) for trial in whole)
    assert all(trial.hard_brake == planner.startswith("brakes") for trial in whole)
    assert all(trial.seconds < 5.0 and trial.min_ttc < 0.1 for trial in trials if trial.crashed)
    if planner.startswith("brakes"):
        assert whole and all(not trial.at_fault for trial in trials)
    else:
        assert all(trial.at_fault for trial in trials if trial.crashed)


def test_a_planner_that_raises_fails_at_once(drives):
    for trial in drives("raises"):
        assert trial.error == "ValueError: no idea" and trial.failed and not trial.crashed and trial.seconds == 0.0


@pytest.mark.parametrize(
    ("planner", "setting", "problem"),
    [
        ("nan", CONTINUOUS, "the action is [nan 0.], not finite"),
        ("too_many", CONTINUOUS, "the action is [0. 0. 0.], not numbers of the shape (2,)"),
        ("unknown", SETTING, "the action is 5, not one of Discrete(5)"),
        ("nan", SETTING, "the action is [nan 0.], not finite"),
    ],
)
def test_an_action_that_is_none_fails(drives, planner, setting, problem):
    assert {trial.error for trial in drives(planner, setting)} == {f"ValueError: {problem}"}


def test_each_episode_makes_a_planner_anew(drives):
    for trial in drives("Third"):
        assert trial.error == "KeyError: 'third'" and trial.seconds == pytest.approx(2.0)


def test_a_slow_planner_is_reported_and_not_cut_off(drives):
    slow, fast = drives("slow"), drives("brakes")
    assert all(trial.slowest_decision >= 0.02 for trial in slow)
    assert alike(slow) == alike(fast)


def alike(trials):
    return [replace(trial, slowest_decision=0.0) for trial in trials]


def test_another_run_and_highway_env_s_drivers_as_planners(highway_run, kinds, drives):
    assert all(trial.seconds == 5.0 for trial in drives("idm") if not trial.crashed)
    # These environments' observations, or rewards, need the vehicle that they made.
    for environment in ("two-way-v0", "u-turn-v0", "racetrack-v0"):
        for planner in ("linear", highway_run):
            trial = run_trial(Setting(environment, {}, 3.0), kinds["code_0"], 0, planner, highway_run)
            assert not trial.error and trial.progress > 5.0


@pytest.mark.parametrize(
    ("observation", "shape"),
    [
        ({"type": "OccupancyGrid"}, (4, 11, 11)),
        ({"type": "TimeToCollision", "horizon": 7}, (3, 3, 7)),
        (
            {"type": "GrayscaleObservation", "observation_shape": [64, 32], "stack_size": 2, "weights": GRAY},
            (2, 64, 32),
        ),
    ],
)
def test_other_observations(highway_run, kinds, folder, monkeypatch, observation, shape):
    (folder / "stress_planners.py").write_text(f"{PLANNERS}\nSHAPE = {shape}\n")
    setting = Setting("highway-v0", {**SMALL, "observation": observation}, 2.0)
    trial = run_trial(setting, kinds["mix"], 0, "stress_planners:needs_two", highway_run)
    assert not trial.error and trial.seconds > 0.0


# Starts and kinds of traffic

ENVIRONMENTS = [f"{name}-v0" for name in ("highway", "merge", "exit", "two-way", "roundabout", "u-turn", "racetrack")]


def starts(setting, kind, run, seed):
    env = make_environment(setting, kind, run, seed).unwrapped
    return np.array([(*vehicle.position, vehicle.heading, vehicle.speed) for vehicle in env.road.vehicles])


@pytest.mark.parametrize("name", [*ENVIRONMENTS, "intersection-v1"])
def test_all_kinds_of_traffic_start_alike(highway_run, kinds, name):
    idm, *others = (starts(Setting(name, {}, None), kinds[kind], highway_run, 5) for kind in ("idm", "code_1", "mix"))
    assert len(idm) > 1
    for other in others:
        np.testing.assert_array_equal(other, idm)
    assert not np.array_equal(starts(Setting(name, {}, None), kinds["idm"], highway_run, 6)[1:2], idm[1:2])


def test_codes_are_of_the_mix_or_given(highway_run, kinds):
    def codes(kind, seed, given=None):
        env = make_environment(Setting("highway-v0", {}, None), kinds[kind], highway_run, seed, given).unwrapped
        return [vehicle.code for vehicle in env.road.vehicles[1:]]

    assert codes("code_2", 0) == [2] * 50
    assert codes("mix", 0) == codes("mix", 0) != codes("mix", 1)
    assert set(codes("mix_1", 0)) == {0, 3}
    given = np.random.default_rng(0).integers(4, size=50).tolist()
    assert codes("mix", 0, given) == given


def test_cars_that_are_left_out_change_no_other_start(highway_run, kinds):
    _, whole, _ = drive(SETTING, kinds["mix"], 0, "idm", highway_run)
    _, fewer, _ = drive(SETTING, kinds["mix"], 0, "idm", highway_run, [1, 4])
    stay = [0, 2, 3, *range(5, 11)]
    np.testing.assert_array_equal(fewer.states[0], whole.states[0, stay])
    assert fewer.codes == [whole.codes[k] for k in stay]


# Campaigns


def test_neither_processes_nor_an_interruption_change_results(highway_run, kinds, folder):
    chosen, planner = [kinds["idm"], kinds["code_0"]], "stress_planners:accelerates"

    def run(out, processes):
        return run_trials(planner, highway_run, SETTING, chosen, SEEDS, folder / out, processes=processes)

    one, two = run("one", 1), run("two", 2)
    assert list(one) == ["idm", "code_0"]
    assert {name: alike(trials) for name, trials in one.items()} == {
        name: alike(trials) for name, trials in two.items()
    }
    file = folder / "one" / TRIALS
    lines = file.read_text().splitlines()
    assert len(lines) == 1 + 6
    file.write_text("\n".join(lines[:4]) + "\n" + lines[4][:50])  # in the middle of the fourth trial
    again = run("one", 1)
    assert again["idm"] == one["idm"]  # not driven again, which would take another time
    assert alike(again["code_0"]) == alike(one["code_0"])
    (folder / "stress_planners.py").write_text(f"{PLANNERS}\nmore = 1\n")
    with pytest.raises(
        BadInput, match=r"trials.jsonl: has trials with another planner; give another --out, or --force"
    ):
        run("one", 1)
    with pytest.raises(BadInput, match="has trials with another seconds"):
        run_trials("idm", highway_run, SETTING, [], [], folder / "b")
        run_trials("idm", highway_run, replace(SETTING, seconds=1.0), [], [], folder / "b")
    file.write_text("{}\n")
    with pytest.raises(BadInput, match=r"trials.jsonl: not a file of trials, or a damaged one"):
        run("one", 1)


def test_a_changed_file_is_another_planner(highway_run, folder):
    (folder / "a.onnx").write_bytes(b"one")
    run_trials(folder / "a.onnx", highway_run, SETTING, [], [], folder / "out")
    (folder / "a.onnx").write_bytes(b"two")
    with pytest.raises(BadInput, match="has trials with another planner"):
        run_trials(folder / "a.onnx", highway_run, SETTING, [], [], folder / "out")


def test_bad_settings(highway_run):
    for environment, problem in (
        ("highway-v9", "unknown environment 'highway-v9'"),
        ("parking-v0", "parking-v0 does not support custom vehicle types"),
        ("lane-keeping-v0", "lane-keeping-v0 does not support custom vehicle types"),
    ):
        with pytest.raises(BadInput, match=problem):
            check("idm", Setting(environment, {}, None), highway_run, [])
    with pytest.raises(
        BadInput, match=r"cannot be made with these settings \(Unknown observation type\); correct --con"
    ):
        check("idm", Setting("highway-v0", {"observation": {"type": "Smell"}}, None), highway_run, [])


# What happened, in traces made by hand. Cars are 5 m long and 2 m wide, steps take 0.1 s.

ROADS = [("a", "b", 0), ("a", "b", 1), ("b", "c", 0)]


def made(ego, other, lanes=((0,), (0,)), steps=40, crashed=(True, True), offsets=((0.0, 0.0), (0.0, 0.0))):
    """Two cars (x, y, heading, speed) that keep their velocity until the last step, in which those that crash do."""
    t = 0.1 * np.arange(steps + 1)
    states = np.zeros((steps + 1, 2, 4))
    for k, (x, y, heading, speed) in enumerate((ego, other)):
        moved = x + speed * t * np.cos(heading), y + speed * t * np.sin(heading), 0 * t + heading, 0 * t + speed
        states[:, k] = np.stack(moved, -1)
    in_lanes = np.array([np.resize(np.repeat(lane, 1), steps + 1) if len(lane) == 1 else lane for lane in lanes]).T
    crashes = np.zeros((steps + 1, 2), bool)
    crashes[-1] = crashed
    sizes = np.array([(5.0, 2.0), (5.0, 2.0)])
    beside = np.broadcast_to(np.array(offsets), (steps + 1, 2, 2))
    return Trace(states, beside, in_lanes, ROADS, crashes, np.zeros(steps + 1, bool), sizes, [None, 0], 0.1)


@pytest.mark.parametrize(
    ("ego", "other", "seconds"),
    [
        ((0, 0, 0, 20), (30, 0, 0, 10), 2.5),  # 25 m at 10 m/s
        ((0, 0, 0, 10), (-30, 0, 0, 20), 2.5),  # from behind
        ((0, 0, 0, 20), (30, 0, 0, 25), 10.0),
        ((0, 0, 0, 20), (30, 4, 0, 10), 10.0),  # beside it
        # They meet at 3.5 m from centre to centre.
        ((0, 0, 0, 10), (20, -15, np.pi / 2, 10), 1.65),
        ((0, 0, 0, 30), (20, -15, np.pi / 2, 10), 10.0),  # which it passes before
        ((0, 0, 0, 20), (3, 1, 0, 20), 0.0),  # in a collision
        ((0, 0, np.pi / 2, 20), (0, 30, np.pi / 2, 10), 2.5),
        # As boxes they touch at 1 + (2 cos 30° + 5 sin 30°) / 2 = 3.116025 m; 0.883975 m at 10 m/s.
        ((0, 0, 0, 20), (0, 4, -np.pi / 6, 20), 0.0883975),
    ],
)
def test_time_to_collision(ego, other, seconds):
    trace = made(ego, other)
    assert time_to_collision(trace)[0] == pytest.approx(seconds, abs=1e-6)
    nobody = replace(trace, states=np.concatenate([trace.states[:, :1], np.full_like(trace.states[:, 1:], np.nan)], 1))
    assert (time_to_collision(nobody) == 10.0).all()


def rear_end(lanes, behind=25.0, ahead=20.0, planner="behind", steps=40):
    """The cars touch in the end; `lanes` are those of the one in front."""
    gap = (behind - ahead) * 0.1 * steps
    rear, front = (0.0, 0.0, 0.0, behind), (5.0 + gap, 0.0, 0.0, ahead)
    cars, sides = ((rear, front), ((0,), lanes)) if planner == "behind" else ((front, rear), (lanes, (0,)))
    return made(*cars, lanes=sides, steps=steps)


def entering(seconds, steps=40):
    """Lanes of a car that enters lane 0 so many seconds before the end."""
    return np.where(np.arange(steps + 1) < steps - round(10 * seconds), 1, 0)


@pytest.mark.parametrize(
    ("lanes", "behind", "ahead", "who"),
    [
        ((0,), 25, 20, "behind"),
        # At the safe distance of 1 + 0.3 × 25 + (25² - 20²) / 10 = 31 m a cut-in is fair; here it is at 7.5 m.
        (entering(1.5), 25, 20, "ahead"),
        (entering(2.5), 25, 20, "behind"),  # long ago
        # 1 + 0.3 × 10 + (10² - 9²) / 10 = 5.9 m; here 1.9 m.
        (entering(1.9), 10, 9, "ahead"),
    ],
)
def test_who_is_at_fault_for_a_rear_end_collision(lanes, behind, ahead, who):
    for planner in ("behind", "ahead"):
        trace = rear_end(lanes, behind, ahead, planner)
        assert struck(trace) == 1
        assert at_fault(trace) == (planner == who)


def test_a_cut_in_at_a_safe_distance_is_no_excuse():
    # Five steps before the end the front car, at 20 m/s like the one behind, is 12 m ahead, bumper to bumper, and the
    # safe distance is 1 + 0.3 × 20 = 7 m. Then it stops dead.
    trace = rear_end(entering(0.5), 20.0, 20.0)
    trace.states[:, 1, 0] += 12.0
    trace.states[-1, 1, 0] = trace.states[-1, 0, 0] + 5.0
    assert at_fault(trace)
    trace.states[:-1, 1, 0] -= 6.0  # 6 m ahead
    assert not at_fault(trace)


def test_side_by_side_the_one_further_astray_is_at_fault():
    def verdict(own, theirs):
        return at_fault(made((0, 0, 0, 20), (2, 2, 0, 20), lanes=((0,), (1,)), offsets=(own, theirs)))

    assert verdict((1.5, 0.0), (0.5, 0.0)) and not verdict((0.5, 0.0), (-1.5, 0.0))
    assert verdict((0.2, 0.2), (-0.4, 0.0)) and not verdict((-0.4, 0.0), (0.2, 0.2))  # 0.2 m + 5 m × sin 0.2 = 1.2 m


def test_an_obstacle_is_the_planner_s_fault_and_no_crash_is_nobody_s():
    far = (500.0, 0.0, 0.0, 20.0)
    assert at_fault(made((0, 0, 0, 20), far, crashed=(True, False)))
    assert at_fault(made((0, 0, 0, 20), far, crashed=(True, True)))  # the other had a crash of its own
    assert struck(made((0, 0, 0, 20), far, crashed=(True, True))) == 0
    assert not at_fault(made((0, 0, 0, 20), (3, 0, 0, 20), crashed=(False, False)))


def test_lane_changes_are_within_a_road():
    lanes = np.repeat([0, 1, 0, 2], [10, 10, 10, 11])  # the last is the next road
    assert lane_changes(made((0, 0, 0, 20), (100, 0, 0, 20), lanes=(lanes, (0,)), crashed=(False, False))) == 2
    ended = made((0, 0, 0, 20), (100, 0, 0, 20), lanes=(lanes, (0,)), crashed=(False, False))
    ended.crashed[15:, 0] = True
    assert lane_changes(ended) == 1


def test_hard_braking():
    def verdict(own=0.0, theirs=0.0, place=-20.0, lane=0):
        trace = made((0, 0, 0, 20), (place, 0, 0, 20), lanes=((0,), (lane,)), crashed=(False, False))
        trace.states[21:, 0, 3] -= own
        trace.states[21:, 1, 3] -= theirs
        return brakes_hard(trace)

    assert verdict(own=0.31) == (True, False) and verdict(own=0.29) == (False, False)  # 3.1 and 2.9 m/s²
    assert verdict(theirs=0.31) == (False, True)
    assert verdict(theirs=0.31, lane=1) == verdict(theirs=0.31, place=20.0) == verdict(theirs=0.31, place=-60.0)
    assert verdict(theirs=0.31, lane=1) == (False, False)


# Results


def trial(kind, seed, crashed=False, fault=False, error="", ttc=5.0):
    return Trial(kind, seed, 5.0, error, crashed, fault, False, ttc, False, False, 20.0 + seed, 100.0, 1, 0.001)


def trials_of(kind, crashed):
    return [trial(kind, seed, bool(each)) for seed, each in enumerate(crashed)]


def test_wilson_mcnemar_and_holm():
    result = summarise(
        {
            "idm": trials_of("idm", [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
            "code_0": trials_of("code_0", [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]),
            "code_1": trials_of("code_1", [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]),
            "mix": trials_of("mix", [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        }
    )
    # z = 1.959964: (0.1 + z²/20 ± z √(0.09/10 + z²/400)) / (1 + z²/10)
    assert result["idm"]["crash_rate_interval"] == pytest.approx([0.017876, 0.404150], abs=1e-6)
    assert result["mix"]["crash_rate"] == 0.2
    # Six crashes in code_0 alone, none in IDM alone: 2/2⁶. 5 and 1: 2 (1 + 6)/2⁶. 2 and 1: 1. Holm: times 3, 2 and 1.
    values = [result[name]["crash_rate_p"] for name in ("code_0", "code_1", "mix")]
    assert values == pytest.approx([0.09375, 0.4375, 1.0])
    assert result["code_0"]["crash_rate_minus_idm"] == pytest.approx(0.6) and result["worst"] == "code_0"
    low, high = result["code_0"]["crash_rate_minus_idm_interval"]
    assert 0.2 <= low < 0.6 < high <= 0.9
    assert "crash_rate_minus_idm" not in result["idm"]
    assert result["mix"]["mean_speed_minus_idm_interval"] == [0.0, 0.0]


def test_junit_and_violations():
    trials = {
        "idm": [trial("idm", seed) for seed in range(4)],
        "code_0": [trial("code_0", 0, True, True), trial("code_0", 1, True), trial("code_0", 2, error="E: <no>")],
    }
    limits = {"crash_rate": 0.5, "at_fault_rate": 0.9}
    result = summarise({name: rows[:3] for name, rows in trials.items()})
    root = ElementTree.fromstring(junit("a & b", trials, result, limits))
    assert root.tag == "testsuites" and root.get("name") == "a & b"
    counts = [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in root]
    assert counts == [("idm", "3", "0", "0"), ("code_0", "3", "1", "1")]
    assert [len(suite.findall("testcase")) for suite in root] == [3, 3]
    assert [each.get("message") for each in root.iter("failure")] == ["crash_rate is 1"]
    assert next(root.iter("error")).get("message") == "1 of 3 episodes, first with seed 2: E: <no>"
    assert violations(result, ["idm"], limits) == []
    assert len(violations(result, ["idm", "code_0"], limits)) == 2


# The command


def infogail(*words):
    try:
        main([str(word) for word in words])
    except SystemExit as leaving:
        return leaving.code
    return 0


def test_exit_status(highway_run, folder, capsys):
    (folder / "small.json").write_text(json.dumps(SMALL))
    common = "stress", "stress_planners:raises", "--traffic", highway_run, "--config", "small.json"
    drives = *common, "--episodes", 2, "--only", "idm", "--processes", 1, "--out", "out"
    assert infogail(*drives, "--max-crash-rate", 0.5) == 1
    assert "idm: crash_rate 1 is above 0.5" in capsys.readouterr().err
    (folder / "lists.json").write_text("[1]")
    (folder / "broken.json").write_text("{")
    for words, problem in (
        (("--only", "code_9"), "unknown kind of traffic 'code_9'"),
        (("--environment", "highway-v9"), "unknown environment 'highway-v9'"),
        (("--environment", "parking-v0"), "parking-v0 does not support custom vehicle types"),
        (("--config", "broken.json"), "--config broken.json: not JSON"),
        (("--config", "lists.json"), "--config lists.json: give an object of highway-env's settings"),
        (("--config", "none.json"), "--config none.json: No such file"),
        (("--max-crash-rate", 2), "--max-crash-rate 2: give a share from 0 to 1"),
        (("--mix", "1,1"), "mix 1 1: give a non-negative share for each of the 4 codes"),
    ):
        assert infogail(*common, *words) == 2, words
        error = capsys.readouterr().err
        assert problem in error and len(error.splitlines()) == 1
    assert infogail("stress", "stress_planners:none", "--traffic", highway_run) == 2
    assert "stress_planners has no 'none'" in capsys.readouterr().err
