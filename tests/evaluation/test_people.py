import json

import numpy as np
import pytest
from replay_world import Car, Scripted, record_world, steady_cars

from infogail.envs.scenarios.replay import BURN_IN
from infogail.evaluation import protocol as evaluation
from infogail.evaluation.codes import read_code
from infogail.evaluation.people import (
    DriveRecord,
    Person,
    Trained,
    drive_windows,
    held_out,
    judge_peers,
    realism,
)
from infogail.evaluation.people_table import print_table


def judged(people_file, pilot, windows=(8, 12)):
    return drive_windows(people_file, windows, [pilot], 1)[0]


def test_a_braking_driver_falls_behind_a_steady_person(people_file, people):
    """By Euler: after n decisions 0.1² n (n - 1) / 2 metres, and 0.1 n m/s."""
    result = realism(judged(people_file, Trained(Scripted((-1.0,)))))
    behind = {key: result[f"position_rmse_{key}"] for key in ("1s", "2s", "3s", "4s", "5s")}
    assert behind == pytest.approx({"1s": 0.45, "2s": 1.9, "3s": 4.35, "4s": 7.8, "5s": 12.25}, abs=1e-5)
    assert [result[f"speed_rmse_{s}s"] for s in (1, 5)] == pytest.approx([1.0, 5.0], abs=1e-5)
    # Its speeds are 9.9, 9.8, ... 5.0 where people drive at 10; its acceleration is -1, theirs 0; nobody's changes.
    assert result["wasserstein_speed"] == pytest.approx(2.55, abs=1e-5)
    assert result["wasserstein_acceleration"] == pytest.approx(1.0, abs=1e-5)
    assert result["wasserstein_jerk"] == pytest.approx(0.0, abs=1e-3)
    assert (result["collision_rate"], result["off_road_rate"], result["hard_brake_rate"]) == (0, 0, 0)
    assert result["wasserstein_speed_floor"] == pytest.approx(0.0, abs=1e-9)


def test_the_best_code_is_beside_the_one_that_is_read(people_file, people):
    result = realism(judged(people_file, Trained(Scripted((0.0, -1.0, -4.0), read=1)), [12]))
    assert result["position_rmse_5s"] == pytest.approx(12.25, abs=1e-5)
    assert result["position_rmse_best_5s"] == pytest.approx(0.0, abs=1e-9)
    assert result["hard_brake_rate"] == 0
    assert realism(judged(people_file, Trained(Scripted((0.0, -1.0, -4.0), read=2)), [12]))["hard_brake_rate"] == 1


def test_without_a_posterior_the_code_is_0(people_file, people):
    driver = Scripted((-1.0, 0.0), read=None)
    assert read_code(driver, np.zeros((3, 27)), np.zeros((3, 2))) is None
    (one,) = judged(people_file, Trained(driver), [12])
    assert one.code == 0 and len(one.driven) == 1


def test_who_fails_stands_still_and_is_counted(people):
    scenario = people.scenario
    states, scene = scenario.road.recorded_states(12), {"demonstration": np.float64(12)}
    whole = DriveRecord.of(scenario, states, scene)
    cut = DriveRecord.of(scenario, states[: BURN_IN + 11], scene, crashed=True)
    errors = np.linalg.norm(whole.positions - cut.positions, axis=1)
    assert errors[[9, 10, 49]] == pytest.approx([0.0, 1.0, 40.0])
    assert cut.speeds[[9, 10, 49]] == pytest.approx([10.0, 0.0, 0.0])
    assert [len(cut.samples[name]) for name in ("speed", "acceleration", "jerk", "headway")] == [10, 10, 9, 10]


