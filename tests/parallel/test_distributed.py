"""One training across two processes: as torchrun starts them, or, where that is quicker, from a server of forks."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from infogail.baselines.bc import BC
from infogail.baselines.coded_bc import CodedBC
from infogail.baselines.gail import GAIL
from infogail.cli import main
from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.errors import BadInput
from infogail.learning import ppo
from infogail.learning.learner import InfoGAIL
from infogail.learning.networks import adam, descend, mlp
from infogail.parallel import distributed
from infogail.parallel.signals import Stopped
from infogail.runs import checkpoint
from infogail.runs.folder import InvalidRun, Manifest, RunFolder
from infogail.runs.runner import resume, train
from tests.learners import FROM_RANDOM_WEIGHTS, make_learner
from tests.runs.test_checkpoint import outcome

LEARNERS = {"infogail": InfoGAIL, "coded-bc": CodedBC, "bc": BC}
SMALL = Config.of(
    num_envs=16, iterations=4, checkpoint_interval=1, rim_steps=3, warm_start_steps=20, bc_steps=400, hidden=8
)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.parallel.test_distributed"])


def in_two(work, *arguments):
    """What `work(*arguments)` gives in each of two processes that have met."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    results = [PROCESSES.SimpleQueue() for _ in range(2)]
    processes = [
        PROCESSES.Process(target=one_of_two, args=(rank, port, results[rank], work, *arguments)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    return [result.get() for result in results]


def one_of_two(rank, port, result, work, *arguments):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.join()
    result.put(work(*arguments))
    distributed.leave()


def torchrun(arguments, **options):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "infogail"]
    here = {"cwd": Path(__file__).parents[2], "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(command + arguments.split(), **here | options)


def hashes(parts):
    """Of all that a learner's parts hold."""
    return {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in checkpoint.state_of(parts).items()
    }


def words():
    """What each helper gives, with literal values that tell the processes apart."""
    k = distributed.rank()
    weights = torch.zeros(2, requires_grad=True), torch.full((1,), 2.0, requires_grad=True)
    sgd = torch.optim.SGD(weights, lr=1.0)
    first, second = weights
    # A batch of (1, 2) here and (3, 6) there: the mean gradient is (2, 4).
    inputs = torch.tensor([[1.0, 2.0], [3.0, 6.0]])[k]
    # The mean inside a square: (mean of 2·1 and 2·3)² = 16, its slope 2 · 4 · 2 = 16.
    inner = distributed.mean(second * (1.0, 3.0)[k]).square().sum()
    descend(sgd, (first * inputs).sum() + inner)
    torch.manual_seed(k)
    net = mlp(3, 4, 1)
    optimiser = adam([net], 0.1)
    alike = hashes({"net": net})
    descend(optimiser, net(torch.full((1, 3), 1.0 + k)).sum())
    separate = mlp(3, 4, 1)
    weights_before = hashes({"net": separate})
    separate_optimiser = adam([separate], 0.1, group=distributed.Group.ALONE)
    alone = {
        "tasks": list(distributed.shard_range(5)),
        "mean": distributed.mean(torch.tensor(float(k)), distributed.Group.ALONE).item(),
        "own weights": hashes({"net": separate}) == weights_before,
    }
    descend(separate_optimiser, separate(torch.ones(1, 3)).sum(), distributed.Group.ALONE)
    try:
        distributed.run_on_leader(lambda: int("no number"))
        error = ""
    except ValueError as raised:
        error = str(raised)
    return {
        "descended": (first.tolist(), second.item()),
        "inner": inner.item(),
        "mean": distributed.mean(torch.tensor([1.0, 10.0]) * (k + 1)).tolist(),
        "log": distributed.mean_log({"loss": 1.0 + k, "count": 7, "nan": float("nan") if k else 0.0}),
        "gathered": distributed.all_gather(torch.tensor([[k, k + 10]])).tolist(),
        "all gathered objects": distributed.all_gather_objects("ab"[k]),
        "first truthy": [distributed.first_truthy(values[k]) for values in ((0, 15), (None, None), ("x", None))],
        "gathered to leader": distributed.gather_to_leader(k),
        "run on leader": distributed.run_on_leader(lambda: f"of {k}"),
        "error": error,
        "net": (alike, hashes({"net": net, "optimiser": optimiser})),
        "alone": alone,
        "sizes": (distributed.world_size(), distributed.Group.WORLD.size, distributed.Group.ALONE.size),
        "config": distributed.shard_config(Config()),
    }


def test_what_the_processes_tell_each_other():
    first, second = in_two(words)
    both = {
        "descended": ([-2.0, -4.0], -14.0),
        "inner": 16.0,
        "mean": [1.5, 15.0],
        "gathered": [[0, 10], [1, 11]],
        "all gathered objects": ["a", "b"],
        "first truthy": [15, None, "x"],
        "run on leader": "of 0",
        "error": "invalid literal for int() with base 10: 'no number'",
    }
    for one in (first, second):
        assert {name: one[name] for name in both} == both
        assert one["log"]["loss"] == 1.5 and one["log"]["count"] == 7 and np.isnan(one["log"]["nan"])
    assert (first["gathered to leader"], second["gathered to leader"]) == ([0, 1], [])
    assert first["alone"] == {"tasks": [0, 2, 4], "mean": 0.0, "own weights": True}
    assert second["alone"] == {"tasks": [1, 3], "mean": 1.0, "own weights": True}
    assert first["sizes"] == second["sizes"] == (2, 2, 1)
    begun, stepped = zip(first["net"], second["net"], strict=True)
    for name in begun[0].keys() - {"torch/random"}:
        assert begun[0][name] == begun[1][name] != stepped[0][name] == stepped[1][name]
    half = Config.of(num_envs=512, discriminator_batch=512, posterior_batch=32, bc_batch=256)
    assert (first["config"], second["config"]) == (half, half.with_(seed=distributed.SEED_STRIDE))


def test_a_single_process_does_nothing():
    distributed.join()
    config, x = Config(), torch.ones(3, requires_grad=True)
    assert distributed.shard_config(config) is config and distributed.mean(x) is x and distributed.all_gather(x) is x
    assert distributed.all_gather_objects(x) == [x] == distributed.gather_to_leader(x)
    assert distributed.first_truthy(15) == 15
    assert distributed.world_size() == 1 and distributed.rank() == 0


def test_what_carries_the_tensors(monkeypatch):
    for cuda, expected in ((False, "gloo"), (True, "cpu:gloo,cuda:nccl")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
        assert distributed.backend() == expected


def learn(recording, config, iterations):
    """What is logged, what all is in the end, and of the first advantages the own mean, all mean, all deviation."""
    learner = make_learner(InfoGAIL, recording, distributed.shard_config(config))
    advantages, given = [], ppo.standardised_advantages
    ppo.standardised_advantages = lambda *inputs: advantages.append(given(*inputs)) or advantages[-1]
    logs = [distributed.mean_log(learner.iterate()) for _ in range(iterations)]
    own = advantages[0][0]
    total = distributed.all_gather(own)
    return logs, hashes(learner.parts()), (own.mean().item(), total.mean().item(), total.std().item())


def test_two_processes_learn_the_same_styles(recorded):
    """As `test_infogail_gives_each_code_its_style` asks of one, on the same total batch."""
    (logs, state, standardised), (other_logs, other_state, _) = in_two(
        learn, recorded("pass")[0], FROM_RANDOM_WEIGHTS, 20
    )
    assert logs == other_logs and {log["rollout/env_steps"] for log in logs} == {128 * 60}
    assert logs[0]["rollout/success_rate"] < 0.2
    assert np.mean([log["rollout/success_rate"] for log in logs[-3:]]) > 0.7
    assert np.mean([log["rollout/style_nmi"] for log in logs[-3:]]) > 0.6
    differing = {name for name in state if state[name] != other_state[name]}
    own_parts = {"env/traffic", "env/scene", "env/streams", "generator/random", "posterior_generator/random"}
    assert own_parts <= differing <= own_parts | {"env/elapsed", "env/episode", "torch/random"}
    own_mean, mean, deviation = standardised
    assert abs(mean) < 1e-5 and abs(deviation - 1) < 1e-5 < abs(own_mean)


@pytest.mark.parametrize("changes", [{"policy_update": "trpo"}, {"target_kl": 1e-3, "learning_rate": 0.01}])
def test_two_processes_take_the_same_trust_region_steps(recorded, changes):
    few = {
        "num_envs": 16,
        "iterations": 2,
        "held_iterations": 0,
        "warm_start_steps": 3,
        "rim_steps": 2,
        "rim_tries": 2,
        "discriminator_steps": 2,
    }
    config = Config.of(**few, **changes, posterior_batch=8, discriminator_batch=64)
    (logs, state, _), (other_logs, other_state, _) = in_two(iterated, recorded("pass")[0], config)
    assert logs == other_logs
    assert all(log["trpo/step"] > 0 if "trpo/step" in log else log["ppo/approx_kl"] > 1e-3 for log in logs)
    same = {name for name in state if state[name] == other_state[name]}
    assert {name for name in state if name.startswith(("policy/", "value/", "discriminator/", "posterior/"))} <= same


def iterated(recording, config):
    """What is logged and what all is in the end; the advantages are not looked at."""
    learner = make_learner(InfoGAIL, recording, distributed.shard_config(config))
    logs = [distributed.mean_log(learner.iterate()) for _ in range(config.run.iterations)]
    return logs, hashes(learner.parts()), None


def stopped_and_resumed(file, folder):
    """Runs: unbroken ones; others stopped by a signal to process 1 alone, then resumed; and what cannot go on."""
    for name, learner in LEARNERS.items():
        train(learner, name, file, "pass", SMALL, folder / name)

        def interrupt(done, total, log):
            if done == 1 and distributed.rank() == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        config = SMALL.with_(checkpoint_interval=100)
        with pytest.raises(Stopped, match="143"):
            train(learner, name, file, "pass", config, folder / f"{name}-stopped", on_iteration=interrupt)
        distributed.all_gather_objects(None)
        assert [path.name for path in (folder / f"{name}-stopped/checkpoints").iterdir()] == ["000002.safetensors"]
        distributed.all_gather_objects(None)
        resume(LEARNERS, folder / f"{name}-stopped")
    with pytest.raises(BadInput, match="something other than a run"):
        train(BC, "bc", file, "pass", SMALL, folder)
    with pytest.raises(BadInput, match=r"training diverged in iteration 2: env/\w+ is not finite"):
        train(Saboteur, "gail", file, "pass", SMALL, folder / "diverged")


class Saboteur(GAIL):
    """Puts NaN into process 1's environments alone."""

    def iterate(self):
        log = super().iterate()
        if self.iteration == 2 and distributed.rank() == 1:
            state = self.env.state_dict()
            state["traffic"][0, 0, 0] = float("nan")
            self.env.load_state_dict(state)
        return log


def test_two_processes_stop_together_and_go_on_to_the_same_bits(file, tmp_path):
    in_two(stopped_and_resumed, file, tmp_path)
    for name in LEARNERS:
        assert outcome(tmp_path / name) == outcome(tmp_path / f"{name}-stopped")
        assert len(json.loads(outcome(tmp_path / name)["rows"])) == 4
    assert not (tmp_path / "diverged/policy.safetensors").exists()
    command = f"torchrun --nproc-per-node 2 -m infogail train --resume {tmp_path / 'bc'}"
    with pytest.raises(InvalidRun) as raised:
        resume(LEARNERS, tmp_path / "bc")
    assert str(raised.value) == f"{tmp_path / 'bc'}: its number of processes is 2, not 1; resume with '{command}'"


def test_torchrun_trains_one_run(file, tmp_path):
    run = tmp_path / "run"
    small = "--num-envs 16 --iterations 2 --rim-steps 3 --warm-start-steps 20 --hidden 8"
    done = torchrun(f"train pass --demonstrations {file} --out {run} {small}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"trained: {run}; evaluate it with 'infogail evaluate {run}'\n"
    assert done.stderr.count("training infogail on pass") == 1 and "Error" not in done.stderr
    assert Manifest.load(run).processes == 2 and Manifest.load(run).config.run.num_envs == 16
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["env_steps"] for row in rows] == [16 * 60, 2 * 16 * 60]
    assert len(list(run.glob("events*"))) == 1
    with RunFolder.open(run) as folder:
        _, state, _ = checkpoint.load_newest(folder, pytest.fail)
    own = {name.split("/")[1] for name in state if name.startswith("process")}
    assert {"env", "generator", "posterior_generator"} <= own <= {"env", "generator", "posterior_generator", "torch"}
    assert {name.split("/")[0] for name in state} >= {"policy", "value", "discriminator", "posterior", "ppo_optimiser"}
    Recording.load(run / "demonstrations.safetensors", get_scenario("pass"))


def test_bad_input_is_told_once(file, tmp_path):
    done = torchrun(f"train pass --demonstrations {file} --out {tmp_path}/run --num-envs 15 --posterior-batch 7")
    assert done.returncode != 0 and not list(tmp_path.iterdir()) and not done.stdout
    ours = [line for line in done.stderr.splitlines() if line.startswith("infogail:")]
    assert ours == ["infogail: 2 processes cannot share --num-envs 15, --posterior-batch 7 evenly; give multiples of 2"]
    assert done.stderr.count("Traceback") == 1  # torchrun's own, which names the process that failed


def test_only_training_is_shared(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SystemExit):
        main(["speed"])
    assert capsys.readouterr().err == "infogail: speed: torchrun is only for training; run this without it\n"
