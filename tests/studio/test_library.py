"""The library: what is listed, new files of old ones, uploads that are not what they seem."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from follow_world import record_followers
from replay_world import record_world

from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.episodes import SCHEMA as EPISODES_SCHEMA
from infogail.envs.data.episodes import Episodes
from infogail.envs.data.recording import SCHEMA as RECORDING_SCHEMA
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import seal, unseal
from infogail.envs.gym_environment import record_policy
from infogail.envs.recordings.record import record
from infogail.envs.tasks import GymTask
from infogail.learning.learner import InfoGAIL
from infogail.runs.driver import load
from infogail.runs.runner import train
from infogail.studio.library import Library, append, count
from infogail.studio.training import Show
from infogail.studio.watching import DrivingPanel


@pytest.fixture(scope="module")
def passes() -> Recording:
    return record(get_scenario("pass"), 10, seed=0)[0]


@pytest.fixture(scope="module")
def balances() -> Episodes:
    env = GymTask("CartPole-v1").make()
    episodes = record_policy(env, lambda observation: int(observation[2] > 0), 3, seed=0, source="leaning")
    env.close()
    return episodes


@pytest.fixture
def library(tmp_path: Path, passes: Recording) -> Library:
    (tmp_path / "demos").mkdir()
    passes.save(tmp_path / "demos" / "pass.safetensors")
    return Library(tmp_path)


QUICK = {"iterations": 1, "num_envs": 8, "warm_start_steps": 20, "rim_steps": 5}


def content(folder: Path) -> dict[str, bytes]:
    """All files by name, except for locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_files_are_listed_with_what_a_person_asks(library: Library, passes: Recording, tmp_path: Path) -> None:
    (entry,) = library.files()
    assert entry["name"] == "demos/pass.safetensors" and entry["task"] == "pass" and entry["kind"] == "driving"
    assert entry["episodes"] == 10 and entry["seconds"] == pytest.approx(120.0)
    assert entry["source"] == "scripted experts" and entry["problem"] is None and entry["editable"]
    assert entry["styles"] == {"left": int((passes.styles == 0).sum()), "right": int((passes.styles == 1).sum())}
    (tmp_path / "demos" / "broken.safetensors").write_bytes(b"nonsense")
    (tmp_path / "model.safetensors").write_bytes(b"somebody else's")
    broken = next(entry for entry in library.files() if entry["name"] == "demos/broken.safetensors")
    assert "not a readable safetensors file" in broken["problem"] and len(library.files()) == 2


def test_an_episode_is_shown_as_it_was_recorded(library: Library, passes: Recording) -> None:
    listed = library.episodes("demos/pass.safetensors")
    assert [each["style"] for each in listed] == [str(passes.scenario.styles[k]) for k in passes.styles]
    shown = library.episode("demos/pass.safetensors", 3)
    np.testing.assert_allclose(np.array(shown["frames"]), passes.trajectory(3), atol=6e-4)
    assert shown["code"] is None and len(shown["road"]["lanes"]) == 3
    with pytest.raises(BadInput, match="has episodes 0 to 9, not 10"):
        library.episode("demos/pass.safetensors", 10)


def test_recorded_people_are_shown_among_the_others(library: Library, tmp_path: Path) -> None:
    people = record_world(tmp_path / "demos" / "replay.safetensors")
    followers = record_followers(tmp_path / "demos" / "follow.safetensors", 2)
    shown = library.episode("demos/replay.safetensors", 1)
    assert np.array(shown["frames"]).shape == (61, 4, 4)  # the driver and the three cars near it
    np.testing.assert_allclose(np.array(shown["frames"])[:, 0, :2], people.trajectory(1)[:, 0, :2], atol=6e-4)
    shown = library.episode("demos/follow.safetensors", 1)
    assert np.array(shown["frames"]).shape == (301, 2, 4)
    np.testing.assert_allclose(np.array(shown["frames"])[:, 0, 0], followers.trajectory(1)[:, 0, 0], atol=6e-4)
    row = followers.world.demonstration_row[1]
    np.testing.assert_allclose(np.array(shown["frames"])[:, 1, 0], followers.world.leader[row:][:301, 0], atol=6e-4)
    assert shown["details"][0].startswith("headway")


def test_a_follower_is_watched_behind_a_recorded_leader(tmp_path: Path) -> None:
    followers = record_followers(tmp_path / "follow.safetensors", 2)
    config = settings(followers.scenario, overrides=QUICK)
    train(InfoGAIL, "infogail", tmp_path / "follow.safetensors", "follow", config, tmp_path / "run")
    driver = load(tmp_path / "run")
    panel = DrivingPanel(driver, tmp_path / "run", 1)
    panel.begin(seed=3, demonstration=None)
    for _ in range(5):
        panel.step()
    frame = panel.frame()
    assert len(frame["cars"]) == 2 and len(frame["belief"]) == 3 and frame["ghost"] is not None
    shown = Show(get_scenario("follow"), tmp_path / "run").episodes(driver.policy)
    assert [episode["label"] for episode in shown] == ["code 0", "code 1", "code 2"]