def test_road_exit_and_collision(people_file, people):
    """Full lock leaves the road within the 5 s; full throttle hits the one 60 m ahead, half the cars have one."""
    leaves = realism(judged(people_file, Trained(Scripted((0.0,), steering=1.0)), [14]))
    assert leaves["off_road_rate"] == 1 and leaves["collision_rate"] == 0 and leaves["position_rmse_5s"] > 10
    hits = realism(judged(people_file, Trained(Scripted((5.0,))), [8, 10]))
    assert hits["collision_rate"] == 0.5


def test_headway_and_time_to_collision(people_file, people):
    """60 m from centre to centre, 5 m long: 55 m from bumper to bumper, 10 m/s: beyond the longest headway of 4 s."""
    (one,) = judged(people_file, Person(people), [8])
    assert one.recorded.samples["headway"] == pytest.approx(np.full(50, 4.0))
    near = record_world(people_file.parent / "near.safetensors", steady_cars(25.0, (11.0, 10.0, 10.0, 10.0)))
    (one,) = judged(people_file.parent / "near.safetensors", Person(near), [8])
    assert one.recorded.samples["headway"][0] == pytest.approx((20.0 - 1.1) / 11.0)
    assert one.recorded.samples["time_to_collision"][[0, -1]] == pytest.approx([10.0, 10.0])  # 19 s, told as 10


def test_people_are_people(people_file, people):
    result = realism(judged(people_file, Person(people), held_out(people, 99).tolist()))
    for key, value in result.items():
        closing = "time_to_collision" in key  # nobody closes in on anybody
        assert value is None if closing else value == pytest.approx(0.0, abs=1e-6), key


def test_the_floor_is_between_drivers(tmp_path):
    recording = record_world(tmp_path / "two.safetensors", [Car(100.0, -4.0, 10.0), Car(100.0, 4.0, 12.0)])
    result = realism(judged(tmp_path / "two.safetensors", Person(recording), [4, 5, 6, 7]))
    assert result["wasserstein_speed_floor"] == pytest.approx(2.0)


def test_held_out_windows(people):
    assert held_out(people, 200).tolist() == list(range(8, 16))
    drawn = held_out(people, 3, seed=1)
    assert len(set(drawn.tolist())) == 3 and drawn.min() >= 8
    assert held_out(people, 3, seed=1).tolist() == drawn.tolist()


def test_processes_do_not_matter(people_file, people):
    pilots = [Person(people), Trained(Scripted((-1.0,)))]
    one, two = (drive_windows(people_file, [9, 12], pilots, processes) for processes in (1, 2))
    assert [realism(judged) for judged in one] == [realism(judged) for judged in two]


def test_evaluate_writes_plain_numbers(people_file, people, monkeypatch, capsys):
    run = people_file.parent
    spent = {"env_steps": 5, "train_seconds": 1.5, "env_steps_to_styles": None, "seconds_to_styles": None}
    (run / "training.json").write_text(json.dumps(spent))
    monkeypatch.setattr(evaluation, "load", lambda run: Scripted((-1.0, 0.0), read=1))
    done = []
    result = evaluation.evaluate(run, 3, processes=1, progress=done.append)
    assert json.loads((run / "metrics.json").read_text()) == result
    assert sum(done) == 3 and result["windows"] == 3 and result["env_steps"] == 5
    assert result["position_rmse_5s"] == pytest.approx(0.0, abs=1e-5) and result["person_collision_rate"] == 0
    assert result["code_1_windows"] == 16 and result["code_0_headway"] is None
    # The first code brakes by 1 m/s² from the speed that the second keeps: 2.55 m/s less in the mean over 50 steps.
    assert result["code_1_driven_speed"] - result["code_0_driven_speed"] == pytest.approx(2.55)
    assert result["code_0_driven_headway"] == result["code_1_driven_headway"] == 4.0  # nobody is ahead
    assert set(result["peers"]) == {"person", "constant_velocity", "idm_mobil"}
    assert result["peers"] == judge_peers(people_file, people, 3, 0, 1)
    print_table(result)
    assert "constant velocity" in capsys.readouterr().out
