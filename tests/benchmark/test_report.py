"""The report as a person sees it: in a browser, on a desk and on a phone."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice

import pytest

from infogail.baselines.bc import BC
from infogail.benchmark.cells import benchmark
from infogail.benchmark.report import occupancy_map, write_report
from infogail.benchmark.results import Cell, Results
from infogail.config.config import Config
from infogail.envs.catalogue import get_scenario
from infogail.evaluation.episodes import demonstrated_episodes
from infogail.learning.learner import InfoGAIL
from infogail.rendering.film import film

SECTIONS = ("table", "seeds", "curves", "codes", "occupancy", "trajectories", "video", "run")
TINY = {"warm_start_steps": 20, "num_envs": 32, "iterations": 2, "bc_steps": 100, "rim_steps": 2}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory, one_process):
    out = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        patch.setattr("infogail.rendering.film.film", lambda *each: islice(film(*each), 20))  # whole films take long
        results = benchmark({"bc": BC, "infogail": InfoGAIL}, ["pass"], range(2), out, 20, overrides=TINY)
        failed, *_ = results.metrics
        others = {cell: metrics for cell, metrics in results.metrics.items() if cell != failed}
        return write_report(out, Results(others, {failed: "<out of luck>"}), "infogail benchmark --out here")


def test_the_report_is_one_file_that_asks_for_nothing(page_file):
    text = page_file.read_text()
    for url in re.findall(r"(?:src|href)=\"([^\"]{0,40})", text):
        assert url.startswith("data:")
    assert "url(" not in text and "@import" not in text and "<script src" not in text
    assert "default-src 'none'" in text
    for part in (
        "infogail benchmark --out here",
        "failed: pass-bc-0: &lt;out of luck&gt;",
        "instruction set",
        "num_envs",
    ):
        assert part in text


def test_occupancy_of_a_highway_is_speed_over_time(highway_recording):
    cell = Cell("highway", "infogail", Config.of(num_codes=4))
    driven = [replace(e, code=k % 4) for k, e in enumerate(demonstrated_episodes(highway_recording))]
    medium = occupancy_map(cell, get_scenario("highway"), highway_recording, driven)
    assert medium.source.startswith("data:image/svg") and len(medium.source) > 10_000


@pytest.mark.parametrize("width", [390, 1440])
def test_every_section_is_there_and_readable(chromium, page_file, width):
    page = chromium.new_page(viewport={"width": width, "height": 900})
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_load_state("networkidle")
    assert not errors
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    for name in SECTIONS:
        assert page.locator(f"section#{name} h2").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # nothing to scroll sideways to
    pictures = page.locator("img").evaluate_all("all => all.map(i => [i.alt, i.naturalWidth, i.clientWidth])")
    assert len(pictures) == 1 + 1 + 2 * 2
    assert all(len(text) > 20 and natural > 100 and shown > 200 for text, natural, shown in pictures)
    assert page.locator("video").evaluate_all("all => all.map(v => v.getAttribute('aria-label'))") == [
        "pass-infogail-0, one panel per code"
    ]
    assert page.locator("tbody th").first.inner_text() == "seeds"
    assert page.locator(".failed").inner_text() == "failed: pass-bc-0: <out of luck>"
    assert page.locator(".viewer-canvas").count() == 2 * 2  # of two runs, a panel per code
    page.locator(".viewer-controls select[aria-label=Scene]").first.select_option("1")
    page.locator(".viewer-controls input").first.fill("1.2")
    assert page.locator(".viewer-clock").first.inner_text().startswith("1.2 /")
    page.close()
