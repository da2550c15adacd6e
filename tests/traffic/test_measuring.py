import numpy as np
import pytest
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle

from infogail.cli.program import main
from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.highway import IDM_STYLES
from infogail.envs.scenarios.styles import StyleCentroids
from infogail.learning.learner import InfoGAIL
from infogail.runs.runner import train
from infogail.traffic.measuring import Course, Drivers, Measured, Start, demonstrators, drive, drivers_of

STILL = Drivers(np.ones(1), lambda old, code: Vehicle(old.road, old.position, old.heading, old.speed))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    record(get_scenario("highway"), 10, seed=0)[0].save(folder / "demonstrations.safetensors")
    config = Config.of(num_codes=4, num_envs=16, iterations=1, rim_steps=2, rim_tries=1, bc_steps=100, hidden=16)
    train(InfoGAIL, "infogail", folder / "demonstrations.safetensors", "highway", config, folder / "run")
    return folder / "run"


def course(**changes):
    """Two drivers for four decisions; the second is there for two of them."""
    there = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], dtype=bool)
    values = {
        "there": there,
        "speed": np.array([[4.0, 10.0], [6.0, 12.0], [6.0, 99.0], [8.0, 99.0]]),
        "headway": np.array([[1.0, 2.0], [1.0, 4.0], [2.0, 0.0], [2.0, 0.0]]),
        "changes": np.array([[0, 0], [1, 0], [0, 1], [1, 0]], dtype=bool),
        "overruled": np.array([[1, 0], [0, 0], [0, 1], [0, 1]], dtype=bool),
        "failed": np.array([False, True]),
        "codes": np.array([0, 1]),
    }
    return Course(**values | changes)


def test_measures_are_of_the_time_that_a_driver_was_there():
    np.testing.assert_allclose(course().measures(4, 5), [[6.0, 11.0], [1.5, 3.0], [5.0, 5.0], [2.0, 0.0]])
    np.testing.assert_allclose(course().measures(2, 5), [[5.0, 11.0], [1.0, 3.0], [5.0, 5.0], [1.0, 0.0]])


def test_summary_of_courses():
    means = np.array([[6.0, 1.5, 5.0, 2.0], [11.0, 3.0, 5.0, 0.0]])
    still = course(speed=np.array([[0.0, 0.0], [6.0, 0.0], [6.0, 6.0], [6.0, 6.0]]))
    drivers = course(failed=np.array([False, False])), still
    measured = Measured.of([drivers, drivers], StyleCentroids(means, np.ones(4)), 4, 5)
    assert measured == Measured(
        drivers=4,
        failed=0.0,
        interval=(0.0, 0.0),
        overruled=2 / 12,
        overruled_since_start=2 / 12,
        speed=46 / 6,
        lane_changes=60 * 5 * 4 / 12,
        nmi=1.0,
        dissolved=1.0,
    )
    overruled = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=bool)
    again = course(failed=np.array([False, False]), overruled=overruled), still
    measured = Measured.of([again], StyleCentroids(means, np.ones(4)), 4, 5)
    assert (measured.overruled, measured.overruled_since_start) == (4 / 6, 2 / 6)
    failures = Measured.of([(course(), still)], StyleCentroids(means[:1], np.ones(4)), 4, 5)
    assert (failures.failed, failures.nmi) == (0.5, 1.0)  # who failed has a style of its own
    mixed = Measured.of([(course(), still), drivers], StyleCentroids(means, np.ones(4)), 4, 5)
    assert (mixed.failed, mixed.interval) == (0.25, (0.0, 0.5))  # all of both starts alike, a quarter of the time each
    never = course(speed=np.zeros((4, 2)))
    assert Measured.of([(course(), never)], StyleCentroids(means, np.ones(4)), 4, 5).dissolved == 0.0


def test_starts_differ_only_in_who_drives():
    one, other = (Start.of("highway-v0", 3, drivers, still=False) for drivers in (STILL, demonstrators(IDM_STYLES)))
    for a, b in zip(one.env.unwrapped.road.vehicles, other.env.unwrapped.road.vehicles, strict=True):
        assert (a.position == b.position).all() and a.speed == b.speed
    assert isinstance(one.env.unwrapped.vehicle, IDMVehicle) and len(one.drivers) == 50
    wanted = [(driver.target_speed, driver.TIME_WANTED, driver.COMFORT_ACC_MAX) for driver in other.drivers]
    assert wanted == [(s.speed, s.headway, s.acceleration) for s in (IDM_STYLES[code] for code in other.codes)]
    still = Start.of("highway-v0", 3, STILL, still=True)
    assert [vehicle.speed for vehicle in still.env.unwrapped.road.vehicles] == [0.0] * 51


def test_demonstrators_leave_a_standstill_and_the_end_of_the_road_is_no_failure():
    drivers = demonstrators(IDM_STYLES)
    moving, still = (drive(Start.of("merge-v0", 1, drivers, how), 20.0, 5) for how in (False, True))
    assert still.dissolved(5) == pytest.approx(5.0, abs=2.0)  # at 1 to 5 m/s²
    assert not moving.failed.any() and moving.there[0].all() and not moving.there[-1].all()


def test_straight_on_from_a_ramp_is_a_failure():
    course = drive(Start.of("merge-v0", 1, STILL, still=False), 14.0, 5)
    assert course.failed[-1]  # at the obstacle, after 200 m at 20 m/s


def test_command_prints_a_table(run, capsys):
    assert not main(["traffic", str(run), "--environment", "merge-v0", "--measure", "--starts", "1", "--seconds", "2"])
    out = capsys.readouterr().out
    assert "4 drivers each in merge-v0" in out
    rows = {line.split("  ")[1].strip(): line for line in out.splitlines() if line.startswith("  ")}
    assert rows["crashed or left the road"].count("%") == 3 and rows["standstill dissolved in 10 s"].count("0 %") == 3


def test_bad_input(run):
    with pytest.raises(BadInput, match=r"^parking-v0 does not support custom vehicle types"):
        Start.of("parking-v0", 0, drivers_of(run, assisted=False), still=False)
