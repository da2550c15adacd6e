"""Runs that nothing breaks: whatever stops one, the resumed run ends with the bits of the unbroken one."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

from infogail.baselines.bc import BC
from infogail.baselines.coded_bc import CodedBC
from infogail.baselines.gail import GAIL
from infogail.config.config import Config
from infogail.envs.errors import BadInput
from infogail.learning.learner import InfoGAIL
from infogail.parallel.signals import Stopped
from infogail.runs import checkpoint
from infogail.runs.driver import load
from infogail.runs.folder import InvalidRun, Manifest, RunFolder
from infogail.runs.runner import resume, train
from tests.learners import make_learner

LEARNERS = {"infogail": InfoGAIL, "gail": GAIL, "coded-bc": CodedBC, "bc": BC}
SMALL = Config.of(
    num_envs=16,
    iterations=5,
    checkpoint_interval=1,
    rim_steps=3,
    rim_tries=1,
    warm_start_steps=20,
    bc_steps=500,
    hidden=8,
)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.runs.test_checkpoint"])


@pytest.fixture(scope="module")
def unbroken(file, tmp_path_factory):
    """Of each learner, what a run ends with that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    for name, learner in LEARNERS.items():
        train(learner, name, file, "pass", SMALL, folder / name)
    return {name: outcome(folder / name) for name in LEARNERS}


def outcome(run: Path) -> dict[str, str]:
    """Hashes of the policy, of the last checkpoint's whole state, and of all logged rows without their wall times."""
    with RunFolder.open(run) as folder:
        iteration, state, log = checkpoint.load_newest(folder, warn=pytest.fail)
        rows = (run / "metrics.jsonl").read_bytes()
        assert rows == log and len(rows.splitlines()) == iteration
        manifest = folder.manifest
        for name in manifest.files:
            folder.verify(name)
    training = json.loads((run / "training.json").read_text())
    told = [
        {key: value for key, value in json.loads(row).items() if not key.endswith("seconds")}
        for row in rows.splitlines()
    ]
    hashes = {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in state.items()}
    return hashes | {
        "policy": manifest.files["policy.safetensors"],
        "rows": json.dumps(told),
        "training": json.dumps([training["env_steps"], training["env_steps_to_styles"]]),
    }


def train_or_resume(name: str, file: Path, run: Path, config: Config = SMALL, fatal_sync: int = 0) -> None:
    """What a user's process does; at the file operation number `fatal_sync` it is killed."""
    torch.set_num_threads(1)
    done, sync = 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal done
        done += 1
        if done == fatal_sync:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = fsync
    if (run / "manifest.json").exists():
        resume(LEARNERS, run)
    else:
        train(LEARNERS[name], name, file, "pass", config, run)


def kill_until_done(name: str, file: Path, run: Path, kills: int, rng: random.Random) -> int:
    """Start, kill, resume, kill…: by the clock, or in the midst of writing a file. Then let it finish."""
    killed = 0
    for attempt in range(50):
        fatal_sync = rng.randrange(1, 40) if killed < kills and attempt % 2 else 0
        process = PROCESSES.Process(target=train_or_resume, args=(name, file, run, SMALL, fatal_sync))
        process.start()
        if killed < kills and not fatal_sync:
            process.join(rng.uniform(0.1, 1.2))
            process.kill()
        process.join(120)
        if process.exitcode == 0:
            if killed >= kills or (run / "policy.safetensors").exists():
                return killed
        else:
            assert process.exitcode == -signal.SIGKILL
            killed += 1
    raise AssertionError("never ended")


def killed_runs(file, tmp_path, unbroken, kills):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng, killed, number = random.Random(seed), 0, 0
    while killed < kills:
        name = list(LEARNERS)[number % len(LEARNERS)]
        run = tmp_path / f"{name}-{number}"
        killed += kill_until_done(name, file, run, min(4, kills - killed), rng)
        assert outcome(run) == unbroken[name], f"seed {seed}"
        assert not list(run.rglob("*.partial")) and len(list((run / "checkpoints").iterdir())) == 2
        number += 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_runs_that_are_killed_end_as_if_nothing_had_been(file, tmp_path, unbroken):
    killed_runs(file, tmp_path, unbroken, 12)


