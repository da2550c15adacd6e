"""The benchmark on two nodes of a Ray cluster: the bits of one machine's processes, whatever is killed."""

import json
import os
import shutil
import signal
import threading
import time
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp

import pytest

ray = pytest.importorskip("ray")

from ray.cluster_utils import Cluster  # noqa: E402

from infogail.benchmark.cells import benchmark  # noqa: E402
from infogail.benchmark.cluster import check_address, cluster  # noqa: E402
from infogail.config.presets import settings  # noqa: E402
from infogail.envs.catalogue import get_scenario  # noqa: E402
from infogail.envs.errors import BadInput  # noqa: E402
from infogail.learning.learner import InfoGAIL  # noqa: E402
from infogail.parallel.signals import Stopped  # noqa: E402
from infogail.runs.runner import train  # noqa: E402

TINY = {
    "warm_start_steps": 20,
    "num_envs": 16,
    "iterations": 3,
    "rim_tries": 1,
    "rim_steps": 10,
    "checkpoint_interval": 1,
}
TIMES = ("train_seconds", "seconds_to_styles")
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def local(tmp_path_factory, one_process):
    """The benchmark's folder as one process of this machine leaves it."""
    out = tmp_path_factory.mktemp("local")
    assert not benchmark({"infogail": InfoGAIL}, ["pass"], range(2), out, 20, overrides=TINY).failures
    return out


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    """A cluster, and the home of all its processes."""
    home = tmp_path_factory.mktemp("home")
    short = mkdtemp(prefix="ray")  # the names of sockets may not be long
    Path(short, "ray").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("TMPDIR", short)  # a killed worker leaves its copies there
        # Matplotlib keeps its list of fonts in the home, on any machine.
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join((str(Path(__file__).parent), str(Path(__file__).parents[2]))))
        patch.setenv("OMP_NUM_THREADS", "2")  # which no cell is to see
        both = Cluster(initialize_head=True, head_node_args=NODE | {"temp_dir": f"{short}/ray"})
        both.add_node(**NODE)
        yield both, home
        both.shutdown()
    shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def out(local, tmp_path):
    """A benchmark's folder that holds the same demonstrations, and nothing else."""
    shutil.copy(local / "pass.safetensors", tmp_path)
    return tmp_path


def same(run, other):
    """Whether two runs have the same results but for the times, and the same policy."""
    metrics = [json.loads((path / "metrics.json").read_text()) for path in (run, other)]
    for result in metrics:
        for key in TIMES:
            result.pop(key)
    policies = [(path / "policy.safetensors").read_bytes() for path in (run, other)]
    return metrics[0] == metrics[1] and policies[0] == policies[1]


def where(_):
    import torch

    time.sleep(1)  # so that one node does not do all
    return ray.get_runtime_context().get_node_id(), torch.get_num_threads(), os.environ["HOME"]


def work_with_clutter(folder):
    """Keep a file as long as it works, which is for long."""
    clutter = Path(folder) / str(os.getpid())
    clutter.touch()
    try:
        for _ in range(2000):
            time.sleep(0.05)
    finally:
        clutter.unlink()


@pytest.mark.slow
def test_both_nodes_work_with_one_thread_each_until_ctrl_c(two_nodes, tmp_path, monkeypatch):
    both, home = two_nodes
    (tmp_path / "only_here.py").write_text("def work(_): pass")
    monkeypatch.syspath_prepend(tmp_path)
    only_here = import_module("only_here")
    folder, told = tmp_path / "clutter", []
    folder.mkdir()

    def interrupt():
        wait_until(lambda: len(list(folder.iterdir())) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), cluster(both.address, told.append) as mapped:
        nodes, threads, homes = map(set, zip(*mapped(where, range(4)), strict=True))
        assert len(nodes) == 2 and threads == {1} and homes == {str(home)}
        assert list(mapped(abs, (-3, 2, -1))) == [3, 2, 1] and told == [1.0] * 7
        with pytest.raises(BadInput, match="No module named 'only_here' on a node; install this infogail there"):
            list(mapped(only_here.work, [0]))
        threading.Thread(target=interrupt).start()
        list(mapped(work_with_clutter, [str(folder)] * 2))
    wait_until(lambda: not list(folder.iterdir()))


