"""What the viewer on a page draws: roads, cameras and driven episodes as plain data for JSON.

Positions are highway-env's, x to the right and y down [m]; headings [rad] turn clockwise. `viewer.js` draws them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from highway_env.road.lane import AbstractLane, LineType, StraightLane
from highway_env.road.road import RoadNetwork
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from infogail.envs.files import write_atomically
from infogail.envs.physics.state import Scene
from infogail.envs.scenarios.scenario import Scenario
from infogail.evaluation.episodes import UNKNOWN_CODE, Episode

SEEN_AROUND = 20.0  # [m]: cars this far outside the picture at each frame are left out
LINES = {LineType.STRIPED: "striped", LineType.CONTINUOUS: "continuous", LineType.CONTINUOUS_LINE: "continuous"}
CURVE = 33  # points along a lane that is not straight


def road_of(network: RoadNetwork) -> dict[str, Any]:
    """ROAD: each lane's outline, a polygon, and its two sides with the kind of line painted there."""
    return {"lanes": [_lane(lane) for lane in network.lanes_list()]}


def _lane(lane: AbstractLane) -> dict[str, Any]:
    straight = type(lane) is StraightLane  # its subclasses are not
    along = np.linspace(0.0, lane.length, 2 if straight else CURVE)
    left, right = ([_rounded(lane.position(s, side * lane.width_at(s) / 2), 2) for s in along] for side in (-1, 1))
    kinds = [LINES.get(kind, "none") for kind in lane.line_types]
    sides = [{"points": points, "type": kind} for points, kind in zip((left, right), kinds, strict=True)]
    return {"outline": left + right[::-1], "sides": sides}


def camera_of(scenario: Scenario, states: np.ndarray, scene: Scene) -> list[float]:
    """CAMERA of a scenario's view for states (V, 4): centre x and y [m], scale [px/m], heading that points right."""
    view = scenario.view
    centre, scale = view.camera(states, scene)
    heading = 0.0 if view.heading is None else float(view.heading(states, scene))
    return [*_rounded(centre), round(float(scale), 3), round(heading, 4)]


def viewer_episode(
    scenario: Scenario,
    episode: Episode,
    *,
    label: str,
    belief: np.ndarray | None = None,
    style: str | None = None,
) -> dict[str, Any]:
    """EPISODE: one frame per decision, with the cars that come into the picture.

    A frame may have a null for a car that is not there; `codes` may give each car's, or null, for its colour.

    Args:
        label: the panel's title.
        belief: (T + 1, K) of the posterior.
        style: what was driven, in words.
    """
    states = episode.vehicle_states
    cameras = [camera_of(scenario, now, episode.scene) for now in states]
    distances = np.linalg.norm(states[..., :2] - np.array(cameras)[:, None, :2], axis=-1).min(0)
    seen = distances < np.hypot(*scenario.view.size) / cameras[0][2] / 2 + SEEN_AROUND
    seen[0] = True
    until, prelude = scenario.view.prelude
    details = [scenario.view.detail(now, episode.scene) for now in states]
    details = [" · ".join(filter(None, (prelude if k < until else "", text))) for k, text in enumerate(details)]
    return {
        "road": road_of(scenario.road_network(episode.scene)),
        "size": list(scenario.view.size),
        "code": None if episode.code == UNKNOWN_CODE else episode.code,
        "label": label,
        "seconds_per_frame": 1 / scenario.policy_frequency,
        "frames": [[_rounded(car) for car in now] for now in states[:, seen, :4]],
        "sizes": [_rounded(size) for size in scenario.sizes(states)[seen]],
        "cameras": cameras,
        "details": details if any(details) else None,
        "belief": None if belief is None else [_rounded(row, 4) for row in belief],
        "outcome": episode.failure,
        "style": style,
    }


Scenes = Sequence[Sequence[dict[str, Any]]]
"""Lists of EPISODEs, of which a player shows one at a time."""


def write_page(path: Path, title: str, text: str, scenes: Scenes) -> None:
    """Write a self-contained page that plays `scenes`, with nothing to load from elsewhere."""
    templates = Environment(loader=PackageLoader("infogail.rendering", "."), autoescape=select_autoescape(default=True))
    page = templates.get_template("viewer.html.j2").render(
        title=title, text=text, episodes=as_script(scenes), **assets()
    )
    write_atomically(path, page.encode())


def assets() -> dict[str, Markup]:
    """The viewer's `css` and `script`, to be written into a page as they are."""
    read = {"css": "viewer.css", "script": "viewer.js"}
    return {name: Markup(files("infogail.rendering").joinpath(file).read_text()) for name, file in read.items()}


def as_script(content: Any) -> Markup:
    """JSON for a script element of a page, in which no text can end the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _rounded(numbers: Sequence[float] | np.ndarray, digits: int = 3) -> list[float]:
    """By default to millimetres and milliradians, less than a screen can show."""
    return [round(float(number), digits) for number in numbers]
