"""Judging followers by people, on made-up people whose numbers can be derived by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from follow_world import STEPS, ScriptedFollower, record_followers, save_world, steady_world, write_ngsim
from sklearn.metrics import adjusted_mutual_info_score

from infogail.envs.data.recording import Recording
from infogail.envs.data.world import NOTHING_HELD_OUT
from infogail.envs.errors import BadInput
from infogail.envs.recordings.following import import_tables
from infogail.envs.scenarios.following import Follow
from infogail.evaluation import protocol
from infogail.evaluation.following import (
    PEERS,
    PERSON,
    ROLLOUTS,
    Drives,
    Scenes,
    Trained,
    _drive,
    _rollouts,
    closeness,
    judge_following,
    judge_peers,
    likelihood,
    people_to_judge,
)
from infogail.evaluation.judges import JUDGES
from infogail.evaluation.people_table import print_table

NEAR, FAR, HALF = 15.0, 30.0, 300  # gaps [m], behind which different codes are read; steps of half a track
PEER_KEYS = {"position_rmse_20s", "gap_median_error_20s", "speed_rmse_20s", "collision_rate", "realism"}


def gaps(*halves, states=2 * HALF + 1):
    """(T,) [m] of a driver: the first half of the track, and the second."""
    first, second = halves if len(halves) == 2 else halves * 2
    return np.where(np.arange(states) < states // 2, first, second)


def judged(path, world, driver, **options):
    """The metrics of a driver by the held-out people of a world, without peers."""
    path.mkdir(exist_ok=True)
    recording = save_world(world, path / "demonstrations.safetensors")
    return judge_following(driver, path, recording, 1, 0, 1, peers={}, **options)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Followers of two kinds: four to learn from, four held out."""
    path = tmp_path_factory.mktemp("people") / "demonstrations.safetensors"
    record_followers(path)
    return path


@pytest.fixture(scope="module")
def recording(file):
    return Recording.load(file, Follow())


def test_who_brakes_falls_behind_a_steady_person(tmp_path):
    """By Euler: after n decisions 0.1² · 0.04 n (n - 1) / 2 metres and 0.004 n m/s, for one of two people."""
    world = steady_world([gaps(NEAR), gaps(NEAR), gaps(FAR)])
    result = judged(tmp_path, world, ScriptedFollower((0.0, -0.04)))
    assert (result["people"], result["windows"]) == (2, 2)
    behind = {key: result[f"position_rmse_{key}"] for key in ("5s", "10s", "20s")}
    half = np.sqrt(0.5)
    assert behind == pytest.approx({"5s": 0.49 * half, "10s": 1.98 * half, "20s": 7.96 * half}, abs=1e-5)
    # The mean of (n (n - 1) / 2)² over n = 1 … 200 is 79996666.7.
    assert result["position_rmse"] == pytest.approx(4e-4 * np.sqrt(79_996_666.7 / 2), abs=1e-5)
    assert result["gap_median_error_20s"] == pytest.approx(7.96 / 2, abs=1e-5)
    assert result["speed_rmse_20s"] == pytest.approx(0.8 * half, abs=1e-5)
    # It drives at 9.996, 9.992, … 9.2 m/s where the person drives at 10, and accelerates by -0.04, half of the time.
    assert result["wasserstein_speed"] == pytest.approx(0.402 / 2, abs=1e-5)
    assert result["wasserstein_acceleration"] == pytest.approx(0.02, abs=1e-5)
    n = np.arange(1, 201)
    headways = np.minimum((FAR + 2e-4 * n * (n - 1)) / (10 - 4e-3 * n), 4.0)
    assert result["wasserstein_headway"] == pytest.approx((headways.mean() - 3.0) / 2, abs=1e-5)
    assert (result["collision_rate"], result["hard_brake_rate"]) == (0.0, 0.0)
    assert result["best_of_k_position_rmse_20s"] == result["best_of_k_speed_rmse_20s"] == pytest.approx(0, abs=1e-9)
    # Behind both, each code keeps its ways: code 0 the gaps of 1.5 and 3 s.
    assert result["code_0_driven_headway"] == pytest.approx(2.25, abs=1e-6)
    assert result["code_1_driven_acceleration"] == pytest.approx(-0.04, abs=1e-6)
    assert result["code_1_driven_speed"] == pytest.approx(10 - 0.402, abs=1e-5)


