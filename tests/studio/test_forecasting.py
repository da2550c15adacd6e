"""The room Forecast: what is listed, what a session answers, and the page with a mouse, a finger and a keyboard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from infogail.envs.errors import BadInput
from infogail.forecast.forecasters import MaxEnt
from infogail.forecast.grid import HEADINGS
from infogail.forecast.saved import load, save
from infogail.forecast.spread import Spread
from infogail.forecast.walks import make_walks
from infogail.studio.forecasting import SHADES
from infogail.studio.library import Library
from tests.forecast.synthetic import hall
from tests.studio.conftest import PATIENCE, RunningStudio, go, until
from tests.studio.keys import wait

TOLD = "window.studio.forecast !== null"
LIKELIEST = "window.studio.forecast.chances.indexOf(Math.max(...window.studio.forecast.chances))"


@pytest.fixture(scope="module")
def furnished(studio: RunningStudio) -> RunningStudio:
    """A studio with the forecast of a hall with two doors on its right, above and below."""
    folder = studio.folder / "runs" / "hall"
    paths = hall(60)
    model = MaxEnt(make_walks(paths, 1.0, 2, 0))
    save(folder, paths, model, 1.0, 2, 0)
    (folder / "metrics.json").write_text(json.dumps({"paths": 60, "held_out_paths": 12, "nll_per_step": 0.5}))
    return studio


def test_forecasts_are_listed_deleted_and_damaged_ones_not_opened(furnished: RunningStudio, tmp_path: Path) -> None:
    source = furnished.folder / "runs" / "hall"
    library = Library(tmp_path)
    for name in ("whole", "damaged", "deleted"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    damaged = tmp_path / "runs" / "damaged" / "forecast.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    library.delete(["runs/deleted"])
    listed = {entry["name"]: entry for entry in library.forecasts()}
    assert set(listed) == {"runs/whole", "runs/damaged"} and not library.files()
    assert listed["runs/whole"]["metrics"]["held_out_paths"] == 12 and listed["runs/whole"]["problem"] is None
    assert "does not match its sha256" in listed["runs/damaged"]["problem"]
    for name, reason in (("runs/damaged", "sha256"), ("runs/deleted", "no such forecast"), ("../runs", "no such")):
        with pytest.raises(BadInput, match=reason):
            library.forecast(name)


def test_a_session_answers_the_latest_question(furnished: RunningStudio) -> None:
    _, model = load(furnished.folder / "runs" / "hall")
    spread, grid = Spread(model), model.walks.grid
    with furnished.socket("/ws/forecast") as socket:
        socket.send(json.dumps({"type": "begin", "forecast": "runs/hall"}))
        begin = until(socket, "begin")
        assert (begin["columns"], begin["rows"], len(begin["goals"])) == (grid.columns, grid.rows, 2)
        assert len(begin["people"]) == 12 and len(begin["rewards"]) == len(grid)
        for column in range(8):
            asked = {"type": "start", "column": column, "row": 4, "heading": 0, "moves": 5}
            socket.send(json.dumps(asked))
        told = until(socket, "forecast", lambda message: message["asked"]["column"] == 7)
        forecast = spread.start((4 * grid.columns + 7) * HEADINGS)
        assert told["chances"] == pytest.approx(forecast.chances, abs=1e-4)
        entries = (np.array(told["entries"]) / SHADES) ** 2
        assert entries == pytest.approx(forecast.entries(5).clip(0, 1), abs=0.01) and entries.sum() > 3
        socket.send(json.dumps({"type": "person", "person": 2, "points": 30, "moves": None}))
        told = until(socket, "forecast", lambda message: message["asked"]["type"] == "person")
        person = spread.after(hall(60).path(int(model.walks.recorded[2]))[:30], 2)
        assert told["chances"] == pytest.approx(person.chances, abs=1e-4) and told["moves"] == len(person.ahead)
        socket.send(json.dumps({"type": "person", "person": 12, "points": 30, "moves": None}))
        assert "person 12: the last one is 11" in until(socket, "error")["error"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"type": "begin", "forecast": "runs/none"}, "no such forecast"),
        ({"type": "begin", "forecast": "../hall"}, "no such forecast"),
        ({"type": "start", "column": 0, "row": 0, "heading": 0, "moves": None}, "'begin'"),
        ({"type": "start", "column": 0, "row": 0, "heading": 8, "moves": None}, "'heading' is not valid"),
    ],
)
def test_bad_messages_end_the_session_with_a_reason(furnished: RunningStudio, message: Any, reason: str) -> None:
    with furnished.socket("/ws/forecast") as socket:
        socket.send(json.dumps(message))
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008 and reason in closed.value.rcvd.reason


def pixels(page: Any) -> int:
    """How many different colours the map has in its upper half, less those in its lower half."""
    return page.locator("#forecast-map").evaluate(
        "c => [0, 1].map(k => new Set(new Uint32Array(c.getContext('2d').getImageData(0, k * (c.height >> 1), c.width,"
        " c.height >> 1).data.buffer)).size).reduce((upper, lower) => upper - lower)"
    )


def test_dragging_the_start_changes_the_density_and_the_goals(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    go(page, "Library")
    page.locator("#library-forecasts").get_by_role("button", name="hall").click()
    wait(page, TOLD)
    upper = int(load(furnished.folder / "runs" / "hall")[1].walks.goals.centres[:, 1].argmax())
    box = page.locator("#forecast-map").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.locator("#forecast-map").focus()
    for _ in range(page.evaluate("8 - window.studio.forecast.asked.heading")):
        page.keyboard.press("Shift+ArrowLeft")
    wait(page, "window.studio.forecast.asked.heading === 0")
    page.mouse.move(*at(0.75, 0.85))
    page.mouse.down()
    wait(page, "window.studio.forecast.asked.row === 1")
    below = page.evaluate(LIKELIEST), pixels(page), page.locator("#forecast-chances").inner_text()
    for step in range(1, 11):
        page.mouse.move(*at(0.75, 0.85 - 0.07 * step))
    page.mouse.up()
    wait(page, "window.studio.forecast.asked.row > 5")
    above = page.evaluate(LIKELIEST), pixels(page), page.locator("#forecast-chances").inner_text()
    assert (below[0], above[0]) == (1 - upper, upper) and below[1] < 0 < above[1] and below[2] != above[2]

    column = page.evaluate("window.studio.forecast.asked.column")
    page.keyboard.press("ArrowLeft")
    wait(page, f"window.studio.forecast.asked.column === {column - 1}")
    assert page.locator("#forecast-text").inner_text().startswith("From (")


def test_the_handle_turns_and_a_finger_drags(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    go(page, "Forecast")
    wait(page, TOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator("#forecast-map").bounding_box()
    middle = box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"]
    page.touchscreen.tap(*middle)
    wait(page, "window.studio.forecast.asked.column > 7")
    cell = page.evaluate("window.studio.forecast.asked")
    way = cell["heading"] * np.pi / 4
    page.mouse.move(middle[0] + 46 * np.cos(way), middle[1] - 46 * np.sin(way))
    page.mouse.down()
    page.mouse.move(middle[0] - 40, middle[1])
    page.mouse.up()
    wait(page, "window.studio.forecast.asked.heading === 4")
    assert page.evaluate("window.studio.forecast.asked") == cell | {"heading": 4}


def test_a_held_out_person_is_followed_to_the_door(open_page: Any, furnished: RunningStudio) -> None:
    page = open_page(furnished)
    go(page, "Forecast")
    wait(page, TOLD)
    page.locator("#forecast-person").select_option("3")
    wait(page, "window.studio.forecast.asked.type === 'person'")
    page.locator("#forecast-seen").fill("36")
    wait(page, "window.studio.forecast.asked.points === 36")
    goal = int(make_walks(hall(60), 1.0, 2, 0).held_out.goals[3])
    assert page.evaluate(f"window.studio.forecast.chances[{goal}]") > 0.9
    assert page.locator("#forecast-chances b").nth(goal).inner_text() == f"{goal + 1}, true"
    page.locator("#forecast-seen").fill("6")
    page.locator("#forecast-moves").fill("3")
    wait(page, "window.studio.forecast.asked.points === 6 && window.studio.forecast.asked.moves === 3")
    near = page.evaluate("window.studio.forecast.entries.filter(shade => shade > 0).length")
    page.locator("#forecast-moves").fill(page.locator("#forecast-moves").get_attribute("max"))
    wait(page, "window.studio.forecast.asked.moves === null")
    assert page.evaluate("window.studio.forecast.entries.filter(shade => shade > 0).length") > near > 5
