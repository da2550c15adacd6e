import json
import math
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from passer import Passer

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.data.recording import InvalidDemonstrations, Recording
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.evaluation import protocol as evaluation
from infogail.evaluation.episodes import Episode, demonstrated_episodes
from infogail.evaluation.protocol import code_names, drive, evaluate, evaluate_many, judge, quantities
from infogail.runs.driver import Driver
from infogail.runs.folder import DEMONSTRATIONS, InvalidRun

METRICS = [
    *("style_nmi", "style_ami", "style_ari", "style_accuracy", "style_accuracy_merged"),
    *("style_accuracy_named", "style_rank_correlation", "style_coverage", "style_kl"),
    *("posterior_accuracy", "posterior_ami", "posterior_accuracy_step"),
    *("success_rate", "collision_rate", "off_road_rate", "hard_brake_rate", "distance_ratio"),
    *("wasserstein_speed", "wasserstein_lane_offset", "wasserstein_acceleration", "wasserstein_steering"),
    *("wasserstein_time_to_collision", "occupancy_mmd", "occupancy_mmd_floor", "occupancy_mmd_worst_code"),
]
UNASKED = {"style_accuracy_named", "style_rank_correlation"}  # of unlabelled styles that are no matter of degree


class Coder(SimpleNamespace):
    """A driver that is only looked at: `judge` is given the episodes. Its posterior is a function of observations."""

    prior, graded, labelled = np.array([0.5, 0.5]), False, False
    belief = Driver.belief

    def log_posterior(self, observations, actions):
        return self.answer(observations)


def passer(run: Path) -> Passer:
    return Passer(run.name)


@pytest.fixture(scope="module")
def recording():
    return record(get_scenario("pass"), 20, seed=3)[0]


@pytest.fixture(scope="module")
def env():
    return gymnasium.make(environment_id("pass")).unwrapped


@pytest.fixture
def make_run(tmp_path, monkeypatch, recording):
    def make(manner: str) -> Path:
        run = tmp_path / manner
        recording.save(run / "demonstrations.safetensors")
        (run / "training.json").write_text(
            '{"env_steps": 1200, "train_seconds": 3.5, "env_steps_to_styles": null, "seconds_to_styles": null}'
        )
        return run

    monkeypatch.setattr(evaluation, "load", passer)
    return make


def same(a: Episode, b: Episode) -> bool:
    flags = (a.code, a.crashed, a.off_road, a.style) == (b.code, b.crashed, b.off_road, b.style)
    arrays = ((a.observations, b.observations), (a.actions, b.actions), (a.vehicle_states, b.vehicle_states))
    return flags and a.scene == b.scene and all(np.array_equal(x, y) for x, y in arrays)


def test_driving_does_not_depend_on_processes_nor_on_the_other_runs():
    runs, done = [Path("careful"), Path("reckless")], []
    alone = drive(passer, runs, episodes=13, seed=4, processes=1)
    together = drive(passer, runs, episodes=13, seed=4, processes=2, progress=done.append)
    assert [len(episodes) for episodes in together] == [13, 13]
    assert all(same(a, b) for one, other in zip(alone, together, strict=True) for a, b in zip(one, other, strict=True))
    (second,) = drive(passer, runs[1:], episodes=13, seed=4, processes=1)
    assert all(same(a, b) for a, b in zip(second, together[1], strict=True))
    assert sum(done) == 26 and len(done) > 2


def test_codes_are_balanced_and_starts_are_fresh(recording):
    (driven,) = drive(passer, [Path("reckless")], episodes=12, seed=0, processes=1)
    (other,) = drive(passer, [Path("reckless")], episodes=12, seed=1, processes=1)
    assert [episode.code for episode in driven] == [0, 1] * 6
    starts = [float(e.scene["lead_gap"]) for e in driven + other] + recording.scenes["lead_gap"].tolist()
    assert len(set(starts)) == len(starts)