def test_other_environments_are_listed_too(library: Library, balances: Episodes, tmp_path: Path) -> None:
    episodes = balances
    episodes.save(tmp_path / "demos" / "cartpole.safetensors")
    name = "demos/cartpole.safetensors"
    entry = next(entry for entry in library.files() if entry["name"] == name)
    assert (entry["task"], entry["kind"], entry["episodes"]) == ("CartPole-v1", "environment", 3)
    assert entry["source"] == "leaning"
    shown = library.episode(name, 1)
    np.testing.assert_array_equal(np.array(shown["observations"], np.float32), episodes.episodes([1]).observations)
    assert sum(shown["rewards"]) == episodes.returns[1]
    assert library.relabel(name, [2], 4, "named")["styles"] == {"unlabelled": 2, "style 4": 1}


def test_new_files_leave_the_old_ones_alone(library: Library, passes: Recording, tmp_path: Path) -> None:
    name, before = "demos/pass.safetensors", content(tmp_path)
    one, other = library.split(name, [0, 4], "some")
    assert (one["name"], other["name"]) == ("demos/some.safetensors", "demos/some-rest.safetensors")
    assert (one["episodes"], other["episodes"]) == (2, 8)
    merged = library.merge([one["name"], other["name"]], "some")
    assert merged["name"] == "demos/some-2.safetensors" and merged["episodes"] == 10
    loaded = Recording.load(tmp_path / merged["name"], get_scenario("pass"))
    np.testing.assert_array_equal(loaded.trajectory(1), passes.trajectory(4))
    np.testing.assert_array_equal(loaded.trajectory(9), passes.trajectory(9))
    unlabelled = library.relabel(name, range(10), -1, "unlabelled")
    assert unlabelled["styles"] == {"unlabelled": 10}
    # Geometry still tells on which side each of them passed.
    assert library.episodes(unlabelled["name"])[0]["style"] == library.episodes(name)[0]["style"]
    after = content(tmp_path)
    assert all(after[path] == data for path, data in before.items())


def test_what_is_deleted_is_in_the_trash(library: Library, tmp_path: Path) -> None:
    data = (tmp_path / "demos" / "pass.safetensors").read_bytes()
    (moved,) = library.delete(["demos/pass.safetensors"])["moved"]
    assert moved.startswith("trash/") and (tmp_path / moved).read_bytes() == data
    assert library.files() == []


def test_runs_are_listed_and_one_in_training_is_kept(library: Library, tmp_path: Path) -> None:
    run, config = tmp_path / "runs" / "mine", settings(get_scenario("pass"), overrides=QUICK)
    train(InfoGAIL, "infogail", tmp_path / "demos" / "pass.safetensors", "pass", config, run)
    (entry,) = library.runs()
    assert (entry["name"], entry["task"], entry["algorithm"]) == ("runs/mine", "pass", "infogail")
    assert entry["state"] == "finished" and entry["codes"] == [0, 1] and entry["posterior"] and entry["metrics"] is None
    assert [file["name"] for file in library.files()] == ["demos/pass.safetensors"]  # not the run's own copy
    for unusable in ('{"a": NaN}', "[" * 10**5, '"\\ud800"', '{"a": 1e999}'):
        (run / "metrics.json").write_text(unusable)
        assert library.runs()[0]["metrics"] is None
    with (run / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert library.runs()[0]["state"] == "training"
        with pytest.raises(BadInput, match="is being trained; stop it first"):
            library.delete(["demos/pass.safetensors", "runs/mine"])
    assert len(library.files()) == 1
    (moved,) = library.delete(["runs/mine"])["moved"]
    assert (tmp_path / moved / "policy.safetensors").is_file() and library.runs() == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "demos", "demos/../demos/pass.safetensors", "", "trash"])
def test_only_listed_names_are_accepted(library: Library, name: str) -> None:
    for attempt in (
        lambda: library.delete([name]),
        lambda: library.split(name, [0], "x"),
        lambda: library.merge([name, name], "x"),
        lambda: library.relabel(name, [0], 0, "x"),
        lambda: library.episode(name, 0),
        lambda: library.episodes(name),
    ):
        with pytest.raises(BadInput, match="choose from the list"):
            attempt()


