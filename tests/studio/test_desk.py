"""What the server does with runs, without the server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from infogail.baselines.bc import BC
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.envs.reference import DrivingEnv
from infogail.runs.driver import load
from infogail.runs.folder import MANIFEST
from infogail.runs.runner import train
from infogail.studio.desk import Desk
from infogail.studio.processes import CONTEXT
from infogail.studio.simulation import open_roads
from infogail.studio.training import Show


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk over demonstrations of pass and a run, and a damaged one of each."""
    folder, scenario = tmp_path_factory.mktemp("desk"), get_scenario("pass")
    file = folder / "demos" / "pass.safetensors"
    record(scenario, 20, seed=0)[0].save(file)
    (folder / "demos" / "damaged.safetensors").write_bytes(b"damaged")
    train(BC, "bc", file, "pass", settings(scenario, overrides={"bc_steps": 5}), folder / "runs" / "bc")
    (folder / "runs" / "damaged").mkdir()
    (folder / "runs" / "damaged" / MANIFEST).write_text("{")
    return Desk(folder, {"bc": BC}, lambda: None)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(11, "Resource temporarily unavailable"), "no process could be started .*unavailable"),
        (TypeError("cannot pickle the learner"), "cannot pickle"),
    ],
)
def test_what_could_not_be_started_may_be_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(process: object) -> None:
        raise error

    monkeypatch.setattr(CONTEXT.Process, "start", fail)

    async def try_all() -> None:
        for _ in range(2):
            with pytest.raises((BadInput, TypeError), match=told):
                await desk.train("demos/pass.safetensors", "bc", None, None, "default", 0, None)
            with pytest.raises((BadInput, TypeError), match=told):
                await desk.film("runs/bc", 0)

    in_a_thread(try_all())
    assert '"state": "idle"' in (desk.progress[0] or "")
    assert [run["filming"] for run in desk.state()["runs"]] == [None, None]


def in_a_thread(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine in a thread of its own: Playwright keeps an event loop in the main one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, coroutine).result()


DRIVE = {"scenario": "pass", "run": None, "traffic": None, "file": None}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scenario": open_roads()[0], "file": "mine"}, "for driving only"),
        ({"scenario": open_roads()[0], "run": "runs/bc"}, "for driving only"),
        ({"scenario": "turn", "run": "runs/bc"}, "trained on pass, not on turn"),
        ({"scenario": "turn", "file": "pass"}, "of pass, not of turn"),
        ({"run": "runs/damaged"}, "runs/damaged.*manifest"),
        ({"traffic": "runs/bc"}, "trained traffic is for roads"),
        ({"file": "damaged"}, "damaged.safetensors"),
    ],
)
def test_what_does_not_fit_cannot_be_driven(desk: Desk, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        desk.driving({**DRIVE, **changes})


def test_a_show_holds_what_the_policy_saw_and_did(desk: Desk) -> None:
    """In highway-env, the same actions from the same scene give the same observations."""
    run, scenario = desk.folder / "runs" / "bc", get_scenario("pass")
    policy = load(run).policy
    (episode,) = Show(scenario, run).drive(policy)
    env = DrivingEnv(scenario)
    obs, _ = env.reset(options={"scene": episode.scene})
    for seen, action in zip(episode.observations, episode.actions, strict=True):
        np.testing.assert_allclose(seen, obs, atol=1e-4)
        obs, *_ = env.step(action)
    np.testing.assert_allclose(episode.vehicle_states[-1], env.vehicle_state, atol=1e-2)
    assert [shown["label"] for shown in Show(scenario, run).episodes(policy)] == ["code 0"]


def test_a_damaged_run_is_not_resumed(desk: Desk) -> None:
    with pytest.raises(BadInput, match=r"runs/damaged.*manifest"):
        in_a_thread(desk.resume("runs/damaged"))
