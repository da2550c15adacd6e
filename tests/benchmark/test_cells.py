"""Cells: made once, gone on with when stopped, told when they fail."""

import json
import os
import signal

import pytest

from infogail.baselines.bc import BC
from infogail.baselines.gail import GAIL
from infogail.benchmark.cells import benchmark, plan
from infogail.benchmark.results import Cell
from infogail.benchmark.tables import print_table
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.parallel.signals import Stopped
from infogail.runs.runner import train

TINY = {"warm_start_steps": 20, "num_envs": 16, "iterations": 3, "bc_steps": 200, "checkpoint_interval": 1}


class Failing(BC):
    """Breaks where the seed is 1."""

    def __init__(self, env, demonstrations, config):
        super().__init__(env, demonstrations, config)
        self.seed = config.run.seed

    def iterate(self):
        if self.seed == 1:
            raise RuntimeError("out of luck")
        return super().iterate()


def times(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in out.rglob("metrics.json")}


def test_a_restart_makes_only_what_is_missing(tmp_path, one_process):
    out = tmp_path / "out"
    first = benchmark({"bc": BC}, ["pass"], range(2), out, 20, overrides=TINY)
    assert [cell.name for cell in first.metrics] == ["pass-bc-0", "pass-bc-1"] and not first.failures
    made = times(out)
    assert first.metrics[Cell("pass", "bc", settings(get_scenario("pass"), overrides=TINY))] == json.loads(
        (out / "pass-bc-0/metrics.json").read_text()
    )
    (out / "pass-bc-1/metrics.json").unlink()  # trained but not judged
    again = benchmark({"bc": BC, "gail": GAIL}, ["pass"], range(2), out, 20, overrides=TINY)
    assert {cell: again.metrics[cell] for cell in first.metrics} == first.metrics
    assert {cell.name for cell in again.metrics} == {"pass-bc-0", "pass-bc-1", "pass-gail-0", "pass-gail-1"}
    assert times(out)["pass-bc-0"] == made["pass-bc-0"] != times(out)["pass-bc-1"] != made.get("pass-bc-1")
    made = times(out)
    assert benchmark({"bc": BC, "gail": GAIL}, ["pass"], range(2), out, 20, overrides=TINY) == again
    assert times(out) == made
    for changed, problem in (
        ({"overrides": TINY | {"num_envs": 32}}, "pass-bc-0: was trained with other settings; write elsewhere"),
        ({"overrides": TINY, "episodes": 30}, "pass-bc-0: was evaluated with other episodes or another seed"),
    ):
        with pytest.raises(BadInput, match=problem):
            benchmark({"bc": BC}, ["pass"], range(1), out, **{"episodes": 20} | changed)


def test_a_preset_is_a_variant_of_the_learner_that_it_is_for():
    cells = plan(("bc", "gail", "infogail"), ("pass-pace",), (3, 4), ("default", "trpo", "gail-trpo"), TINY)
    assert [cell.name for cell in cells if cell.config.run.seed == 3] == [
        *("pass-pace-bc-3", "pass-pace-gail-3", "pass-pace-infogail-3"),
        *("pass-pace-infogail-trpo-3", "pass-pace-gail-trpo-3"),
    ]
    assert len(cells) == 10 and all(cell.config.codes.num_codes == 4 for cell in cells)
    updates = {cell.preset: cell.config.policy.update for cell in cells}
    assert updates == {"default": "ppo", "trpo": "trpo", "gail-trpo": "trpo"}
    assert all(cell.config.run.num_envs == TINY["num_envs"] for cell in cells)  # what no preset changes stays as given


def test_results_of_other_demonstrations_are_not_mixed_in(tmp_path, one_process):
    benchmark({"bc": BC}, ["pass"], [0], tmp_path, 20, overrides=TINY)
    record(get_scenario("pass"), 20, seed=9)[0].save(tmp_path / "pass.safetensors")
    with pytest.raises(BadInput, match=r"pass-bc-0: was not trained on .*pass\.safetensors; write elsewhere"):
        benchmark({"bc": BC}, ["pass"], [0], tmp_path, 20, overrides=TINY)


def test_a_stopped_run_is_gone_on_with(tmp_path, one_process):
    whole = benchmark({"gail": GAIL}, ["turn"], [5], tmp_path / "whole", 20, overrides=TINY)
    file, run = tmp_path / "out/turn.safetensors", tmp_path / "out/turn-gail-5"
    file.parent.mkdir()
    file.write_bytes((tmp_path / "whole/turn.safetensors").read_bytes())

    def stop(done, total, log):
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        train(
            GAIL,
            "gail",
            file,
            "turn",
            settings(get_scenario("turn"), overrides=TINY | {"seed": 5}),
            run,
            on_iteration=stop,
        )
    assert not (run / "policy.safetensors").exists()
    resumed = benchmark({"gail": GAIL}, ["turn"], [5], tmp_path / "out", 20, overrides=TINY)
    times = ("train_seconds", "seconds_to_styles")
    for results in (whole, resumed):
        for metrics in results.metrics.values():
            for key in times:
                metrics.pop(key)
    assert resumed.metrics == whole.metrics


def test_a_failure_is_told_and_does_not_stop_the_others(tmp_path, one_process, capsys):
    results = benchmark({"bc": Failing}, ["pass"], range(3), tmp_path, 20, overrides=TINY)
    assert {cell.name: problem for cell, problem in results.failures.items()} == {
        "pass-bc-1": "RuntimeError: out of luck"
    }
    assert [cell.name for cell in results.metrics] == ["pass-bc-0", "pass-bc-2"]
    print_table(results)
    assert "failed: pass-bc-1: RuntimeError: out of luck" in capsys.readouterr().out
    mended = benchmark({"bc": BC}, ["pass"], range(3), tmp_path, 20, overrides=TINY)
    assert len(mended.metrics) == 3 and not mended.failures