@pytest.mark.slow
def test_runs_that_are_killed_often_end_as_if_nothing_had_been(file, tmp_path, unbroken):
    killed_runs(file, tmp_path, unbroken, 50)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_checkpoint_holds_all_that_changes(name, file):
    """What three iterations made, put into a learner of another seed, goes on as it did: every tensor and number."""
    one, other = (make_learner(LEARNERS[name], file, SMALL.with_(seed=seed)) for seed in (1, 2))
    for _ in range(3):
        one.iterate()
    kept = {key: tensor.clone() for key, tensor in checkpoint.state_of(one.parts()).items()}
    expected = [one.iterate(), one.iterate()]
    after = {key: tensor.clone() for key, tensor in checkpoint.state_of(one.parts()).items()}
    torch.manual_seed(99)
    other.iteration = 3
    checkpoint.restore(other.parts(), kept)
    assert [other.iterate(), other.iterate()] == expected
    resumed = checkpoint.state_of(other.parts())
    assert list(resumed) == list(after) and all(torch.equal(resumed[key], after[key]) for key in after)
    assert any(not torch.equal(kept[key], after[key]) for key in after)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(file, tmp_path, unbroken):
    run, told = tmp_path / "run", []
    train(GAIL, "gail", file, "pass", SMALL, run)
    newest = run / "checkpoints" / "000005.safetensors"
    *rest, last = newest.read_bytes()
    newest.write_bytes(bytes((*rest, last ^ 1)))
    resume(LEARNERS, run, warn=told.append)
    assert [str(newest) in line and "; using the previous checkpoint" in line for line in told] == [True]
    assert outcome(run) == unbroken["gail"]
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InvalidRun, match="all checkpoints are damaged; train the run again"):
        resume(LEARNERS, run)


def test_a_finished_run_stays_as_it_is(file, tmp_path, unbroken):
    run = tmp_path / "run"
    train(BC, "bc", file, "pass", SMALL, run)
    before = (run / "manifest.json").read_bytes()
    resume(LEARNERS, run)
    assert outcome(run) == unbroken["bc"] and (run / "manifest.json").read_bytes() == before


def test_other_threads_and_versions_are_told(file, tmp_path):
    run, told = tmp_path / "run", []
    train(BC, "bc", file, "pass", SMALL, run)
    with RunFolder.open(run) as folder:
        folder.manifest.versions["torch"] = "1.0"
        folder.write("x", b"")
    resume(LEARNERS, run, threads=2, warn=told.append)
    assert f"{run}: started with torch 1.0, resuming with {torch.__version__}; results may differ by rounding" in told
    assert f"{run}: started with threads 1, resuming with 2; results may differ by rounding" in told and len(told) == 2


def test_the_random_numbers_of_another_device_are_not_continued_and_this_is_told(file, tmp_path):
    run, told = tmp_path / "run", []
    train(BC, "bc", file, "pass", SMALL, run)
    results = [run / name for name in ("metrics.json", "mix.json")]
    for result in results:
        result.write_text("of the driver so far")
    resume(LEARNERS, run, bc_steps=600, device="cpu", warn=told.append)
    assert not any(result.exists() for result in results)
    assert told == []
    with RunFolder.open(run) as folder:
        iteration, state, log = checkpoint.load_newest(folder, warn=pytest.fail)
        state["generator/random"] = torch.zeros(16, dtype=torch.uint8)  # seed and offset, as of a GPU
        checkpoint.save(folder, iteration, state, log)
    resume(LEARNERS, run, bc_steps=700, device="cpu", warn=told.append)
    assert told == [
        f"{run}: its checkpoint is from another kind of device than cpu, with other random numbers; "
        "results differ from here on"
    ]
    with RunFolder.open(run) as folder:
        iteration, after, _ = checkpoint.load_newest(folder, warn=pytest.fail)
    assert iteration == 7 and after["generator/random"].numel() > 16
    assert after["optimiser/0.step"] == state["optimiser/0.step"] + 100  # the optimiser has gone on