def test_metrics_json_holds_every_metric_of_a_good_driver(make_run):
    run, done = make_run("careful"), []
    result = evaluate(run, episodes=20, seed=0, processes=1, progress=done.append)
    text = (run / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == result
    assert list(result) == [
        *("scenario", "algorithm", "num_codes", "training_seed", "seed", "episodes", *METRICS, "code_names"),
        *("env_steps", "train_seconds", "env_steps_to_styles", "seconds_to_styles", "versions"),
    ]
    assert [result[key] for key in ("scenario", "algorithm", "num_codes", "training_seed", "seed", "episodes")] == [
        *("pass", "infogail", 2, 7, 0, 20)
    ]
    assert [result[key] for key in list(result)[-5:-1]] == [1200, 3.5, None, None]
    assert set(result["versions"]) == {"torch", "highway-env", "gymnasium", "numpy"}
    perfect = ("style_nmi", "style_ami", "style_ari", "style_accuracy", "style_coverage", "success_rate")
    assert [result[key] for key in perfect] == pytest.approx([1.0] * 6)
    assert result["posterior_accuracy"] == 1.0
    assert result["code_names"] == ["left", "right"]
    assert result["collision_rate"] == result["off_road_rate"] == 0.0
    assert 0.9 < result["distance_ratio"] < 1.1
    assert all((result[key] is None) if key in UNASKED else math.isfinite(result[key]) for key in METRICS)
    assert sum(done) == 20


def test_a_failing_driver_scores_nothing_and_stays_finite(make_run):
    crashed, left = evaluate_many([make_run("reckless"), make_run("swerving")], episodes=10, processes=1)
    for result in (crashed, left):
        zero = ("style_nmi", "style_ami", "style_ari", "style_accuracy", "style_coverage", "success_rate")
        assert [result[key] for key in zero] == [0.0] * 6
        assert result["style_kl"] > 2
        assert result["code_names"] == [None, None]
    assert (crashed["collision_rate"], crashed["off_road_rate"]) == (1.0, 0.0)
    assert (left["collision_rate"], left["off_road_rate"]) == (0.0, 1.0)
    assert crashed["wasserstein_acceleration"] > 3  # [m/s²]: always 5 where demonstrations are near 0
    assert left["wasserstein_steering"] > 0.08  # [rad]: always 0.1 where demonstrations are near 0


def test_demonstrations_judged_by_themselves_differ_in_nothing(recording):
    demonstrated = demonstrated_episodes(recording)
    again = [Episode(**{**vars(episode), "code": 1 - episode.style}) for episode in demonstrated]
    driver = Passer()
    driver.prior = np.bincount([episode.code for episode in again]) / len(again)
    result = judge(driver, again, demonstrated)
    assert result["style_nmi"] == pytest.approx(1.0)
    assert result["distance_ratio"] == 1.0
    assert result["style_kl"] == pytest.approx(0.0, abs=1e-12)
    assert [result[key] for key in METRICS if key.startswith("wasserstein")] == [0.0] * 5
    assert abs(result["occupancy_mmd"]) < 0.01


def test_units_are_those_of_the_road(recording):
    demonstrated = demonstrated_episodes(recording)
    moved = []
    for episode in demonstrated:
        states = episode.vehicle_states.copy()
        states[..., 0, 1] += 0.5  # the ego, to the right [m]
        states[..., 0, 3] += 2.0  # [m/s]
        actions = episode.actions / 2
        moved.append(Episode(**{**vars(episode), "code": 0, "vehicle_states": states, "actions": actions}))
    result = judge(Passer(), moved, demonstrated)
    assert result["wasserstein_lane_offset"] == pytest.approx(0.5)
    assert result["wasserstein_speed"] == pytest.approx(2.0)
    actions = np.abs(recording.demonstrations.actions.astype(np.float64))
    # Halving a sample that is spread about 0 moves each quantile by half its size; actions are 5 m/s² and 0.1 rad.
    assert result["wasserstein_acceleration"] == pytest.approx(actions[:, 0].mean() / 2 * 5.0)
    assert result["wasserstein_steering"] == pytest.approx(actions[:, 1].mean() / 2 * 0.1)


def test_time_to_collision_is_from_bumper_to_bumper(env):
    # Both cars on the middle line: 25 m between the centres is 20 m between cars of 5 m; the ego is 4 m/s faster.
    states = np.zeros((61, 2, 4))
    states[:, 0, 0], states[:, 1, 0] = np.arange(61) * 0.2 * 19, 25.0 + np.arange(61) * 0.2 * 15
    actions = np.zeros((60, 2), np.float32)
    episode = Episode(0, np.zeros((60, 7), np.float32), actions, states, {}, False, False, NO_STYLE)
    times = quantities(env.scenario, episode)["time_to_collision"]
    assert times.tolist() == pytest.approx([5.0 - 0.2 * t for t in range(25)])
    states[:, 0, 1] = 2.1  # wider apart than a car: the ego would pass by
    assert len(quantities(env.scenario, episode)["time_to_collision"]) == 0


def test_on_a_highway_nobody_runs_into_those_on_other_lanes():
    scenario = get_scenario("highway")
    states = np.zeros((61, scenario.num_vehicles, 4))
    states[:, :, 0] = 1000.0 * np.arange(scenario.num_vehicles)
    states[:, 0, 0], states[:, 1, 0] = np.arange(61) * 0.2 * 19, 25.0 + np.arange(61) * 0.2 * 15
    actions = np.zeros((60, 2), np.float32)
    episode = Episode(0, np.zeros((60, 24), np.float32), actions, states, {}, False, False, NO_STYLE)
    assert quantities(scenario, episode)["time_to_collision"][0] == pytest.approx(5.0)
    states[:, 1:, 1] = 4.0  # the next lane
    assert not (quantities(scenario, episode)["time_to_collision"] < 100).any()


def test_a_highway_run_is_judged_by_its_demonstrations_characters(highway_run, highway_recording):
    result = evaluate(highway_run, episodes=4, processes=1)
    assert result["scenario"] == "highway" and result["num_codes"] == 4
    failed = result["collision_rate"] + result["off_road_rate"]
    assert result["success_rate"] == 1.0 - failed  # every other episode is of some style
    assert result["wasserstein_speed"] is not None and result["style_coverage"] > 0
    highway = get_scenario("highway")
    judge = highway.fit_judge(Recording.load(highway_run / DEMONSTRATIONS, highway))
    np.testing.assert_array_equal(judge.centroids.means, highway.fit_judge(highway_recording).centroids.means)
    styles = [judge(highway_recording.trajectory(k), {}) for k in range(24)]
    assert (styles == highway_recording.styles).mean() > 0.9


def test_the_posterior_is_judged_on_held_out_demonstrations_alone(recording):
    demonstrated = demonstrated_episodes(recording)
    driven = [Episode(**{**vars(episode), "code": 0}) for episode in demonstrated]
    first = recording.demonstrations.episode_bounds[16]  # four fifths of 20 episodes are for training
    held_out, seen = recording.demonstrations.observations[first:], []

    def swapped(observations):
        seen.append(observations)
        return -Passer().log_posterior(observations, None)

    driver = Coder(scenario=get_scenario("pass"), num_codes=2, answer=swapped)
    assert judge(driver, driven, demonstrated)["posterior_accuracy"] == 1.0  # whichever code is called 0
    assert np.array_equal(np.concatenate(seen[:4]), held_out)  # episode by episode, and all its steps alone
    assert np.array_equal(seen[4], held_out) and len(seen) == 5
    driver.answer = lambda observations: np.log(np.broadcast_to([0.6, 0.4], (len(observations), 2)))
    assert judge(driver, driven, demonstrated)["posterior_accuracy"] == 0.5


def test_of_a_learner_without_posterior_no_posterior_is_judged():
    demonstrated = demonstrated_episodes(record(get_scenario("turn"), 10, seed=0)[0])
    driven = [Episode(**{**vars(episode), "code": k % 2}) for k, episode in enumerate(demonstrated)]
    result = judge(
        Coder(scenario=get_scenario("turn"), num_codes=2, answer=lambda observations: None), driven, demonstrated
    )
    assert set(result) == set(METRICS)
    assert [result[key] for key in METRICS if key.startswith("posterior")] == [None, None, None]
    assert result["wasserstein_time_to_collision"] is None  # nobody else is on that road
    assert result["wasserstein_speed"] == 0.0


def test_the_ends_of_a_graded_code_have_names():
    """Between them, styles are mixed; a style that only half of an end's episodes have is no name."""
    driver = SimpleNamespace(graded=True, num_codes=3, num_distinct=3, scenario=get_scenario("turn-line"))

    def names(first, last):
        styles = {0: first, 1: (0, 1, 0, 1), 2: last}
        driven = [SimpleNamespace(code=code, style=style) for code, each in styles.items() for style in each]
        return code_names(driver, driven)

    assert names((1, 1, 1, 1), (0, 0, 0, 0)) == ["outside", None, "inside"]
    assert names((1, 1, 1, 1), (0, 0, 1, 1)) == ["outside", None, None]


def test_bad_requests_are_refused_before_driving(make_run):
    run = make_run("careful")
    with pytest.raises(ValueError, match="episodes must be at least 1, not 0"):
        evaluate(run, episodes=0)
    (run / "training.json").write_text('{"env_steps": 1')
    with pytest.raises(InvalidRun, match="not written by training"):
        evaluate(run, episodes=10**9)
    (run / "demonstrations.safetensors").unlink()
    with pytest.raises(InvalidDemonstrations, match="no such file"):
        evaluate(run, episodes=10**9)
    assert not (run / "metrics.json").exists()