def test_best_code_is_the_best_of_each_window(tmp_path):
    world = steady_world([gaps(NEAR), gaps(NEAR), gaps(FAR)])
    result = judged(tmp_path, world, ScriptedFollower((-0.04, -3.5)))
    assert result["hard_brake_rate"] == 0.5 and result["code_1_hard_brake_rate"] == 1.0
    assert result["best_of_k_position_rmse_20s"] == pytest.approx(7.96, abs=1e-5)
    assert result["best_of_k_gap_median_error_20s"] == pytest.approx(7.96, abs=1e-5)
    assert result["best_of_k_speed_rmse_20s"] == pytest.approx(0.8, abs=1e-5)
    # At -3.5 m/s² it stands after 29 decisions at 10, 9.65, … 0.2 m/s: 14.79 m on.
    assert result["position_rmse_20s"] == pytest.approx(np.sqrt((7.96**2 + (200 - 14.79) ** 2) / 2), abs=1e-3)


def test_who_crashes_stands_where_it_stopped_and_counts(tmp_path):
    """At 1 m/s² it is 5.28 m nearer after 33 decisions, 4.96 m after 32; the gap is 5 m."""
    world = steady_world([gaps(NEAR), gaps(NEAR, 5.0), gaps(FAR)])
    result = judged(tmp_path, world, ScriptedFollower((1.0, 0.0)))
    assert result["collision_rate"] == 0.5 and result["code_0_collision_rate"] == 1.0
    late = [result[f"position_rmse_{key}"] * np.sqrt(2) for key in ("5s", "10s", "20s")]
    # It stands 38 m on; on impact, highway-env pushes it back by some of the overlap.
    assert late == pytest.approx([12.0, 62.0, 162.0], abs=0.5)
    assert np.diff(late) == pytest.approx([50.0, 100.0], abs=1e-6)
    assert result["speed_rmse_20s"] == pytest.approx(10 / np.sqrt(2), abs=1e-6)
    assert result["best_of_k_position_rmse_20s"] == pytest.approx(0.0, abs=1e-9)


def test_drives_that_end_early():
    states = np.zeros((11, 2, 7))
    states[:, 0, 0], states[:, 0, 3] = np.arange(11.0), 10.0
    drives = Drives.of([states, np.repeat(states, 20, 0)[:201]], [True, False])
    assert drives.x.shape == drives.speed.shape == (2, 201) and drives.steps.tolist() == [10, 200]
    assert drives.x[0, [9, 10, 11, 200]].tolist() == [9.0, 10.0, 10.0, 10.0]
    assert drives.speed[0, [9, 10, 11, 200]].tolist() == [10.0, 10.0, 0.0, 0.0]
    assert drives.driving().sum(1).tolist() == [11, 201] and drives.crashed.tolist() == [True, False]


def test_people_reproduce_themselves(file, recording, tmp_path):
    """In highway-env, by their recorded accelerations; also those recovered from rough tables."""
    person = judge_peers(file, recording, 1, 0, 1)[PERSON]
    write_ngsim(tmp_path / "table.csv", drivers=3, seed=9, noise=0.1)
    imported = tmp_path / "imported.safetensors"
    import_tables([tmp_path / "table.csv"]).recording.save(imported)
    scenes = people_to_judge(recording, imported)
    assert len(scenes.driver) == 3
    for result in (person, judge_peers(imported, recording, 1, 0, 1, imported)[PERSON]):
        off = {k: v for k, v in result.items() if k != "realism" and not k.endswith("floor")}
        assert {"position_rmse", "speed_rmse_20s", "wasserstein_headway"} <= off.keys()
        assert off == pytest.approx(dict.fromkeys(off, 0.0), abs=1e-6)


