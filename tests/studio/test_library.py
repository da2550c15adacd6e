"""The library: what is listed, new files of old ones, uploads that are not what they seem."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest

from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.gym_environment import record_policy
from infogail.envs.recordings.record import record
from infogail.envs.tasks import GymTask
from infogail.studio.library import Library, append, count


@pytest.fixture(scope="module")
def passes() -> Recording:
    return record(get_scenario("pass"), 10, seed=0)[0]


@pytest.fixture
def library(tmp_path: Path, passes: Recording) -> Library:
    (tmp_path / "demos").mkdir()
    passes.save(tmp_path / "demos" / "pass.safetensors")
    return Library(tmp_path)


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


def test_other_environments_are_listed_too(library: Library, tmp_path: Path) -> None:
    task = GymTask("CartPole-v1")
    env = task.make()
    episodes = record_policy(env, lambda observation: int(observation[2] > 0), 3, seed=0)
    env.close()
    episodes.save(tmp_path / "demos" / "cartpole.safetensors")
    name = "demos/cartpole.safetensors"
    entry = next(entry for entry in library.files() if entry["name"] == name)
    assert (entry["task"], entry["kind"], entry["episodes"]) == ("CartPole-v1", "environment", 3)
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


def append_many(path: Path, seed: int) -> None:
    recording = record(get_scenario("pass"), 5, seed)[0]
    for episode in range(5):
        append(path, recording.episodes([episode]))


def test_several_processes_append_without_losing_any(tmp_path: Path) -> None:
    path = tmp_path / "demos" / "shared.safetensors"
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=append_many, args=(path, seed)) for seed in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert count(path) == 10
    assert len(Recording.load(path, get_scenario("pass")).styles) == 10


def test_appending_to_a_damaged_file_changes_nothing(tmp_path: Path, passes: Recording) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"damaged")
    with pytest.raises(BadInput):
        append(path, passes.episodes([0]))
    assert path.read_bytes() == b"damaged"