@pytest.mark.parametrize(
    "name", ["x", "../x.safetensors", ".x.safetensors", "a/b.safetensors", "x.safetensors\n", "é" * 90]
)
def test_names_of_uploads_are_checked(library: Library, name: str, tmp_path: Path) -> None:
    data, before = (tmp_path / "demos" / "pass.safetensors").read_bytes(), content(tmp_path)
    with pytest.raises(BadInput, match="give a file NAME"):
        library.upload(name, data)
    assert content(tmp_path) == before


def test_an_upload_never_overwrites(library: Library, tmp_path: Path) -> None:
    data = (tmp_path / "demos" / "pass.safetensors").read_bytes()
    assert library.upload("pass.safetensors", data)["name"] == "demos/pass-2.safetensors"
    assert library.upload("pass.safetensors", data)["name"] == "demos/pass-3.safetensors"
    assert set(content(tmp_path).values()) == {data}


def test_two_hundred_damaged_uploads_are_refused(library: Library, tmp_path: Path) -> None:
    data, rng = (tmp_path / "demos" / "pass.safetensors").read_bytes(), random.Random(0)
    before, header = content(tmp_path), int.from_bytes(data[:8], "little")
    for trial in range(200):
        damaged = bytearray(data)
        match trial % 5:
            case 0:
                damaged = damaged[: rng.randrange(len(data))]
            case 1:
                for _ in range(rng.randrange(1, 20)):
                    damaged[rng.randrange(8, 8 + header)] ^= 1 << rng.randrange(8)
            case 2:
                damaged[8 + header + rng.randrange(len(data) - 8 - header)] ^= 1 << rng.randrange(8)
            case 3:
                damaged[:8] = rng.randbytes(8)
            case 4:
                cut = rng.randrange(8 + header)
                damaged[cut:cut] = rng.randbytes(rng.randrange(1, 100))
        with pytest.raises(BadInput) as refused:
            library.upload("mine.safetensors", bytes(damaged))
        assert "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value)
    assert content(tmp_path) == before