def test_only_the_first_half_gives_the_code_and_only_the_second_is_driven(tmp_path):
    """Which code drives shows in how far it falls behind: not at all, or 7.96 m."""
    driver, found = ScriptedFollower((0.0, -0.04)), {}
    barely = np.where(np.arange(2 * HALF + 1) < 151, NEAR, FAR)
    for name, people in {
        "faithful": (gaps(NEAR), gaps(FAR)),
        "spoiled": (gaps(NEAR, FAR), gaps(FAR, NEAR)),
        "exchanged": (gaps(FAR, NEAR), gaps(NEAR, FAR)),
        "all near at first": (gaps(NEAR, FAR), gaps(NEAR, FAR)),
        "barely near at first": (barely, barely),  # with two further steps, as often far; with three, the other code
    }.items():
        path = tmp_path / name
        found[name] = judged(path, steady_world([gaps(NEAR), *people]), driver)
        scenes = people_to_judge(Recording.load(path / "demonstrations.safetensors", Follow()))
        starts = scenes.world.demonstration_row - scenes.world.first_row[scenes.driver]
        assert starts.tolist() == [HALF, HALF] and scenes.driver.tolist() == scenes.people.tolist() == [1, 2]
    agreed = {name: result["halves_agreement"] for name, result in found.items()}
    assert agreed == dict.fromkeys(found, 0.0) | {"faithful": 1.0}
    behind = {name: result["position_rmse_20s"] for name, result in found.items()}
    one_of_two = 7.96 / np.sqrt(2)
    near = {"all near at first": 0.0, "barely near at first": 0.0}
    assert behind == pytest.approx(dict.fromkeys(found, one_of_two) | near, abs=1e-5)


def test_recognition_of_headways(tmp_path):
    people = [gaps(gap) for gap in (10.0, 12.0, 14.0, 24.0, 26.0, 28.0)]
    result = judged(tmp_path, steady_world([gaps(NEAR), *people]), ScriptedFollower((0.0, 0.0)))
    expected = adjusted_mutual_info_score([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1])
    assert result["headway_ami"] == pytest.approx(expected) and 0.25 < expected < 0.9
    # Of the 20 ways to give three of six each code, two divide them as well as the codes do.
    assert result["halves_agreement"] == 1.0 and result["halves_agreement_p"] == pytest.approx(1 / 20, abs=0.02)
    assert result["halves_agreement_chance"] == pytest.approx(0.5, abs=0.02)
    assert result["code_shares"] == [0.5, 0.5] and result["headway_rank_correlation"] is None


def test_graded_codes_are_ranked_by_headway(tmp_path):
    world = steady_world([gaps(NEAR), gaps(NEAR), gaps(20.0)])
    for accelerations, expected in (
        ((-0.02, 0.0, 0.02), 1.0),  # nobody told the learner which end is which
        ((0.02, 0.0, -0.02), 1.0),
        ((0.0, -0.02, 0.02), 0.5),
        ((0.0, 0.0, 0.0), 0.0),
    ):
        result = judged(tmp_path, world, ScriptedFollower(accelerations, graded=True))
        assert result["headway_rank_correlation"] == pytest.approx(expected)


@pytest.fixture(scope="module")
def two_scenes(tmp_path_factory):
    """One drives at 11 m/s, one at 11 and, from the middle of the window on, at 16; both 30 m behind."""
    world = steady_world([gaps(FAR)] * 3, speed=11.0)
    fast = world.first_row[2] + HALF + 101
    follower, leader = world.follower.copy(), world.leader.copy()
    follower[fast:, 1] = leader[fast:, 1] = 16.0
    path = tmp_path_factory.mktemp("scenes") / "two.safetensors"
    return people_to_judge(save_world(replace(world, follower=follower, leader=leader), path))


def stacked(*drives):
    """Drives of a window each, as rollouts (R, n, …)."""
    return Drives(*(np.stack(fields) for fields in zip(*drives, strict=True)))


def test_realism_by_hand(two_scenes):
    person, standing = two_scenes.recorded(), np.full(2, False)
    assert person.speed[:, [0, 100, 101, 200]].tolist() == [[11.0] * 4, [11.0, 11.0, 16.0, 16.0]]
    steady = person._replace(speed=np.full((2, 201), 11.0), crashed=standing)
    closer = person._replace(
        x=person.x + np.array([[20.0], [0.0]]),  # gaps of 10 and 30 m
        speed=np.where(np.arange(201) > 100, 11.0, [[13.75], [11.0]]),  # from 13.75 to 11 m/s in a tenth, and 11
        crashed=np.array([True, False]),
    )
    # Each quantity has 400 simulated steps in 10 bins (accelerations in 11), and 0.1 is added to the count of each.
    # Speeds: bins of 2.5 m/s; 11 is in the fifth, 13.75 in the sixth, 16 in the seventh.
    whole, few = 400.1 / 401, 0.1 / 401
    speed = (300.1 / 401 + np.sqrt(whole * few)) / 2
    # Accelerations: 0 is in the middle one; -27.5 in the first; 50 in the last, once of 200 steps.
    whole_of_11, few_of_11 = 400.1 / 401.1, 0.1 / 401.1
    acceleration = (399.1 / 401.1 + whole_of_11 ** (199 / 200) * few_of_11 ** (1 / 200)) / 2
    gap = (200.1 / 401 + whole) / 2  # bins of 4.5 m from -5 m
    time = whole  # nobody closes in: beyond the longest of 5 s
    collision = (1.001 / 2.002 + 2.001 / 2.002) / 2
    expected = (0.05 * speed + 0.05 * acceleration + 0.1 * gap + 0.1 * time + 0.25 * collision) / 0.55
    assert likelihood(two_scenes, stacked(steady, closer)) == pytest.approx(expected, abs=1e-9)


