"""The studio as a person meets it: a real browser, real keys."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infogail.baselines.bc import BC
from infogail.config.presets import settings
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.gym_environment import record_policy
from infogail.envs.recordings.record import record
from infogail.envs.tasks import GymTask
from infogail.learning.learner import InfoGAIL
from infogail.runs.runner import train
from tests.studio.conftest import READY, Opened, RunningStudio, go
from tests.studio.keys import begin, discard, drive, end, following, keep, middle_of, passed, passing, wait

PHASE = "document.getElementById('drive-canvas')?.dataset.phase"
QUICK = {"iterations": 2, "num_envs": 32, "warm_start_steps": 100, "rim_steps": 20}


@pytest.fixture(scope="module")
def furnished(studio: RunningStudio) -> RunningStudio:
    """A studio with demonstrations of pass, and a run with two codes."""
    file = studio.folder / "demos" / "pass.safetensors"
    record(get_scenario("pass"), 20, seed=0)[0].save(file)
    config = settings(get_scenario("pass"), overrides=QUICK)
    train(InfoGAIL, "infogail", file, "pass", config, studio.folder / "runs" / "quick")
    train(
        BC,
        "bc",
        file,
        "pass",
        settings(get_scenario("pass"), overrides={"bc_steps": 50}),
        studio.folder / "runs" / "bc",
    )
    return studio


def test_the_page_is_small_and_asks_nobody_else(chromium: Any, furnished: RunningStudio) -> None:
    opened = Opened(chromium, furnished)
    page = opened.page
    for room in ("Library", "Train", "Watch", "Drive"):
        go(page, room)
    assert {request.url.split("/")[2] for request in opened.requests if "://" in request.url} == {furnished.host}
    sizes = [len(request.response().body()) for request in opened.requests if "/static/" in request.url]
    assert 20_000 < sum(sizes) < 200_000
    assert furnished.token not in page.url and not opened.problems
    opened.context.close()


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_no_room_scrolls_sideways(open_page: Any, furnished: RunningStudio, width: int) -> None:
    page = open_page(furnished, viewport={"width": width, "height": 844})
    for room in ("Drive", "Library", "Train", "Watch"):
        go(page, room)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, room
    unlabelled = page.locator("input, select, button, canvas").evaluate_all(
        "all => all.filter(e => !e.closest('label, [hidden]') && !e.ariaLabel && !e.textContent).map(e => e.outerHTML)"
    )
    assert unlabelled == []


def test_a_pass_is_driven_kept_and_found_in_the_library(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    begin(page, "pass", "driven", recorder="Ann")
    rng = np.random.default_rng(0)
    for _ in range(3):  # one of the rule's tries may fail
        frame = drive(page, passing(-1, rng), passed)
        if passed(frame):
            break
        discard(page)
    assert passed(frame) and frame["gap"] is None
    page.keyboard.press("Space")
    wait(page, f"{PHASE} === 'paused'")
    keep(page)
    wait(page, "document.getElementById('drive-kept').textContent === '1'")
    recording = Recording.load(furnished.folder / "demos" / "driven.safetensors", get_scenario("pass"))
    assert recording.judged_styles.tolist() == [0] and recording.source == "by hand: Ann"
    end(page)
    page.get_by_role("button", name="Look at them").click()
    page.locator("#library-detail .viewer-canvas").wait_for()
    assert page.locator("#library-files").get_by_text("by hand: Ann").is_visible()


def test_a_turn_is_driven(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    begin(page, "turn", None)
    rng = np.random.default_rng(0)
    for _ in range(3):
        wait(page, f"{PHASE} === 'waiting'")
        drive(page, following(middle_of(page.evaluate("window.studio.begun.road")), rng))
        if page.locator("#drive-status").inner_text().startswith("The episode is complete"):
            return
        discard(page)
    pytest.fail("three turns left the road")


def test_a_gamepad_drives(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    page.evaluate(
        "navigator.getGamepads = () => [{connected: true, axes: [window.stick ?? 0, 0],"
        " buttons: [...Array(16).keys()].map(k => ({pressed: window.pressed === k, value: +(window.pressed === k)}))}]"
    )
    begin(page, "pass", None)
    page.evaluate("window.stick = 0.05")  # within the dead zone
    page.wait_for_timeout(300)
    assert page.evaluate("window.studio.driving.t") == 0
    page.evaluate("window.stick = 0.54")
    wait(page, "window.studio.driving.pedals[1] === 0.5")
    page.evaluate("window.stick = 0; window.pressed = 7")
    wait(page, "window.studio.driving.pedals[0] === 1")
    page.evaluate("window.pressed = 9")
    wait(page, f"{PHASE} === 'paused'")
    page.wait_for_timeout(350)
    page.evaluate("window.pressed = 1")
    wait(page, f"{PHASE} === 'waiting'")


def test_fingers_drive(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    begin(page, "pass", None)
    page.get_by_role("button", name="steer left").dispatch_event("pointerdown", {"pointerId": 1})
    wait(page, "window.studio.driving.pedals[1] < -0.2")


def test_a_reload_in_mid_session_loses_only_the_episode_being_driven(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    begin(page, "pass", "reloaded")
    for kept in (1, 2):
        wait(page, f"{PHASE} === 'waiting'")
        page.keyboard.press("Space")
        wait(page, "window.studio.driving.t > 0.5")
        if kept == 1:
            page.keyboard.press("Space")
            wait(page, f"!document.getElementById('drive-keep').hidden && {PHASE} === 'paused'")
            keep(page)
            wait(page, "document.getElementById('drive-kept').textContent === '1'")
    page.reload()
    wait(page, READY)
    page.locator("#drive-scenario").select_option("pass")
    page.locator("#drive-file").select_option("reloaded")
    page.locator("#drive-start").click()
    wait(page, "document.getElementById('drive-kept').textContent === '1'")


def test_two_tabs_drive_side_by_side(open_page: Any, furnished: RunningStudio) -> None:
    pages = [open_page(furnished), open_page(furnished)]
    for page in pages:
        begin(page, "pass", None)
        page.keyboard.press("Space")
    for page in pages:
        wait(page, "window.studio.driving.t > 1")


def test_files_are_split_merged_relabelled_and_deleted_by_the_page(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    go(page, "Library")
    page.locator("#library-files").get_by_role("button", name="pass", exact=True).click()
    page.locator("#library-detail .viewer-canvas").wait_for()
    for episode in ("0", "1"):
        page.get_by_label(f"Choose episode {episode}", exact=True).check()
    page.locator("#library-split").click()
    page.locator("dialog input[name=out]").fill("two")
    page.locator("dialog button[type=submit]").click()
    page.locator("#library-detail h2", has_text="two").wait_for()
    page.get_by_label("Choose episode 0", exact=True).check()
    page.locator("#library-relabel").click()
    page.locator("dialog select").select_option("-1")
    page.locator("dialog input[name=out]").fill("relabelled")
    page.locator("dialog button[type=submit]").click()
    page.locator("#library-detail h2", has_text="relabelled").wait_for()
    for name in ("two", "two-rest"):
        page.get_by_label(f"Choose {name}", exact=True).check()
    page.locator("#library-merge").click()
    page.locator("dialog input[name=out]").fill("whole")
    page.locator("dialog button[type=submit]").click()
    page.locator("#library-detail h2", has_text="whole").wait_for()
    page.get_by_label("Choose two-rest", exact=True).check()
    page.locator("#library-delete").click()
    page.locator("dialog button[type=submit]").click()
    page.get_by_label("Choose two-rest", exact=True).wait_for(state="detached")
    demos, scenario = furnished.folder / "demos", get_scenario("pass")
    names = ("two", "whole", "relabelled")
    styles = {name: Recording.load(demos / f"{name}.safetensors", scenario).styles for name in names}
    assert (len(styles["two"]), len(styles["whole"])) == (2, 20) and not (demos / "two-rest.safetensors").exists()
    assert (styles["relabelled"] == -1).tolist() == [True, False]
    page.locator("#library-upload").set_input_files(demos / "two.safetensors")
    page.get_by_label("Choose two-2", exact=True).wait_for()


def test_training_shows_every_code_and_can_be_watched(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    go(page, "Train")
    page.locator("#train-file").select_option("demos/pass.safetensors")
    page.locator("#train-algorithm").select_option("coded-bc")
    page.locator("#train-start").click()
    wait(page, "window.studio.trained?.state === 'training'")
    wait(page, "window.studio.trained.state === 'finished'", 120)
    assert page.locator("#train-panels .viewer-canvas").count() == 2
    page.locator("#train-watch").click()
    wait(page, "document.querySelector('#watch-runs input:checked')?.value === window.studio.trained.run")
    page.locator("#watch-start").click()
    wait(page, "window.studio.watched?.panels.length === 2")


def test_a_knob_turns_a_code_in_mid_drive(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    go(page, "Watch")
    for box in page.locator("#watch-runs input").all():
        box.set_checked(box.get_attribute("value") == "runs/quick")
    page.locator("#watch-start").click()
    wait(page, "window.studio.watched?.panels[0].t > 0.3")
    page.locator("#watch-panels article").first.get_by_role("button", name="code 1").click()
    wait(page, "window.studio.watched.panels[0].code === 1")
    page.locator("#watch-play").click()
    page.wait_for_timeout(300)
    before = page.evaluate("window.studio.watched.panels[0].t")
    page.locator("#watch-step").click()
    wait(page, f"window.studio.watched.panels[0].t > {before}")
    assert page.evaluate("window.studio.watched.panels[0].t") == pytest.approx(before + 1 / 15, abs=1e-3)
    page.locator("#watch-another").click()
    wait(page, "window.studio.watched.panels[0].t < 0.2")


def test_other_environments_are_watched_in_pictures(open_page: Any, furnished: RunningStudio) -> None:
    task, file = GymTask("CartPole-v1"), furnished.folder / "demos" / "cartpole.safetensors"
    record_policy(task.make(), lambda observation: int(observation[2] + observation[3] > 0), 5, seed=0).save(file)
    config = settings(task, overrides={"bc_steps": 50})
    train(BC, "bc", file, task.name, config, furnished.folder / "runs" / "cartpole")
    page = open_page(furnished)
    go(page, "Watch")
    for box in page.locator("#watch-runs input").all():
        box.set_checked(box.get_attribute("value") == "runs/cartpole")
    page.locator("#watch-start").click()
    wait(page, "window.studio.watched?.panels[0].return > 2")
    wait(page, "document.querySelector('#watch-panels canvas').width === 600")
    colours = page.get_by_role("img", name="cartpole").evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )
    assert colours > 5  # ground, cart, pole
    assert page.locator("#watch-panels article").inner_text().startswith("cartpole")


def test_a_killed_server_is_noticed_and_a_new_one_is_told_apart(chromium: Any, tmp_path: Path) -> None:
    studio = RunningStudio(tmp_path)
    page = Opened(chromium, studio).page
    begin(page, "pass", None)
    studio.stop(signal.SIGKILL)
    page.locator(".lost").get_by_text("Connection lost").wait_for()
    page.locator("#banner").get_by_text("does not answer").wait_for()
    port = studio.port
    studio.start(port)
    page.get_by_text("Open the address that it printed").wait_for()
    page.goto(studio.address)
    wait(page, READY)
    studio.stop()
    page.context.close()