def test_a_run_from_a_gpu_needs_one_or_another_device(file, tmp_path):
    run = tmp_path / "run"
    train(BC, "bc", file, "pass", SMALL, run)
    with pytest.raises(BadInput, match=r"--device cuda:99: torch finds \d+ GPUs.*; give --device cpu"):
        resume(LEARNERS, run, bc_steps=600, device="cuda:99")
    with RunFolder.open(run) as folder:
        folder.manifest = replace(folder.manifest, config=folder.manifest.config.with_(device="cuda:99"))
        folder.describe(folder.manifest)
    assert load(run).act(np.zeros(7), 0).shape == (2,)  # drives on the CPU all the same
    with pytest.raises(BadInput, match="give --device cpu"):
        resume(LEARNERS, run)
    resume(LEARNERS, run, device="cpu")
    assert Manifest.load(run).config.run.device == "cpu"


def test_one_writer_at_a_time(file, tmp_path):
    run = tmp_path / "run"
    train(BC, "bc", file, "pass", SMALL, run)
    with RunFolder.open(run):
        for attempt in (
            lambda: resume(LEARNERS, run),
            lambda: train(BC, "bc", file, "pass", SMALL, run, force=True),
        ):
            with pytest.raises(InvalidRun, match="another process is training here; wait for it, or write elsewhere"):
                attempt()
    resume(LEARNERS, run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_lock_ends_with_its_process(file, tmp_path):
    run = tmp_path / "run"
    endless = SMALL.with_(bc_steps=10**9)
    process = PROCESSES.Process(target=train_or_resume, args=("bc", file, run, endless))
    process.start()
    while not (run / "manifest.json").exists() or not any("checkpoint" in name for name in Manifest.load(run).files):
        time.sleep(0.05)
    with pytest.raises(InvalidRun, match="another process is training here"):
        resume(LEARNERS, run)
    process.kill()
    process.join()
    with RunFolder.open(run) as folder:
        assert checkpoint.load_newest(folder, pytest.fail)[0] >= 1


class Saboteur(GAIL):
    """Puts NaN or Inf where it is told to, in its third iteration."""

    place = ""

    def iterate(self):
        log = super().iterate()
        if self.iteration == 3:
            if self.place in log:
                log[self.place] = float("inf")
            elif self.place == "gradient":
                self.discriminator.net[0].weight.grad.fill_(float("nan"))
                self.discriminator.optimiser.step()
            else:
                self.policy.log_std.data[1] = float("nan")
        return log


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("ppo/value_loss", "ppo/value_loss"),
        ("reward/imitation", "reward/imitation"),
        ("gradient", "discriminator/net.0.weight"),
        ("parameter", "policy/log_std"),
    ],
)
def test_what_is_not_finite_stops_the_run(file, tmp_path, monkeypatch, place, named):
    monkeypatch.setattr(Saboteur, "place", place)
    with pytest.raises(BadInput) as raised:
        train(Saboteur, "gail", file, "pass", SMALL, tmp_path / "run")
    good = tmp_path / "run" / "checkpoints" / "000002.safetensors"
    assert str(raised.value) == (
        f"{tmp_path / 'run'}: training diverged in iteration 3: {named} is not finite; "
        f"its last good checkpoint is {good}; train again with a lower --learning-rate or --discriminator-learning-rate"
    )
    resume(LEARNERS, tmp_path / "run")  # without the saboteur


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_iteration_end_and_saves(file, tmp_path, unbroken, number):
    run, config = tmp_path / "run", SMALL.with_(checkpoint_interval=100)

    def interrupt(done, total, log):
        if done == 2:
            os.kill(os.getpid(), number)

    handlers = [signal.getsignal(some) for some in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped) as stopped:
        train(InfoGAIL, "infogail", file, "pass", config, run, on_iteration=interrupt)
    assert stopped.value.status == stopped.value.code == 128 + number
    assert stopped.value.message == f"stopped after iteration 3; resume with 'infogail train --resume {run}'"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000003.safetensors"]
    assert [signal.getsignal(some) for some in (signal.SIGINT, signal.SIGTERM)] == handlers
    resume(LEARNERS, run)
    assert outcome(run) == unbroken["infogail"]


def test_a_second_interrupt_stops_at_once(file, tmp_path, unbroken):
    class Slow(GAIL):
        def iterate(self):
            if self.iteration == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                raise AssertionError("went on")
            return super().iterate()

    with pytest.raises(KeyboardInterrupt):
        train(Slow, "gail", file, "pass", SMALL, tmp_path / "run")
    resume(LEARNERS, tmp_path / "run")
    assert outcome(tmp_path / "run") == unbroken["gail"]