def test_time_to_collision_counts(two_scenes):
    """Closing by 0.5 m in a tenth, of 30 m, it has 5.9 s at first, and under 5 s from the tenth step on: bin after bin,
    none of which the person, who closes in on nobody, was ever in."""
    person = two_scenes.recorded()
    closing = person._replace(x=person.x + np.minimum(0.5 * np.arange(201), 29.0))
    # Closing goes on for 58 steps; the gap is 30 - 0.5 n after n, and 29 - … at the last: time (30 - 0.5 n) / 5.
    n = np.arange(1, 59)
    seen = int((6.0 - 0.1 * n >= 4.5).sum()) + 142  # in the last bin, from 4.5 s, or not closing
    assert seen == 157
    gaps_seen = 30 - 0.5 * np.minimum(np.arange(1, 201), 58)
    same_gap = int(((gaps_seen >= 26.5) & (gaps_seen < 31)).sum())
    assert same_gap == 7
    speed = (200.1 / 201 + np.sqrt(100.1 / 201 * 100.1 / 201)) / 2
    acceleration = (200.1 / 201.1 + (199.1 / 201.1) ** (199 / 200) * (1.1 / 201.1) ** (1 / 200)) / 2
    parts = 0.05 * speed + 0.05 * acceleration + 0.1 * (same_gap + 0.1) / 201 + 0.1 * (seen + 0.1) / 201
    expected = (parts + 0.25 * 1.001 / 1.002) / 0.55
    assert likelihood(two_scenes, stacked(closing)) == pytest.approx(expected, abs=1e-9)


def test_realism_ranks_people_before_shifted_people_before_noise(recording):
    scenes, rng = people_to_judge(recording), np.random.default_rng(0)
    person = scenes.recorded()
    behind = person._replace(x=person.x - 8.0, speed=np.maximum(person.speed - 3.0, 0.0))
    speed = rng.uniform(0.0, 25.0, person.speed.shape)
    erratic = person._replace(x=person.x[:, :1] + 0.1 * np.cumsum(speed, 1), speed=speed)
    best, middle, worst = (likelihood(scenes, stacked(*[each] * 4)) for each in (person, behind, erratic))
    assert 1.0 > best > middle + 0.05 and middle > worst + 0.05 and worst > 0.0
    crashed = person._replace(crashed=np.full_like(person.crashed, True))
    # A collision takes the whole of its weight: 0.25 / 0.55.
    assert best - likelihood(scenes, stacked(*[crashed] * 4)) == pytest.approx(0.25 / 0.55, abs=1e-3)


def test_keys_of_the_file(file, recording, monkeypatch, capsys):
    run, driver, done = file.parent, ScriptedFollower((0.0, 0.3), spread=0.3), []
    spent = {"env_steps": 5, "train_seconds": 1.5, "env_steps_to_styles": None, "seconds_to_styles": None}
    (run / "training.json").write_text(json.dumps(spent))
    monkeypatch.setattr(protocol, "load", lambda run: driver)
    result = protocol.evaluate(run, 3, processes=1, progress=done.append)
    assert json.loads((run / "metrics.json").read_text()) == result
    assert sum(done) == 3 and result["windows"] == result["people"] == 4 and result["env_steps"] == 5
    measures = {"gap_median_error_20s", "speed_rmse_20s", *(f"position_rmse_{n}s" for n in (5, 10, 20))}
    keys = measures | {f"best_of_k_{key}" for key in measures} | {"collision_rate", "hard_brake_rate", "realism"}
    keys |= {f"wasserstein_{name}" for name in ("headway", "speed", "acceleration")} | {"headway_rank_correlation"}
    keys |= {"halves_agreement", "halves_agreement_chance", "halves_agreement_p", "headway_ami", "headway_ami_p"}
    keys |= {"code_0_driven_headway", "code_1_driven_headway"}
    assert keys <= result.keys() and all(result[key] is not None for key in keys - {"headway_rank_correlation"})
    assert set(result["peers"]) == set(PEERS) == set(JUDGES[type(recording.world)].peers)
    for name, numbers in result["peers"].items():
        assert numbers.keys() >= PEER_KEYS
        assert {key: result[f"{name}_{key}"] for key in numbers} == numbers
    assert result["constant_speed_position_rmse_20s"] > 20 * result["k_idm_position_rmse_20s"] > 0
    assert result["peers"] == judge_peers(file, recording, 3, 0, 1, kinds=2)
    print_table(result)
    assert "constant speed" in capsys.readouterr().out


