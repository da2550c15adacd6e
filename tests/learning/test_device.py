"""Training on a device other than the CPU: on torch's meta device, which computes shapes only, and on a GPU if any."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module

import gymnasium
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from infogail.baselines import bc, coded_bc, gail
from infogail.config.config import Config
from infogail.envs.errors import BadInput
from infogail.envs.twin import DrivingEnvironment
from infogail.learning import devices, learner, networks, posterior, schedule
from infogail.learning.rollout import Rollout

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")
"""Operations that wait for the device: they read numbers, or make a result whose size depends on the numbers."""
COPIES = (torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.new_tensor)
"""Functions that copy numbers from the host, unless they are given a tensor."""
TINY = {"num_envs": 16, "rim_steps": 2, "rim_tries": 1, "warm_start_steps": 2, "bc_steps": 200, "ppo_epochs": 1}


class On(TorchDispatchMode):
    """Fails where an operation waits for the device, or takes or makes a tensor elsewhere.

    Args:
        preparing: tensors made on the CPU may be copied to the device, but not mixed with those that are there.
    """

    def __init__(self, device: str, preparing: bool = False) -> None:
        super().__init__()
        self.device, self.preparing = device, preparing

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITS and not self.preparing:
            raise AssertionError(f"{name} waits for the device")
        out = func(*args, **(kwargs or {}))
        taken, made = devices_in((args, kwargs)), devices_in(out)
        if self.preparing:
            assert len(taken) <= 1 or name == "copy_", f"{name} mixes tensors on {taken}"
        else:
            assert taken | made <= {self.device}, f"{name} takes tensors on {taken} and makes one on {made}"
        return out


class Copying(TorchFunctionMode):
    """Fails where numbers are copied to the device from the host, which waits too."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in COPIES or isinstance(args[0], Tensor), f"{func.__name__} copies from the host"
        return func(*args, **(kwargs or {}))


@contextmanager
def staying_on(device: str):
    """Fails where an operation waits for the device, or takes or makes a tensor elsewhere."""
    with Copying(), On(device):
        yield


def devices_in(tree: object) -> set[str]:
    return {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


@pytest.fixture
def on_meta(monkeypatch):
    """Replace what the meta device lacks: numbers, generators and fused optimisers. Yields the sizes of all reads."""
    reads: list[int] = []

    def read(*values: Tensor) -> list[float]:
        assert devices_in(values) <= {"meta"}
        reads.append(len(values))
        return [0.0] * len(values)

    for module in (devices, posterior, schedule):
        monkeypatch.setattr(module, "read", read)
    monkeypatch.setattr(posterior, "same_division", lambda codes, others: False)
    for module in (learner, gail, bc, coded_bc):
        monkeypatch.setattr(module, "seeded", lambda seed, device: networks.seeded(seed))
    monkeypatch.setattr(
        import_module("torch.optim.optimizer"), "_get_fused_kernels_supported_devices", lambda: ["meta"]
    )
    monkeypatch.setattr(Rollout, "summary", lambda self: {})  # for the log
    return reads


CASES = {
    "infogail": (learner.InfoGAIL, "pass", {}),
    "labelled": (learner.InfoGAIL, "turn", {"held_iterations": 0}),
    "graded": (learner.InfoGAIL, "turn-line", {"num_codes": 3, "graded_code": True}),
    "published": (
        learner.InfoGAIL,
        "pass",
        {
            "discriminator_loss": "wasserstein",
            # Not RMSprop: torch counts its steps on the CPU, which waits for nothing.
            "weight_clip": 0.01,
            "absorbing": True,
            "info_reward": "step",
            "posterior_input": "pair",
            "posterior_target": 0.5,
            "replay_iterations": 2,
        },
    ),
    "gail": (gail.GAIL, "pass", {}),
    "coded-bc": (coded_bc.CodedBC, "pass", {}),
    "bc": (bc.BC, "turn", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_an_iteration_stays_on_the_device_and_reads_only_log_and_schedule(case, recorded, on_meta):
    kind, scenario, settings = CASES[case]
    recording = recorded(scenario)[0]
    demonstrations = recording.with_labels(0.1) if case == "labelled" else recording.demonstrations
    env = DrivingEnvironment(recording.scenario, TINY["num_envs"], device="meta")  # without a judge: no styles to log
    made = kind(env, demonstrations, Config.of(**TINY, **settings, device="meta"))
    with On("meta", preparing=True):
        made.start()
    on_meta.clear()
    with staying_on("meta"):
        log = made.iterate()
    drives = kind in (learner.InfoGAIL, gail.GAIL)
    assert on_meta == ([1] if drives else []) + [len(log)]


@pytest.mark.parametrize("scenario", ["Pass", "Turn"])
def test_a_step_of_the_twin_stays_on_the_device(scenario):
    env = gymnasium.make_vec(
        f"infogail/{scenario}-v0", 8, vectorization_mode="vector_entry_point", device="meta", tensors=True
    )
    env.reset(seed=0)
    with staying_on("meta"):
        obs, _ = env.reset()
        for _ in range(3):
            obs, *_, infos = env.step(torch.zeros((8, 2), device="meta"))
    assert obs.shape == infos["final_obs"].shape and devices_in(infos) == {"meta"}


WRONG = {
    "made elsewhere": lambda x: torch.zeros(3),
    "taken from elsewhere": lambda x: x[INDEX],
    "copied to the CPU": lambda x: x.cpu(),
    "a number": lambda x: x.sum().item(),
    "a branch": lambda x: bool(x.any()),
    "a list": lambda x: torch.tensor([1.0, 2.0], device="meta"),
    "a mask": lambda x: x[x > 0],
    "a size": lambda x: x.nonzero(),
}
INDEX = torch.tensor([0, 1])


@pytest.mark.parametrize("wrong", WRONG)
def test_the_check_finds_what_is_wrong(wrong):
    x = torch.zeros(3, device="meta")
    with pytest.raises((AssertionError, NotImplementedError, RuntimeError)), staying_on("meta"):
        WRONG[wrong](x)


def test_numbers_are_read_at_once():
    log = {"loss": torch.tensor(0.1), "share": torch.tensor(0.1, dtype=torch.float64), "count": 0.5}
    with Count() as count:
        assert devices.read_log(log) == {"loss": torch.tensor(0.1).item(), "share": 0.1, "count": 0.5}
    assert count.stacks == 1


class Count(TorchDispatchMode):
    """Counts the tensors that are put together to be read."""

    stacks = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.stacks += func.overloadpacket.__name__ == "stack"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(BadInput, match=rf"^--device {name}: give cpu, cuda, or cuda:N"):
        devices.check_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    devices.check_device("cpu")
    with pytest.raises(BadInput, match=r"^--device cuda:99: torch finds \d+ GPUs.*; give --device cpu$"):
        devices.check_device("cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("case", CASES)
def test_training_runs_on_a_gpu(case, recorded):
    kind, scenario, settings = CASES[case]
    recording = recorded(scenario)[0]
    demonstrations = recording.with_labels(0.1) if case == "labelled" else recording.demonstrations
    judge = recording.scenario.fit_judge(recording)
    env = DrivingEnvironment(recording.scenario, TINY["num_envs"], judge, "cuda")
    made = kind(env, demonstrations, Config.of(**TINY, **settings, device="cuda"))
    logs = [made.iterate() for _ in range(2)]
    assert all(torch.tensor(list(log.values())).isfinite().all() for log in logs)
    assert made.policy.log_std.device.type == "cuda"
