import json
from pathlib import Path

import numpy as np
import pytest
from follow_world import record_followers, save_world, steady_world
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.kinematics import Vehicle
from replay_world import record_manners

from infogail.cli.program import main
from infogail.config.config import Config
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.scenarios.following import Follow
from infogail.evaluation.metrics import wasserstein
from infogail.evaluation.peers import Parameters, fit
from infogail.evaluation.width import (
    ALIKE,
    FITTED,
    FirstCar,
    Headways,
    Start,
    Width,
    fitted_mix,
    idm,
    measure_width,
    people,
    print_width,
)
from infogail.learning.learner import InfoGAIL
from infogail.runs.export import export
from infogail.runs.folder import DEMONSTRATIONS
from infogail.runs.runner import train
from infogail.traffic.population import population, vehicle_class

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "i80"
TINY = Config.of(num_codes=2, num_envs=16, iterations=1, rim_steps=20, rim_tries=1, bc_steps=20, hidden=16)


def test_people_at_each_moment_once(tmp_path):
    """Two windows that share a state; 12 and 50 m at 10 m/s, the latter more than the longest headway."""
    world = steady_world([np.full(601, 12.0), np.r_[np.full(300, 12.0), np.full(301, 50.0)]])
    recording = save_world(world, tmp_path / "f.safetensors")
    (first,), (second,) = (people(recording, windows) for windows in np.split(np.arange(4), [2]))
    np.testing.assert_allclose(first.headway, np.full(601, 1.2))
    np.testing.assert_allclose(first.speed, np.full(601, 10.0))
    np.testing.assert_allclose(first.spacing, np.full(601, 17.0))
    np.testing.assert_allclose(second.headway, np.r_[np.full(300, 1.2), np.full(301, 4.0)])


def test_people_in_lanes_count_while_they_follow(tmp_path):
    """One drives 15 m behind another, 1 m/s faster; nobody else has a leader."""
    recording = record_manners(tmp_path / "world.safetensors")
    behind, *others = people(recording, np.arange(recording.num_training))
    gap = 15.0 - 0.1 * np.arange(121)
    np.testing.assert_allclose(behind.headway, gap / 11.0, atol=1e-6)
    assert len(others) == 3 and not any(len(other.headway) for other in others)
    assert all(len(other.speed) == 121 for other in others)


def test_first_car_drives_there_and_back_again():
    road = Road(RoadNetwork.straight_road_network(1), np_random=np.random.RandomState(0))
    speeds = 3.0 + np.arange(16) / 10  # up to 1.5 s
    road.vehicles = [FirstCar(Vehicle(road, [0.0, 0.0], 0.0, 3.0), speeds, 10.0)]
    seen = []
    for _ in range(60):
        road.act()
        road.step(1 / 15)
        seen.append(road.vehicles[0].speed)
    wanted = {0.2: 3.2, 1.0: 4.0, 1.4: 4.4, 1.6: 4.4, 2.0: 4.0, 3.0: 3.0, 4.0: 4.0}
    np.testing.assert_allclose([seen[round(15 * time) - 1] for time in wanted], list(wanted.values()), atol=1e-9)


def test_mix_that_makes_up_the_headways_of_people():
    near, far, farther = np.full(50, 1.02), np.full(10, 2.02), np.full(10, 3.52)
    wanted = np.r_[np.full(30, 1.02), np.full(10, 2.02)]
    np.testing.assert_allclose(fitted_mix([near, far, farther], wanted), [0.75, 0.25, 0.0], atol=1e-6)
    np.testing.assert_allclose(fitted_mix([near, np.empty(0)], np.full(3, 1.02)), [1.0, 0.0], atol=1e-6)


def test_table(capsys):
    learned, held_out = Headways([np.array([1.0, 2.0]), np.array([3.0, 4.0])]), Headways([np.arange(1.5, 5.0)])
    alike = Headways([np.full(5, 3.0), np.empty(0)], crashed=0.5)
    print_width(Path("run"), Width(learned, held_out, {ALIKE: alike}, np.array([0.25, 0.75])))
    lines = capsys.readouterr().out.splitlines()
    rows = {line[2:36].strip(): line[36:].split("  ") for line in lines if line.startswith("  ")}
    rows = {name: [cell.strip() for cell in cells if cell.strip()] for name, cells in rows.items()}
    assert rows["drivers"] == ["2", "1", "2"] and rows["crashed or left the road"] == ["50.0 %"]
    assert rows["headway, quartiles [s]"] == ["1.75, 2.50, 3.25", "2.25, 3.00, 3.75", "3.00, 3.00, 3.00"]
    assert rows["drivers' medians, 10 to 90 % [s]"] == ["1.70, 3.30", "3.00, 3.00", "3.00, 3.00"]
    assert rows["distance from people held out [s]"] == ["0.500", "0.000", "1.000"]
    assert rows["÷ that of people learned from"] == ["1.00", "0.00", "2.00"]