def test_a_cluster_gives_the_bits_of_one_machine_and_leaves_the_home_empty(two_nodes, local, out):
    both, home = two_nodes
    run = out / "pass-infogail-1"

    def stop(done, total, log):
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):  # one cell is to be gone on with
        train(
            InfoGAIL,
            "infogail",
            out / "pass.safetensors",
            "pass",
            settings(get_scenario("pass"), overrides=TINY | {"seed": 1}),
            run,
            on_iteration=stop,
        )
    first_row = (run / "metrics.jsonl").read_text().splitlines()[0]  # its time included
    results = benchmark({"infogail": InfoGAIL}, ["pass"], range(2), out, 20, overrides=TINY, ray=both.address)
    assert not results.failures
    names = {"pass.safetensors", "pass-infogail-0", "pass-infogail-1"}
    assert {path.name for path in out.iterdir()} == {path.name for path in local.iterdir()} == names
    assert same(out / "pass-infogail-0", local / "pass-infogail-0") and same(run, local / "pass-infogail-1")
    assert (run / "metrics.jsonl").read_text().splitlines()[0] == first_row
    assert benchmark({"infogail": InfoGAIL}, ["pass"], range(2), out, 20, overrides=TINY) == results
    assert not list(home.iterdir())


class Troubled(InfoGAIL):
    """In the second iteration its process is killed, once; once, on another node than `head`, so is that node."""

    head: str
    markers: Path

    def iterate(self):
        if self.iteration == 1:
            elsewhere = ray.get_runtime_context().get_node_id() != self.head
            if elsewhere and self.first("node"):
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            if self.config.run.seed == 0 and self.first("worker"):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.config.run.seed == 1:
                raise RuntimeError("out of luck")
        return super().iterate()

    def first(self, marker):
        try:
            (self.markers / marker).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def test_the_cells_of_a_killed_worker_and_of_a_killed_node_run_again(two_nodes, local, out, tmp_path_factory):
    """And one that fails is told, and does not stop the others."""
    both, _ = two_nodes
    markers = tmp_path_factory.mktemp("markers")
    learner = type("Troubled", (Troubled,), {"head": both.head_node.node_id, "markers": markers})
    results = benchmark({"infogail": learner}, ["pass"], range(2), out, 20, overrides=TINY, ray=both.address)
    assert {path.name for path in markers.iterdir()} == {"node", "worker"}
    assert {cell.name: problem for cell, problem in results.failures.items()} == {
        "pass-infogail-1": "RuntimeError: out of luck"
    }
    assert same(out / "pass-infogail-0", local / "pass-infogail-0")
    assert (out / "pass-infogail-1/manifest.json").exists()  # to go on with, once that is mended


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.0.1:1", r"--ray 127.0.0.1:1: cannot be reached \(Connection refused\); start it with 'ray"),
        ("no.such.invalid:6379", "--ray no.such.invalid:6379: cannot be reached"),
        ("local", "--ray local: give auto or HOST:PORT"),
        ("ray://127.0.0.1:10001", "--ray ray://127.0.0.1:10001: give auto or HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(tmp_path, address, problem):
    with pytest.raises(BadInput, match=problem):
        benchmark({"infogail": InfoGAIL}, ["pass"], [0], tmp_path / "out", 20, overrides=TINY, ray=address)
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("infogail.benchmark.cluster.find_spec", lambda name: None)
    with pytest.raises(
        BadInput, match=r"^--ray requires the extra 'dist'; install it with pip install 'infogail\[dist\]'$"
    ):
        check_address("auto")


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
