"""Files are whole or not there, and no change of a byte goes unseen."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest

import infogail
from infogail.baselines.bc import BC
from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.envs.files import MAX_FILE, UnreadableFile, seal, unseal, write_atomically
from infogail.envs.recordings.record import record
from infogail.runs import checkpoint
from infogail.runs.driver import SCHEMA
from infogail.runs.folder import Manifest, RunFolder
from infogail.runs.runner import train

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2]), "c": np.zeros((0, 4), np.float32), "d": np.int64(7)}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    def fail(descriptor):
        raise error("full")

    (tmp_path / "old").write_bytes(b"old")
    monkeypatch.setattr("os.fsync", fail)
    for name in ("old", "new"):
        with pytest.raises(error):
            write_atomically(tmp_path / name, b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and (tmp_path / "old").read_bytes() == b"old"


def test_a_file_is_durable_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def note(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "a").exists()))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", note)
    write_atomically(tmp_path / "a", b"data")
    partial, folder = synced
    assert partial[0].endswith(".partial") and not partial[1]
    assert folder == (str(tmp_path), True)


def test_writing_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "c"
    for data in (b"one", b"two"):
        write_atomically(path, data)
        assert path.read_bytes() == data and len(list(path.parent.iterdir())) == 1


def test_what_was_sealed_comes_back(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(seal(ARRAYS, {"schema": "x-1", "who": "me"}))
    assert path.read_bytes() == seal(dict(reversed(ARRAYS.items())), {"who": "me", "schema": "x-1"})
    arrays, metadata = unseal(path, "x-1")
    assert metadata == {"schema": "x-1", "who": "me"} and arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        ("x-2", "schema is 'x-2', newer than 'x-1': update infogail"),
        ("x-0", "schema is 'x-0', not 'x-1'"),
        ("y-2", "schema is 'y-2', not 'x-1'"),
        ("x-2-3", "schema is 'x-2-3', not 'x-1'"),
    ],
)
def test_another_schema_is_named(tmp_path, found, problem):
    (tmp_path / "a").write_bytes(seal(ARRAYS, {"schema": found}))
    with pytest.raises(UnreadableFile, match=problem):
        unseal(tmp_path / "a", "x-1")


def test_sizes_are_checked_before_anything_is_read(tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_FILE + 1)  # a hole: takes no space
    with pytest.raises(UnreadableFile, match=r"holds 1,073,741,825 bytes, more than 1,073,741,824"):
        unseal(large, "x-1")
    header = tmp_path / "header"
    header.write_bytes(struct.pack("<Q", 2**21) + bytes(2**21))
    with pytest.raises(UnreadableFile, match="a header of 2,097,152 bytes"):
        unseal(header, "x-1")


def test_a_link_may_not_leave_its_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_bytes(seal(ARRAYS, {"schema": "x-1"}))
    (tmp_path / "in" / "inside").write_bytes(seal(ARRAYS, {"schema": "x-1"}))
    (tmp_path / "in" / "good").symlink_to("inside")
    (tmp_path / "in" / "bad").symlink_to("../outside")
    assert unseal(tmp_path / "in" / "good", "x-1")[0].keys() == ARRAYS.keys()
    with pytest.raises(UnreadableFile, match="is a link that leads out of its folder"):
        unseal(tmp_path / "in" / "bad", "x-1")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` with some bytes changed, cut out, doubled, or moved; numbers near the header's are favoured."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 50))):
        at = rng.randrange(max(1, len(content))) if rng.random() < 0.5 else rng.randrange(min(1000, len(content) or 1))
        kind = rng.randrange(6)
        if kind == 0 and content:
            content[min(at, len(content) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1 and content:
            content[min(at, len(content) - 1)] = rng.randrange(256)
        elif kind == 2:
            del content[at : at + rng.choice((1, 8, 100, len(content)))]
        elif kind == 3:
            content[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
        elif kind == 4:
            content[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, rng.randrange(2**40))))
        else:
            content[at:at] = rng.choice(
                (b"0", b"9" * 30, b"-1", b"null", b"[[", b"}", b'"', b"\\u0000", b"NaN", b"1e999")
            )
    return bytes(content)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    record(get_scenario("pass"), 10, seed=0)[0].save(folder / "pass.safetensors")
    train(BC, "bc", folder / "pass.safetensors", "pass", Config.of(bc_steps=100, hidden=4), folder / "run")
    return folder / "run"


def newest(run: Path) -> dict[str, np.ndarray]:
    with RunFolder.open(run) as folder:
        _, state, log = checkpoint.load_newest(folder, lambda message: None)
    return {name: tensor.numpy() for name, tensor in state.items()} | {"log": np.frombuffer(log, np.uint8)}


def demonstrations(run: Path) -> dict[str, np.ndarray]:
    recording = Recording.load(run / "demonstrations.safetensors", get_scenario("pass"))
    some = recording.demonstrations
    return {
        "observations": some.observations,
        "actions": some.actions,
        "bounds": some.episode_bounds,
        "states": recording.vehicle_states,
        "styles": recording.styles,
        **recording.scenes,
    }


def driver(run: Path) -> dict[str, np.ndarray]:
    loaded = infogail.load(run)
    return {name: tensor.numpy() for name, tensor in loaded.policy.state_dict().items()}


def sealed_driver(run: Path) -> dict[str, np.ndarray]:
    """What is behind the manifest's hash, as if that were not there."""
    return unseal(run / "policy.safetensors", SCHEMA)[0]


def manifest(run: Path) -> dict[str, np.ndarray]:
    loaded = Manifest.load(run)
    return {"config": np.array(json.dumps([loaded.config.flat(), loaded.scenario, loaded.algorithm]))}


LOADERS = {
    "demonstrations": ("demonstrations.safetensors", demonstrations),
    "driver": ("policy.safetensors", driver),
    "what the manifest's hash guards": ("policy.safetensors", sealed_driver),
    "manifest": ("manifest.json", manifest),
    "checkpoint": ("checkpoints/000001.safetensors", newest),
}


@pytest.mark.parametrize("mutants", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LOADERS)
def test_whatever_is_changed_is_rejected_or_does_not_matter(run, name, mutants):
    """Mutants: each is refused in one line, or its content is that of the original."""
    file, load = LOADERS[name]
    path, seed = run / file, random.SystemRandom().randrange(2**32)
    rng, whole, expected = random.Random(seed), (run / file).read_bytes(), load(run)
    before, rejected, slowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0, 0.0
    try:
        for number in range(mutants):
            path.write_bytes(mutated(whole, rng))
            start = time.process_time()
            try:
                loaded = load(run)
            except (BadInput, UnreadableFile) as error:
                rejected += 1
                assert "\n" not in str(error), f"seed {seed}, mutant {number}: {error}"
            else:
                assert loaded.keys() == expected.keys(), f"seed {seed}, mutant {number}"
                for key, array in expected.items():
                    assert np.array_equal(loaded[key], array), f"seed {seed}, mutant {number}: {key}"
            slowest = max(slowest, time.process_time() - start)
    finally:
        path.write_bytes(whole)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert rejected > 0.8 * mutants and slowest < 5 and grown < 256, (rejected, slowest, grown)
