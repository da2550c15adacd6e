"""`codes.png`: trajectories of many episodes over the road, coloured by code, the demonstrations in grey."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from highway_env.vehicle.kinematics import Vehicle
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from infogail.envs.data.demonstrations import Recording
from infogail.envs.files import write_atomically
from infogail.envs.physics.roads import LANE_WIDTH, bend_coordinates
from infogail.envs.scenarios.highway import LONGEST_HEADWAY, Highway
from infogail.envs.scenarios.manners import LARGEST_MARGIN, Manners
from infogail.envs.scenarios.scenario import EPISODE_STEPS, NO_STYLE, Scenario, Scene, VehicleState
from infogail.evaluation.protocol import Episode

Trajectories = Callable[[np.ndarray, Scene], list[tuple[Axes, np.ndarray, np.ndarray]]]
"""Maps states (T, V, 4) to lines x (T,), y (T,), or points (1,), in a figure; the last is a line."""

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
"""Okabe & Ito's colours, which colour-blind people can tell apart; code k has colour k."""
ROAD, DEMONSTRATION = "#e6e6e6", "#7f7f7f"
TURN_RADIUS = 32.5  # [m], of the one bend that is shown for all


def plot(scenario: Scenario, recording: Recording, episodes: Sequence[Episode], num_codes: int) -> Figure:
    """Trajectories over the road: demonstrations in grey, episodes in their code's colour; × where one failed."""
    figure = Figure(dpi=150, layout="constrained")
    lines = road_lines(scenario, figure)
    total = recording.demonstrations.num_episodes
    for k in range(total):
        for axes, x, y in lines(recording.trajectory(k), recording.scene(k)):
            axes.plot(x, y, _marker(x), color=DEMONSTRATION, lw=0.7, ms=4, mew=0, alpha=0.35, zorder=2)
    for episode in episodes:
        paint = PALETTE[episode.code % len(PALETTE)]
        for axes, x, y in lines(episode.vehicle_states, episode.scene):
            axes.plot(x, y, _marker(x), color=paint, lw=1.0, ms=6, mew=0, alpha=0.75, zorder=3)
            if episode.crashed or episode.off_road:
                axes.plot(x[-1], y[-1], "x", color=paint, ms=7, mew=2, zorder=4)
    handles = [Line2D([], [], color=DEMONSTRATION, label=f"{total} demonstrations")]
    for code in range(num_codes):
        styles = Counter(episode.style for episode in episodes if episode.code == code)
        deeds = [f"{styles[s]} {deed(scenario, s)}" for s in range(len(scenario.styles)) if styles[s]]
        deeds += [f"{styles[NO_STYLE]} failed"] if styles[NO_STYLE] else []
        label = f"code {code}: {', '.join(deeds)}"
        handles.append(Line2D([], [], color=PALETTE[code % len(PALETTE)], lw=3, label=label))
    widest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), 100 // (widest + 6)))  # about 100 letters fit into one row
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.22 * max(0, rows - 2))  # a tall legend is not to squash the road
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    return figure


def _marker(x: np.ndarray) -> str:
    """Of one point a dot, of more a line."""
    return "o" if len(x) == 1 else "-"


def road_lines(scenario: Scenario, figure: Figure) -> Trajectories:
    """Draw the scenario's road into `figure`; gives a function that maps trajectories to lines over it."""
    return _ROADS[scenario.road](scenario, figure)