def test_processes_do_not_matter(file, recording):
    driver = ScriptedFollower((0.0, 0.3), spread=0.3)
    one, two = (judge_following(driver, file.parent, recording, 1, 0, processes, peers={}) for processes in (1, 2))
    assert one == two and one["code_1_driven_speed"] > one["code_0_driven_speed"]


def test_the_seed_is_of_the_noise_alone(file, recording):
    driver = ScriptedFollower((0.0, 0.3), spread=0.5)
    one, again, other = (judge_following(driver, file.parent, recording, 1, s, 1, peers={}) for s in (0, 0, 1))
    assert one == again and {key for key in one if one[key] != other[key]} == {"realism"}


def test_twin_drives_as_highway_env_without_noise(file, recording):
    """Some crash, in either."""
    scenes, driver = people_to_judge(recording), ScriptedFollower((0.0, 0.2))
    for code in range(2):
        (reference,) = _drive(scenes, [(Trained(driver), code)], 1)
        twin = _rollouts(driver, scenes, np.full(len(scenes.driver), code), 0)
        assert twin.x.shape == (ROLLOUTS, 4, 201)
        for name in ("x", "speed", "steps", "crashed"):
            for rollout in getattr(twin, name):
                np.testing.assert_allclose(rollout, getattr(reference, name), rtol=0, atol=1e-6)
        assert reference.crashed.any() == (code == 1) and not reference.crashed.all()
        result = closeness(scenes, Drives(*(field[0] for field in twin)))
        assert result == pytest.approx(closeness(scenes, reference), abs=1e-6)


def test_without_a_posterior_there_is_one_drive_and_nothing_is_read(tmp_path):
    result = judged(tmp_path, steady_world([gaps(NEAR), gaps(FAR)]), ScriptedFollower((-0.04, 0.0), reads=False))
    assert result["position_rmse_20s"] == result["best_of_k_position_rmse_20s"] == pytest.approx(7.96, abs=1e-5)
    nothing = ("halves_agreement", "halves_agreement_chance", "halves_agreement_p", "headway_ami", "headway_ami_p")
    assert {result[key] for key in (*nothing, "headway_rank_correlation")} == {None}
    assert result["code_0_driven_acceleration"] == pytest.approx(-0.04, abs=1e-6)
    assert "code_0_steady_headway" in result and not any(key.startswith("code_1") for key in result)


def test_short_tracks_are_skipped(tmp_path):
    """40 s are 401 states: 20 s to read a code from, then one window."""
    people = [gaps(NEAR), *(gaps(FAR, states=states) for states in (400, 401, 601, 1002))]
    scenes = people_to_judge(save_world(steady_world(people), tmp_path / "people.safetensors"))
    starts = scenes.world.demonstration_row - scenes.world.first_row[scenes.driver]
    assert scenes.people.tolist() == [2, 3, 4]
    assert [*zip(scenes.driver.tolist(), starts.tolist(), strict=True)] == [(2, 200), (3, 300), (4, 501), (4, 701)]


def test_windows_in_which_a_person_touches_the_leader_are_not_judged(tmp_path):
    """His gap is negative in the last 10 s of his first window; 20 s later he has another."""
    rows = np.arange(1002)
    touching = np.where((rows >= 601) & (rows < 701), -0.1, FAR)
    recording = save_world(steady_world([gaps(NEAR), touching, gaps(FAR)]), tmp_path / "people.safetensors")
    scenes = people_to_judge(recording)
    starts = scenes.world.demonstration_row - scenes.world.first_row[scenes.driver]
    assert [*zip(scenes.driver.tolist(), starts.tolist(), strict=True)] == [(1, 701), (2, 300)]
    always = steady_world([gaps(NEAR), gaps(FAR, -0.1)])
    recording = save_world(always, tmp_path / "always.safetensors")
    assert people_to_judge(recording) is None  # as if nobody was held out