def test_headers_of_other_files_are_refused(library: Library, balances: Episodes, tmp_path: Path) -> None:
    one, other = tmp_path / "demos" / "pass.safetensors", tmp_path / "demos" / "balances.safetensors"
    balances.save(other)
    before, datas = content(tmp_path), (one.read_bytes(), other.read_bytes())
    for head, body in (datas, datas[::-1]):
        ends = [8 + int.from_bytes(data[:8], "little") for data in (head, body)]
        with pytest.raises(BadInput):
            library.upload("mine.safetensors", head[: ends[0]] + body[ends[1] :])
    for name in ("turn", "os:Foo", "", "x\ny", "CartPole-v1", "\ud800"):
        arrays, metadata = unseal(one, RECORDING_SCHEMA)
        with pytest.raises(BadInput) as refused:
            library.upload("mine.safetensors", seal(arrays, metadata | {"scenario": name}))
        assert "\n" not in str(refused.value)
    assert content(tmp_path) == before


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the endless road
def test_nothing_that_is_accepted_spoils_the_list(library: Library, balances: Episodes, tmp_path: Path) -> None:
    demos = tmp_path / "demos"
    balances.save(demos / "balances.safetensors")
    arrays, metadata = unseal(demos / "balances.safetensors", EPISODES_SCHEMA)
    odd = seal(arrays | {"styles": np.array([-7, -1, 2])}, metadata)
    assert library.upload("odd.safetensors", odd)["styles"] == {"style 2": 1, "unlabelled": 2}
    assert [each["labelled"] for each in library.episodes("demos/odd.safetensors")] == [False, False, True]
    record(get_scenario("turn"), 1, seed=0)[0].save(demos / "turn.safetensors")
    arrays, metadata = unseal(demos / "turn.safetensors", RECORDING_SCHEMA)
    library.upload("endless.safetensors", seal(arrays | {"scene.radius": np.array([1e308])}, metadata))
    with pytest.raises(BadInput, match="episode 0 cannot be drawn"):
        library.episode("demos/endless.safetensors", 0)
    (demos / "strange.safetensors").write_bytes(seal(arrays, metadata | {"scenario": "\ud800"}))
    (demos / os.fsdecode(b"latin-\xe9.safetensors")).write_bytes(b"")  # cannot be named in UTF-8
    (demos / "link.safetensors").symlink_to("/etc/passwd")
    (demos / "dangling.safetensors").symlink_to("/nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    listed = {entry["name"]: entry["problem"] for entry in library.files()}
    json.dumps(listed, ensure_ascii=False).encode()
    assert listed.keys() == {
        f"demos/{name}.safetensors" for name in ("pass", "balances", "odd", "turn", "endless", "strange", "link")
    }
    assert "unknown scenario" in listed["demos/strange.safetensors"]
    assert "leads out of its folder" in listed["demos/link.safetensors"]


@pytest.mark.parametrize("out", ["", "../x", "a/b", ".hidden", "x.safetensors", "x" * 65, "x\n"])
def test_names_of_new_files_are_checked(library: Library, out: str, tmp_path: Path) -> None:
    name, before = "demos/pass.safetensors", content(tmp_path)
    with pytest.raises(BadInput, match="give a new name"):
        library.split(name, [0], out)
    with pytest.raises(BadInput, match="give a new name"):
        library.relabel(name, [0], 0, out)
    assert content(tmp_path) == before


def test_what_cannot_be_chosen_is_refused(library: Library, balances: Episodes, tmp_path: Path) -> None:
    balances.save(tmp_path / "demos" / "balances.safetensors")
    name, other, before = "demos/pass.safetensors", "demos/balances.safetensors", content(tmp_path)
    refused = {
        "no episode is chosen": lambda: library.split(name, [], "x"),
        "has episodes 0 to 9, not -1": lambda: library.split(name, [-1, 3], "x"),
        "has episodes 0 to 9, not 10": lambda: library.relabel(name, [10], 0, "x"),
        "not -2": lambda: library.episode(name, -2),
        "all its episodes are chosen": lambda: library.split(name, range(10), "x"),
        "style 2: choose -1": lambda: library.relabel(name, [0], 2, "x"),
        "style -2: choose -1": lambda: library.relabel(other, [0], -2, "x"),
        "only one file": lambda: library.merge([name, name], "x"),
        "files of CartPole-v1 and pass": lambda: library.merge([name, other], "x"),
    }
    for problem, attempt in refused.items():
        with pytest.raises(BadInput, match=problem):
            attempt()
    assert content(tmp_path) == before


def test_threads_that_choose_the_same_name_lose_nothing(library: Library, passes: Recording, tmp_path: Path) -> None:
    barrier, name = threading.Barrier(4), "demos/pass.safetensors"

    def split(episode: int) -> None:
        barrier.wait()
        library.split(name, [episode], "same")

    threads = [threading.Thread(target=split, args=(episode,)) for episode in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = [Recording.load(path, get_scenario("pass")) for path in (tmp_path / "demos").glob("same*.safetensors")]
    assert sorted(len(file.styles) for file in files) == [1] * 4 + [9] * 4
    kept = [file.trajectory(0) for file in files if len(file.styles) == 1]
    for episode in range(4):
        assert any(np.array_equal(each, passes.trajectory(episode)) for each in kept)


def test_files_may_come_and_go_while_they_are_listed(library: Library, tmp_path: Path) -> None:
    data, over = (tmp_path / "demos" / "pass.safetensors").read_bytes(), threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            path, run = tmp_path / "demos" / "brief.safetensors", tmp_path / "brief"
            path.write_bytes(data)
            run.mkdir()
            (run / "manifest.json").write_text("{}")
            path.unlink()
            (run / "manifest.json").unlink()
            for left in run.iterdir():
                left.unlink()
            run.rmdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(300):
            assert "demos/pass.safetensors" in [entry["name"] for entry in library.files()]
            library.runs()
    finally:
        over.set()
        thread.join()


def append_each(path: Path, recording: Recording, episodes: int) -> None:
    for episode in range(episodes):
        append(path, recording.episodes([episode % 10]))


def spawned(*arguments: object) -> multiprocessing.context.SpawnProcess:
    return multiprocessing.get_context("spawn").Process(target=append_each, args=arguments)


def test_several_processes_append_without_losing_any(passes: Recording, tmp_path: Path) -> None:
    path = tmp_path / "demos" / "shared.safetensors"
    processes = [spawned(path, replace(passes, source=source), 20) for source in ("Ann", "Bo")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert count(path) == 40
    loaded = Recording.load(path, get_scenario("pass"))
    assert sorted(loaded.source.split(", ")) == ["Ann", "Bo"]
    for episode in range(10):  # each process appended each episode twice
        same = [np.array_equal(loaded.trajectory(e), passes.trajectory(episode)) for e in range(40)]
        assert sum(same) == 4


def test_a_process_killed_while_appending_leaves_whole_episodes(passes: Recording, tmp_path: Path) -> None:
    path, rng, kept = tmp_path / "demos" / "mine.safetensors", random.Random(0), 0
    for _ in range(5):
        process = spawned(path, passes, 10**6)
        process.start()
        deadline = time.monotonic() + 60
        while count(path) <= kept and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.05))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        held = len(Recording.load(path, get_scenario("pass")).styles)  # raises if the file is damaged
        assert held > kept
        kept = held
    assert append(path, passes.episodes([0])) == kept + 1  # its lock is free again


def test_appending_to_a_damaged_file_changes_nothing(tmp_path: Path, passes: Recording) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"damaged")
    with pytest.raises(BadInput):
        append(path, passes.episodes([0]))
    assert path.read_bytes() == b"damaged"