def test_idm_drivers_settle_at_their_equilibrium(tmp_path):
    """At 10 m/s behind a steady leader, IDM keeps (2 + 1.2 · 10) / √(1 - (10 / 30)⁴) m, in highway-env between centres:
    (7 + 12) / √(1 - 1 / 81) - 5 = 14.12 m."""
    learned = people(save_world(steady_world([np.full(301, 15.0)] * 2), tmp_path / "f.safetensors"), np.arange(1))
    start = Start(learned, 10.0, 1)
    assert start.settings() == {
        "lanes_count": 1,
        "vehicles_count": 8,
        "vehicles_density": pytest.approx(34.5 * 0.8824969 / 20.0),
    }
    courses = start.drive(idm(Parameters(30.0, 1.2, 2.0, 1.5, 2.0)), 0, [learned[0].speed], np.full(8, 0.5))
    assert len(courses) == 8 and not any(course.failed for course in courses)
    assert np.mean([course.headway[-1] for course in courses]) == pytest.approx(1.412, abs=0.06)


def test_idm_is_fitted_to_those_learned_from(tmp_path):
    """Made-up drivers have the headways 0.8 and 2.2 s."""
    assert 0.8 < fit(record_followers(tmp_path / "f.safetensors", 2)).time_headway < 2.2


def test_command_prints_a_table_and_lets_codes_be_as_common_as_fitted(tmp_path, capsys):
    record_followers(tmp_path / "f.safetensors", 2)
    train(InfoGAIL, "infogail", tmp_path / "f.safetensors", "follow", TINY, tmp_path / "run")
    main(["traffic", str(tmp_path / "run"), "--measure", "--starts", "1"])
    out = capsys.readouterr().out
    assert f"Headways of {tmp_path / 'run'} in highway-v0" in out
    assert "codes are as common as fitted from now on" in out and str(tmp_path / "run" / "mix.json") in out
    fitted = np.array(json.loads((tmp_path / "run" / "mix.json").read_bytes())["mix"])
    assert fitted.sum() == pytest.approx(1.0)
    export(tmp_path / "run", tmp_path / "exported")
    for run in (tmp_path / "run", tmp_path / "exported"):
        np.testing.assert_array_equal(vehicle_class(population(run)).mix, fitted)
    with pytest.raises(SystemExit):
        main(["traffic", str(tmp_path / "run"), "--measure", "--environment", "merge-v0"])
    assert "is measured in highway-v0" in capsys.readouterr().err


def test_nobody_held_out(tmp_path):
    save_world(steady_world([np.full(601, 12.0)]), tmp_path / "f.safetensors")
    train(InfoGAIL, "infogail", tmp_path / "f.safetensors", "follow", TINY, tmp_path / "run")
    with pytest.raises(BadInput, match="nothing is held out"):
        measure_width(tmp_path / "run", 1)


@pytest.mark.slow
@pytest.mark.skipif(not RECORDINGS.exists(), reason="the I-80 recordings are not here")
def test_codes_of_people_are_nearer_to_people_than_idm(tmp_path):
    """Three codes, in four starts; how common the codes are, as inferred, needs more to be told."""
    files = [str(RECORDINGS / f"i80-0{hour}00.csv.gz") for hour in (4, 5)]
    main(["import", *files, "--out", str(tmp_path / "f.safetensors")])
    config = Config.of(**Follow().recommended)
    train(InfoGAIL, "infogail", tmp_path / "f.safetensors", "follow", config, tmp_path / "run")
    width = measure_width(tmp_path / "run", 4)
    recording = Recording.load(tmp_path / "run" / DEMONSTRATIONS, Follow())
    assert len(width.learned.drivers) + len(width.held_out.drivers) == len(np.unique(recording.world.track))
    distance = {name: wasserstein(each.all, width.held_out.all) for name, each in width.traffic.items()}
    assert distance[FITTED] < 0.5 * distance[ALIKE]
    assert [len(each.drivers) for each in width.traffic.values()] == [32, 32, 32]