def refused(recording, others):
    """The one line in which a file of others is refused."""
    with pytest.raises(BadInput) as error:
        people_to_judge(recording, others)
    said = str(error.value)
    assert said.startswith(f"{others}: ") and "\n" not in said
    return said


def test_people_who_were_learned_from_are_refused(file, recording, tmp_path):
    assert "4 of its 8 people were learned from; give a file of others" in refused(recording, file)
    record_followers(tmp_path / "strangers.safetensors", seed=5)
    assert people_to_judge(recording, tmp_path / "strangers.safetensors").people.tolist() == list(range(8))


def test_people_are_known_however_their_tracks_were_cut(tmp_path):
    """Smoothing changes the ends of a track; the middle stays."""
    for name, seed in (("known", 0), ("held", 1), ("other", 2)):
        write_ngsim(tmp_path / f"{name}.csv", seed=seed, noise=0.1)
    header, *rows = (tmp_path / "known.csv").read_text().splitlines()
    cut = [row for row in rows if 100 < int(row.split(",")[1]) <= STEPS - 30]
    (tmp_path / "cut.csv").write_text("\n".join([header, *cut]))
    for name in ("cut", "held", "other"):
        import_tables([tmp_path / f"{name}.csv"]).recording.save(tmp_path / f"{name}.safetensors")
    tables = [tmp_path / "known.csv", tmp_path / "held.csv"]
    import_tables(tables, held_out=tables[1:]).recording.save(tmp_path / "run.safetensors")
    run = Recording.load(tmp_path / "run.safetensors", Follow())
    assert "2 of its 2 people were learned from" in refused(run, tmp_path / "cut.safetensors")
    for name in ("held", "other"):  # whom it did not learn from, it may be judged by
        assert len(people_to_judge(run, tmp_path / f"{name}.safetensors").people) == 2


def test_a_file_with_nobody_long_enough_is_refused(recording, tmp_path):
    save_world(steady_world([gaps(NEAR, states=400)] * 2), tmp_path / "short.safetensors")
    said = refused(recording, tmp_path / "short.safetensors")
    assert said.endswith(": nobody follows one leader for 40 s; give longer recordings")


def test_others_are_all_judged(file, recording, tmp_path):
    save_world(steady_world([gaps(NEAR), gaps(FAR)]), tmp_path / "others.safetensors")
    options = {"others": tmp_path / "others.safetensors", "peers": {}}
    result = judge_following(ScriptedFollower((0.0, -0.04)), file.parent, recording, 1, 0, 1, **options)
    assert result["people"] == 2 and result["position_rmse_20s"] == pytest.approx(7.96 / np.sqrt(2), abs=1e-5)
    peers = judge_peers(tmp_path / "others.safetensors", recording, 1, 0, 1, tmp_path / "others.safetensors")
    assert peers["constant_speed"]["position_rmse_20s"] == pytest.approx(0.0, abs=1e-9)


def test_nothing_held_out_is_a_note(tmp_path):
    done = []
    world = steady_world([gaps(NEAR), gaps(FAR)], training=2)
    recording = save_world(world, tmp_path / "demonstrations.safetensors")
    result = judge_following(ScriptedFollower((0.0, 0.0)), tmp_path, recording, 7, 0, 1, done.append)
    assert (result["windows"], result["note"], result["peers"], done) == (0, NOTHING_HELD_OUT, {}, [7])
    assert result["code_1_hardest_brake"] == pytest.approx(0.0, abs=1e-6)
    assert judge_peers(tmp_path / "demonstrations.safetensors", recording, 1, 0, 1) == {}


def test_windows_are_a_world_of_their_own(recording):
    scenes = people_to_judge(recording)
    assert isinstance(scenes, Scenes) and scenes.people.tolist() == [4, 5, 6, 7]
    rows = scenes.world.demonstration_row[:, None] + np.arange(201)
    np.testing.assert_array_equal(scenes.recorded().x, recording.world.follower[rows, 0])
    states = Follow.of_world(scenes.world, 200).recorded_states(np.arange(4))
    np.testing.assert_allclose(scenes.gap(scenes.recorded().x), Follow().gap(states), rtol=0, atol=1e-9)
    assert torch.get_num_threads() == 1