def write_plot(path: Path, figure: Figure) -> None:
    """Write `figure` as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def deed(scenario: Scenario, style: int) -> str:
    """What `style` is in words, such as 'passed left'; nothing for `NO_STYLE`."""
    return "" if style == NO_STYLE else _DEEDS[scenario.road].format(scenario.styles[style])


def _pass_plot(scenario: Scenario, figure: Figure) -> Trajectories:
    figure.set_size_inches(8.0, 3.2)
    axes = figure.subplots()
    axes.axhspan(-1.5 * LANE_WIDTH, 1.5 * LANE_WIDTH, color=ROAD, lw=0)
    for y, style in ((-1.5, "-"), (-0.5, "--"), (0.5, "--"), (1.5, "-")):
        axes.axhline(y * LANE_WIDTH, color="white", lw=2, ls=style, zorder=1)
    corner = (-Vehicle.LENGTH / 2, -Vehicle.WIDTH / 2)
    axes.add_patch(Rectangle(corner, Vehicle.LENGTH, Vehicle.WIDTH, color="#333333", zorder=5))
    axes.annotate("lead car", (3.3, 0.0), va="center", zorder=5)
    axes.set(xlim=(-46.0, 80.0), ylim=(7.0, -7.0), yticks=(-4.0, -2.0, 0.0, 2.0, 4.0))
    axes.set(xlabel="ego's distance ahead of the lead car [m]", ylabel="lane offset [m]\n(left is up)")
    return lambda states, scene: [(axes, states[:, 0, 0] - states[:, 1, 0], states[:, 0, 1])]


def _turn_plot(scenario: Scenario, figure: Figure) -> Trajectories:
    """Left the bend from above, all bends brought to one radius and direction; right offset over progress."""
    figure.set_size_inches(8.0, 3.2)
    above, axes = figure.subplots(1, 2, width_ratios=(1.0, 2.0))
    radius, arc = TURN_RADIUS, TURN_RADIUS * np.pi / 2

    def from_above(distance: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (n,) each [m], seen as highway-env draws it."""
        turned = np.clip(distance / radius, 0.0, np.pi / 2)
        before, after = np.minimum(distance, 0.0), np.maximum(distance - arc, 0.0)
        return (radius - inside) * np.sin(turned) + before, radius - (radius - inside) * np.cos(turned) + after

    along = np.linspace(-60.0, arc + 60.0, 200)
    edges = [np.stack(from_above(along, side * LANE_WIDTH * np.ones_like(along))) for side in (1, -1)]
    above.fill(*np.hstack((edges[0], edges[1][:, ::-1])), color=ROAD, lw=0)
    above.plot(*from_above(along, 0 * along), color="white", lw=1.5, ls="--", zorder=1)
    above.annotate("from above,\nall bends as one", (-17.0, radius + 16.0), fontsize=9)
    above.set(xlim=(-20.0, radius + 7.0), ylim=(radius + 20.0, -7.0), aspect="equal", xlabel="x [m]", ylabel="y [m]")

    axes.axhspan(-LANE_WIDTH, LANE_WIDTH, color=ROAD, lw=0)
    axes.axhline(0.0, color="white", lw=2, ls="--", zorder=1)
    for x, text in ((0.0, "bend begins"), (100.0, "bend ends")):
        axes.axvline(x, color="#777777", lw=1, zorder=1)
        axes.annotate(text, (x, LANE_WIDTH), (3, 2), textcoords="offset points", fontsize=9)
    axes.set(xlim=(-45.0, 160.0), ylim=(-4.8, 4.8))
    axes.set(xlabel="way along the bend [% of its length]", ylabel="offset [m], inside is up")

    def lines(states: np.ndarray, scene: Scene) -> list[tuple[Axes, np.ndarray, np.ndarray]]:
        ego, arc_here = VehicleState.of(states, 0), scene["radius"] * np.pi / 2
        distance, inside, _ = bend_coordinates(ego.x, ego.y, scene["radius"], scene["direction"])
        stretched = np.where(
            distance < 0, distance, np.where(distance < arc_here, distance * arc / arc_here, distance - arc_here + arc)
        )
        return [(above, *from_above(stretched, inside)), (axes, 100 * distance / arc_here, inside)]

    return lines


def _highway_plot(scenario: Scenario, figure: Figure) -> Trajectories:
    """Left speed over time; right a point for each episode, its mean headway, or margin, and mean speed."""
    figure.set_size_inches(8.0, 3.6)
    over_time, means = figure.subplots(1, 2, width_ratios=(1.4, 1.0), sharey=True)
    half = 0.5 / scenario.policy_frequency
    over_time.set(xlim=(-half, EPISODE_STEPS / scenario.policy_frequency + half), ylim=(0.0, 35.0))
    over_time.set(xlabel="time [s]", ylabel="speed [m/s]")
    means.set(xlim=(0.0, LONGEST_HEADWAY + 0.1), xlabel="mean headway of an episode [s]", ylabel="mean speed [m/s]")
    told = cast(Highway, scenario).headway
    if isinstance(scenario, Manners):
        means.set(xlim=(-LARGEST_MARGIN, LARGEST_MARGIN), xlabel="mean margin of an episode [m]")
        told = scenario.margin
    for axes in (over_time, means):
        axes.grid(color=ROAD, lw=0.8)

    def lines(states: np.ndarray, scene: Scene) -> list[tuple[Axes, np.ndarray, np.ndarray]]:
        time, speed = np.arange(len(states)) / scenario.policy_frequency, states[:, 0, 3]
        return [(means, told(states).mean(keepdims=True), speed.mean(keepdims=True)), (over_time, time, speed)]

    return lines


_ROADS: dict[str, Callable[[Scenario, Figure], Trajectories]] = {
    "pass": _pass_plot,
    "turn": _turn_plot,
    "highway": _highway_plot,
}
_DEEDS = {"pass": "passed {}", "turn": "took the {}", "highway": "{}", "replay": ""}