def limited_training(file: Path, run: Path, size: int, said) -> None:
    """Train where no file may grow beyond `size` bytes, as on a disk with a quota."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        train_or_resume("gail", file, run, SMALL)
    except BadInput as error:
        said.put(str(error))


def test_a_quota_that_is_used_up_leaves_what_there_is(file, tmp_path, unbroken):
    run, said = tmp_path / "run", PROCESSES.SimpleQueue()
    train_or_resume_until(file, run, iteration=2)
    before = sorted((run / "checkpoints").iterdir())
    size = before[-1].stat().st_size
    process = PROCESSES.Process(target=limited_training, args=(file, run, size // 2, said))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert said.get().endswith(f"File too large; once that is fixed, resume with 'infogail train --resume {run}'")
    assert sorted((run / "checkpoints").iterdir()) == before
    resume(LEARNERS, run)
    assert outcome(run) == unbroken["gail"]


def train_or_resume_until(file: Path, run: Path, iteration: int) -> None:
    """A run of GAIL that was stopped after `iteration`."""

    def stop(done, total, log):
        if done == iteration - 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        train(GAIL, "gail", file, "pass", SMALL, run, on_iteration=stop)


def test_a_full_disk_leaves_what_there_is(file, tmp_path):
    """On a small tmpfs, in a mount namespace of its own, where an unprivileged user may have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
mount -t tmpfs -o size=4m none {disk} || exit 77
{sys.executable} -m tests.runs.test_checkpoint {file} {disk}
"""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no tmpfs of one's own: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "No space left on device; once that is fixed, resume with 'infogail train --resume" in first
    assert second == "resumed"


def fill_the_disk(file: Path, disk: Path) -> None:
    """Train until the disk is full, make space, resume."""
    run, ballast = disk / "run", disk / "ballast"

    def fill(done, total, log):
        if done == 2:
            with ballast.open("wb", buffering=0) as some:
                try:
                    while True:
                        some.write(bytes(4096))
                except OSError:
                    pass

    try:
        train(GAIL, "gail", file, "pass", SMALL, run, on_iteration=fill)
    except BadInput as error:
        print(error)
    assert not list(run.rglob("*.partial"))
    with RunFolder.open(run) as folder:
        assert checkpoint.load_newest(folder, print)[0] == 2
    ballast.unlink()
    resume(LEARNERS, run)
    assert Manifest.load(run).files["policy.safetensors"]
    print("resumed")


def test_a_checkpoint_is_small(file, tmp_path):
    """How much, `infogail speed` measures; here, that there is not much to write, and that it comes back."""
    learner = make_learner(InfoGAIL, file, Config())
    with RunFolder.create(tmp_path / "run", Manifest("pass", "infogail", Config()), b"", force=False) as folder:
        state = checkpoint.state_of(learner.parts())
        checkpoint.save(folder, 1, state, b"")
        assert (folder.path / "checkpoints/000001.safetensors").stat().st_size < 2**20
        assert torch.equal(checkpoint.load_newest(folder, pytest.fail)[1]["env/traffic"], state["env/traffic"])


@pytest.mark.slow
def test_ten_million_steps_leak_nothing(file, tmp_path):
    """Memory, file handles and throughput, from after the warm-up to the end."""
    config = Config.of(iterations=170, settling_iterations=None, checkpoint_interval=5)
    memory, handles, seconds = [], [], []

    def measure(done, total, log):
        memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
        handles.append(len(list(Path("/proc/self/fd").iterdir())))
        seconds.append(log["seconds"])

    train(InfoGAIL, "infogail", file, "pass", config, tmp_path / "run", on_iteration=measure)
    tenth = config.run.iterations // 10
    first, last = (seconds[k + tenth - 1] - seconds[k] for k in (1, config.run.iterations - tenth))
    assert config.run.iterations * config.run.num_envs * 60 > 10_000_000
    print([round(value / 2**20) for value in memory])
    levels = [median(memory[k : k + tenth]) for k in range(tenth, config.run.iterations, tenth)]
    assert max(levels) < 1.05 * levels[0] and handles[-1] <= handles[1]
    assert last < 1.1 * first


if __name__ == "__main__":
    fill_the_disk(Path(sys.argv[1]), Path(sys.argv[2]))
