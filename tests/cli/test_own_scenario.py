"""A scenario of somebody else's, `lane_drop:LaneDrop`: nothing but its file, in the folder where the commands run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lane_drop import LaneDrop

from infogail.envs.catalogue import get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.twin import DrivingVectorEnv
from infogail.runs.folder import Manifest

TESTS = Path(__file__).parents[1]
NAME = "lane_drop:LaneDrop"
TINY = "--num-envs 8 --iterations 1 --rim-steps 2 --rim-tries 1 --warm-start-steps 20 --bc-steps 100"
COMMANDS = [
    f"record {NAME} --episodes 10",
    f"train {NAME} {TINY}",
    "evaluate --episodes 4",
    "render",
    f"benchmark --scenarios {NAME} --algorithms bc infogail --seeds 1 --episodes 20 --out benchmark {TINY}",
]
# Short films; two processes judge, however many cores there are.
SCRIPT = """
import os, sys

if __name__ == "__main__":
    from itertools import islice
    from infogail.cli import main
    from infogail.rendering import film

    whole = film.film
    film.film = lambda *each: islice(whole(*each), 3)
    for command in sys.argv[1:]:
        os.cpu_count = lambda: 2 if command.startswith("evaluate") else 1
        main(command.split())
"""


def test_it_is_recorded_trained_judged_filmed_and_benchmarked(tmp_path):
    here, script = tmp_path / "here", tmp_path / "bin" / "main.py"  # as installed: not where the user is
    here.mkdir()
    script.parent.mkdir()
    script.write_text(SCRIPT)
    shutil.copy(TESTS / "lane_drop.py", here)
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, script, *COMMANDS]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert {path.name for path in here.iterdir()} >= {"demos", "runs", "benchmark"}
    assert (here / "demos/lanedrop.safetensors").is_file()
    run = here / "runs/lanedrop-infogail-0"
    assert Manifest.load(run).scenario == NAME
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["scenario"], metrics["episodes"]) == (NAME, 4)
    assert {path.name for path in (run / "videos").iterdir()} == {"codes.gif", "codes.mp4", "codes.png"}
    for algorithm in ("bc", "infogail"):
        assert (here / f"benchmark/lanedrop-{algorithm}-0/metrics.json").is_file()
    assert NAME in (here / "benchmark/report.html").read_text()


def test_its_twin_drives_as_highway_env_does():
    scenario, count = LaneDrop(), 20
    twin, reference = DrivingVectorEnv(scenario, count, dtype="float64"), DrivingEnv(scenario)
    twin.reset(seed=0)
    scene, rng, ends = twin.scene, np.random.default_rng(0), []
    actions = rng.uniform(-1, 1, (scenario.horizon, count, 2)) * [1.0, 0.3]
    steps = []
    for action in actions:
        _, _, terminated, truncated, infos = twin.step(action)
        states = infos["final_info"]["vehicle_state"] if "final_info" in infos else twin.vehicle_state
        steps.append((states, terminated, truncated))
    for b in range(count):
        reference.reset(options={"scene": {name: values[b] for name, values in scene.items()}})
        for action, (states, *flags) in zip(actions[:, b], steps, strict=True):
            _, _, *ended, _ = reference.step(action)
            np.testing.assert_allclose(states[b], reference.vehicle_state, rtol=0, atol=1e-9)
            assert [bool(flag[b]) for flag in flags] == ended
            if any(ended):
                break
        ends.append(ended)
    assert [True, False] in ends and len(ends) == count


def test_its_drivers_do_what_their_style_says():
    recording, failed = record(LaneDrop(), 20, seed=0)
    assert failed <= 2 and set(recording.styles) == {0, 1}
    assert record(get_scenario(NAME), 1, seed=0)[0].scenario.name == recording.scenario.name == NAME


class Unfinished(Scenario):
    """Forgets what a file of one's own forgets most easily."""

    initial_states, observe, off_road, style = (
        *(LaneDrop.initial_states, LaneDrop.observe),
        *(LaneDrop.off_road, LaneDrop.style),
    )


class Unnumbered(Unfinished):
    """Has the methods, and none of the attributes."""

    placement, road_network = LaneDrop.placement, LaneDrop.road_network


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("lane_drop:LaneDrops", "lane_drop has no 'LaneDrops'; name its class after the colon"),
        ("slopes:LaneDrop", "run in the folder of slopes.py, or install it"),
        (f"{__name__}:Unfinished", "Unfinished lacks placement, road_network; define what Scenario requires"),
        (
            f"{__name__}:Unnumbered",
            "lacks num_vehicles, styles, features, style_features, draws, steering_range; define",
        ),
        (f"{__name__}:Path", "'Path' does not make a Scenario; name a subclass of it"),
    ],
)
def test_what_is_no_scenario_or_not_finished_is_refused_in_one_line(name, problem):
    with pytest.raises(BadInput) as raised:
        get_scenario(name)
    assert problem in str(raised.value) and "\n" not in str(raised.value)
