"""The page of a stress test, as numbers and as a person sees it."""

import json
import re
import shlex
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from one_process import in_this_process

from infogail.cli import main
from infogail.rendering.viewer import as_script
from infogail.runs.driver import CodeLabels
from infogail.stress.page import drive_again, worst, write_report
from infogail.stress.results import summarise, verdict
from infogail.stress.trials import Setting, Trial, kinds_of_traffic, run_trial

PLANNERS = """
import itertools

count = itertools.count()


def accelerates(observation):
    return 3


def wavers(observation):
    return 3 if next(count) % 7 < 5 else 4


def raises(observation):
    raise ValueError("<script>document.title = 'owned'</script><img src=x onerror=\\"document.title = 'owned'\\">")
"""
SETTING = Setting("highway-v0", {"vehicles_count": 12, "lanes_count": 2, "duration": 12}, None)
SEEDS = range(4)
KINDS = ("idm", "code_0")
LABELS = CodeLabels.of(range(2), False)
CRASHED = {"crashed": True, "at_fault": True}
NEAR = Trial("idm", 0, 5.0, "", False, False, False, 1.5, False, False, 20.0, 100.0, 0, 0.001)


@pytest.fixture(scope="module")
def stressed(highway_run, tmp_path_factory):
    """`stressed(planner)`: trials by kind of traffic, and the page with a command that nobody runs."""
    folder = tmp_path_factory.mktemp("stress")
    (folder / "page_planners.py").write_text(PLANNERS)
    kinds = [kind for kind in kinds_of_traffic(highway_run, ()) if kind.name in KINDS]

    def make(planner):
        planner = f"page_planners:{planner}"
        trials = {kind.name: [run_trial(SETTING, kind, seed, planner, highway_run) for seed in SEEDS] for kind in kinds}
        out = folder / planner.partition(":")[2]
        command = ["infogail", "stress", planner]
        return trials, write_report(out, planner, highway_run, SETTING, kinds, trials, summarise(trials), command)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr("infogail.stress.page.workers", in_this_process)
        yield make
    sys.modules.pop("page_planners", None)


@pytest.fixture(scope="module")
def accelerating(stressed):
    return stressed("accelerates")


def test_the_worst_come_first_and_from_each_kind_in_turn():
    kinds = {"idm": [], "code_0": []}
    for name in kinds:
        for seed, change in enumerate([{}, CRASHED, CRASHED, {"crashed": True}, {"error": "no"}, {"min_ttc": 10.0}]):
            kinds[name].append(replace(NEAR, traffic=name, seed=seed, **change))
    kinds["code_0"][0] = replace(kinds["code_0"][0], min_ttc=0.5)
    found = [(trial.traffic, trial.seed) for trial in worst(kinds)]
    each = [(name, seed) for seed in (1, 2, 3, 4) for name in kinds]
    assert found == [*each, ("code_0", 0), ("idm", 0)]
    many = {"idm": [replace(NEAR, seed=seed, min_ttc=9 - seed / 10) for seed in range(30)]}
    assert [trial.seed for trial in worst(many)] == list(range(29, 19, -1))


def test_a_moment_repeats_exactly_and_ends_in_the_crash(accelerating, highway_run):
    trials, _ = accelerating
    kinds = {kind.name: kind for kind in kinds_of_traffic(highway_run, ())}
    crashed = [trial for trial in worst(trials) if trial.crashed]
    assert crashed
    for trial in crashed[:3]:
        moment = drive_again(SETTING, kinds[trial.traffic], trial, "page_planners:accelerates", highway_run)
        assert moment.repeated
        episode = moment.episode
        step = episode["seconds_per_frame"]
        assert step == pytest.approx(2 / 15)  # of physics at 15 Hz
        assert moment.at == pytest.approx(trial.seconds, abs=1 / 15 + 1e-9)
        ego, *others = episode["frames"][round(moment.at / step)]
        assert min(np.hypot(ego[0] - car[0], ego[1] - car[1]) for car in others if car) < 5.0 + 1.0
        assert f"after {trial.seconds:.1f} s" in moment.text and "crashes with a car of" in moment.text
        assert set(episode["codes"][1:]) == ({0} if trial.traffic == "code_0" else {None})
        other = replace(trial, progress=trial.progress + 1e-9)
        again = drive_again(SETTING, kinds[trial.traffic], other, "page_planners:accelerates", highway_run)
        assert not again.repeated


@pytest.mark.parametrize("environment", ["merge-v0", "intersection-v1", "roundabout-v0"])
def test_cameras_follow_the_planner_and_cars_come_and_go(environment, highway_run):
    _, traffic, *_ = kinds_of_traffic(highway_run, ())
    setting = Setting(environment, {}, 4.0)
    trial = run_trial(setting, traffic, 0, "idm", highway_run)
    episode = drive_again(setting, traffic, trial, "idm", highway_run).episode
    frames, cameras = episode["frames"], np.array(episode["cameras"])
    assert len(frames) == len(cameras) == len(episode["details"])
    after = len(frames) * episode["seconds_per_frame"] - trial.seconds
    assert trial.seconds > 2 and -0.2 < after < 1.2  # a crash ends the episode at the next decision
    ego = np.array([frame[0][:2] for frame in frames])
    assert (abs(ego - cameras[:, :2]) < np.array(episode["size"]) / 2 / cameras[0, 2]).all()
    assert all(len(frame) == len(episode["sizes"]) == len(episode["codes"]) for frame in frames)
    assert all(car is None or len(car) == 4 for frame in frames for car in frame)
    as_script(episode)  # has no NaN


