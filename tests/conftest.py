import os
import shutil
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; networks this small are slower on two

from functools import cache

import pytest
import torch
from highway_env.vehicle.behavior import IDMVehicle

from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording, num_training_episodes
from infogail.envs.recordings.record import record

# A shell starts what runs in the background with Ctrl-C ignored, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread():
    """Results depend on the number of threads in the last bits; a test that trains may have changed it."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def idm_constants():
    """highway-env's intersections change these for all cars of the process."""
    before = {name: getattr(IDMVehicle, name) for name in ("DISTANCE_WANTED", "COMFORT_ACC_MAX", "COMFORT_ACC_MIN")}
    yield
    for name, value in before.items():
        setattr(IDMVehicle, name, value)


@pytest.fixture(scope="session")
def recorded():
    """`recorded(scenario)`: training and held-out part of as many episodes as `infogail record` makes by default."""

    @cache
    def parts(scenario: str) -> tuple[Recording, Recording]:
        recording, _ = record(get_scenario(scenario), 200, seed=0)
        training = num_training_episodes(200)
        return recording.episodes(slice(training)), recording.episodes(slice(training, None))

    return parts


@pytest.fixture(scope="session")
def highway_recording():
    """Six or so episodes of each style."""
    recording, failed = record(get_scenario("highway"), 24, seed=0)
    assert failed == 0
    return recording


@pytest.fixture(scope="session")
def highway_run(highway_recording, tmp_path_factory):
    """Four codes, hardly trained."""
    from infogail.config.config import Config
    from infogail.learning.learner import InfoGAIL
    from infogail.runs.runner import train

    folder = tmp_path_factory.mktemp("highway")
    highway_recording.save(folder / "highway.safetensors")
    config = Config.of(num_codes=4, num_envs=32, iterations=1, bc_steps=400, rim_steps=20, rim_tries=1)
    train(InfoGAIL, "infogail", folder / "highway.safetensors", "highway", config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    """Ten demonstrations of pass."""
    path = tmp_path_factory.mktemp("demos") / "pass.safetensors"
    record(get_scenario("pass"), 10, seed=0)[0].save(path)
    return path


@pytest.fixture(scope="session")
def chromium():
    """A browser; skips where Playwright or a Chromium is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium: install it, such as by 'apt-get install chromium'")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