def test_the_page_plays_the_moment_that_is_chosen(chromium, accelerating):
    trials, file = accelerating
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    moments = page.locator("#moments li")
    chosen = worst(trials)
    assert page.locator("#moments .seed").all_inner_texts() == [f"seed {t.seed}" for t in chosen]
    assert page.locator("#moments pre:visible").count() == 1
    canvas = "document.querySelector('.viewer-canvas').toDataURL()"
    before = page.evaluate(canvas)
    moments.nth(1).locator("button").click()
    page.get_by_role("button", name="Pause").wait_for()
    assert moments.nth(1).get_attribute("aria-current") == "true"
    assert page.locator(".viewer-caption b").inner_text().endswith(f", seed {chosen[1].seed}")
    command = shlex.split(moments.nth(1).locator("pre").inner_text())
    assert command[:3] == ["infogail", "stress", "page_planners:accelerates"]
    assert command[3:9] == ["--only", chosen[1].traffic, "--seed", str(chosen[1].seed), "--episodes", "1"]
    page.wait_for_function(f"before => {canvas} !== before", arg=before)
    playing = page.evaluate(canvas)
    page.wait_for_function(f"before => {canvas} !== before", arg=playing)
    time, _, end = page.locator(".viewer-clock").inner_text().removesuffix(" s").partition(" / ")
    start = max(0.0, chosen[1].seconds - 4.0)
    assert start - 0.1 <= float(time) <= float(end)
    page.locator(".viewer-controls input").fill("0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not problems and [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
    assert not page.locator("#different").count()
    page.close()


def test_the_page_is_one_small_file_with_every_number(accelerating):
    trials, file = accelerating
    text, result = file.read_text(), summarise(trials)
    assert len(text) < 2_000_000 and "default-src 'none'" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    for name in KINDS:
        low, high = result[name]["crash_rate_interval"]
        rate = result[name]["crash_rate"]
        assert f"<td>{100 * rate:.1f} %<small>{100 * low:.1f} to {100 * high:.1f}</small>" in text
        assert f"<td>{1000 * result[name]['slowest_decision']:.1f}</td>" in text


def test_a_planner_that_is_not_deterministic_is_told(stressed):
    _, file = stressed("wavers")
    assert 'id="different"' in file.read_text()


def test_messages_of_planners_are_inert(chromium, stressed):
    trials, file = stressed("raises")
    assert all("<script>" in trial.error for trial in trials["idm"])
    page = chromium.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text))
    page.goto(file.as_uri())
    page.locator("#moments button").nth(1).click()
    assert page.title() == "page_planners:raises in highway-v0"
    assert "fails after 0.0 s: ValueError: <script>" in page.locator("#moments li").first.inner_text()
    assert not problems
    page.close()


def test_the_command_on_the_page_repeats_the_moment(stressed, highway_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("infogail.stress.campaign.workers", in_this_process)
    (tmp_path / "config.json").write_text(json.dumps(dict(SETTING.config)))
    words = ["stress", "page_planners:accelerates", "--traffic", str(highway_run), "--episodes", "2", "--seed", "3"]
    words += ["--config", str(tmp_path / "config.json"), "--seconds", "5", "--mix", "1,0,0,1", "--only", "mix_1"]
    main([*words, "--out", str(tmp_path / "out")])
    assert f"{tmp_path / 'out' / 'report.html'}" in "".join(capsys.readouterr().out.split())

    def trials(folder):
        _, *lines = (folder / "trials.jsonl").read_text().splitlines()
        return {values["seed"]: values | {"slowest_decision": 0} for values in map(json.loads, lines)}

    before = trials(tmp_path / "out")
    assert set(before) == {3, 4} and before[3]["mix"] == [1.0, 0.0, 0.0, 1.0]
    assert set(asdict(NEAR)) < set(before[3])
    page = (tmp_path / "out" / "report.html").read_text()
    command, *_ = re.findall(r"<pre>(.*--seed (?:3|4) .*)</pre>", page)
    program, *again = shlex.split(command)
    assert program == "infogail"
    main(again)
    (repeated,) = trials(tmp_path / "out" / f"mix_1-{again[again.index('--seed') + 1]}").values()
    assert repeated == before[repeated["seed"]]


def test_the_verdict_names_the_worst_kind_and_the_difference():
    crash, calm = replace(NEAR, **CRASHED), NEAR
    trials = {"idm": [calm] * 20, "code_0": [crash] * 10 + [calm] * 10, "code_1": [calm] * 20}
    names = list(trials)
    text = verdict("mine", summarise(trials), names, LABELS)
    assert text.startswith(
        "mine is worst with code 0: it crashes in 50.0 % of 20 episodes (95 % interval 29.9 to 70.1 %)"
    )
    assert "+50.0 percentage points compared with highway-env's IDM" in text
    assert "p = 0.0039, corrected for 2 comparisons)" in text  # 2 × 2 × 0.5 ** 10
    trials["code_0"] = [crash] + [calm] * 19
    assert "so that it may be chance" in verdict("mine", summarise(trials), names, LABELS)
    trials["code_0"] = [replace(calm, min_ttc=0.7)] * 20
    assert verdict("mine", summarise(trials), names, LABELS) == (
        "mine crashes in none of 60 episodes, and comes closest to it with code 0: "
        "0.7 s from a collision in the worst 5 % of episodes."
    )
    trials["idm"] = [crash] * 20
    assert verdict("mine", summarise(trials), names, LABELS).endswith("at least as often as with any style.")
