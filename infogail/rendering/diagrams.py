"""`codes.png`: one picture of what all codes do, each in its colour.

For simulated scenarios, trajectories on the road, with demonstrations in grey; for recorded people, how the people
drive for whom each code is inferred; for those who follow, how each code follows the same leader.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

from infogail.envs.data.recording import Recording
from infogail.envs.data.world import FollowedLeaders, RecordedWorld
from infogail.envs.files import write_atomically
from infogail.envs.physics.neighbours import LONGEST_HEADWAY
from infogail.envs.scenarios.following import FOLLOW_STEPS, Follow
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.envs.scenarios.view import Area, Diagram, Label, Line, Panel
from infogail.evaluation.codes import read_codes
from infogail.evaluation.episodes import Episode
from infogail.evaluation.meaning import Manner, manners_of
from infogail.evaluation.responses import CRUISING, drive_responses
from infogail.rendering.captions import style_phrase
from infogail.rendering.palette import DEMONSTRATION, GRID, code_colour
from infogail.runs.driver import Driver

ENOUGH = 5  # states at a speed, for a median
LEGEND_WIDTH = 100  # characters that fit in one row


def plot(scenario: Scenario, recording: Recording, episodes: Sequence[Episode], num_codes: int) -> Figure:
    """Trajectories on the road: demonstrations in grey, episodes in their code's colour; × marks a failure."""
    diagram = scenario.view.diagram
    figure = Figure(dpi=150, layout="constrained")
    panels = draw_panels(figure, diagram)
    total = recording.demonstrations.num_episodes
    for k in range(total):
        for panel, x, y in diagram.trajectories(recording.trajectory(k), recording.scene(k)):
            panels[panel].plot(x, y, _marker(x), color=DEMONSTRATION, lw=0.7, ms=4, mew=0, alpha=0.35, zorder=2)
    for episode in episodes:
        paint = code_colour(episode.code)
        for panel, x, y in diagram.trajectories(episode.vehicle_states, episode.scene):
            panels[panel].plot(x, y, _marker(x), color=paint, lw=1.0, ms=6, mew=0, alpha=0.75, zorder=3)
            if episode.crashed or episode.off_road:
                panels[panel].plot(x[-1], y[-1], "x", color=paint, ms=7, mew=2, zorder=4)
    handles = [Line2D([], [], color=DEMONSTRATION, label=f"{total} demonstrations")]
    for code in range(num_codes):
        own = [episode for episode in episodes if episode.code == code]
        styles = Counter(episode.style for episode in own)
        counts = [f"{styles[s]} {style_phrase(scenario, s)}" for s in range(len(scenario.styles)) if styles[s]]
        # Where styles are told by comparison, an episode without one need not have failed: nothing may be labelled.
        failed = sum(episode.failed for episode in own) if scenario.measures else styles[NO_STYLE]
        counts += [f"{failed} failed"] if failed else []
        label = f"code {code}" + (f": {', '.join(counts)}" if counts else "")
        handles.append(Line2D([], [], color=code_colour(code), lw=3, label=label))
    widest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), LEGEND_WIDTH // (widest + 6)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.22 * max(0, rows - 2))  # a tall legend must not squash the road
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False)
    return figure


def _marker(x: np.ndarray) -> str:
    """A dot for a single point, a line for more."""
    return "o" if len(x) == 1 else "-"


def draw_panels(figure: Figure, diagram: Diagram) -> list[Axes]:
    """Create the diagram's axes in `figure`, with the background of the trajectories."""
    figure.set_size_inches(8.0, diagram.height)
    shares = [panel.share for panel in diagram.panels]
    axes = figure.subplots(1, len(shares), squeeze=False, width_ratios=shares, sharey=diagram.shared_y)[0].tolist()
    for panel_axes, panel in zip(axes, diagram.panels, strict=True):
        _draw_background(panel_axes, panel)
    return axes


def _draw_background(axes: Axes, panel: Panel) -> None:
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    for item in panel.background:
        match item:
            case Area():
                axes.add_patch(Polygon(item.corners, color=item.colour, lw=0, zorder=5 if item.on_top else 1))
            case Line():
                style = "--" if item.dashed else "-"
                axes.plot(*item.points.T, color=item.colour, lw=item.width, ls=style, zorder=1)
            case Label():
                alignment = "center" if item.centred else "baseline"
                text = axes.annotate(item.text, item.at, item.shift, textcoords="offset points", va=alignment, zorder=5)
                if item.size is not None:
                    text.set_fontsize(item.size)
    if panel.xlim:
        axes.set_xlim(panel.xlim)
    if panel.ylim:
        axes.set_ylim(panel.ylim)
    if panel.yticks:
        axes.set_yticks(panel.yticks)
    if panel.equal:
        axes.set_aspect("equal")
    if panel.grid:
        axes.grid(color=GRID, lw=0.8)


def write_plot(path: Path, figure: Figure) -> None:
    """Write `figure` as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())


def plot_people(driver: Driver, recording: Recording, driven: Sequence[Episode]) -> Figure:
    """Headway, relative speed and absolute acceleration of the people for whom each code is inferred.

    Without a posterior, all have code 0.
    """
    manners = manners_of(recording)
    codes = read_codes(driver, recording.demonstrations)
    codes = np.zeros(len(manners), np.int64) if codes is None else codes
    quantities: dict[str, tuple[tuple[float, float], Callable[[Manner], np.ndarray]]] = {
        "headway [s]": ((0.0, 4.0), lambda m: m.headways),
        "speed relative to the lane [m/s]": ((-8.0, 8.0), lambda m: m.relative_speeds),
        "absolute acceleration [m/s²]": ((0.0, 4.0), lambda m: np.abs(m.accelerations)),
    }
    figure = Figure(figsize=(10.0, 3.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(quantities))
    for axes, (name, (ends, quantity)) in zip(panels, quantities.items(), strict=True):
        for code in np.unique(codes).tolist():
            of_code = [m for m, c in zip(manners, codes, strict=True) if c == code]
            values = np.concatenate([quantity(m) for m in of_code])
            known = values[~np.isnan(values)]
            if not len(known):  # all were alone in their lanes
                continue
            axes.hist(
                np.clip(known, *ends),
                bins=np.linspace(*ends, 33),
                density=True,
                histtype="step",
                lw=2,
                color=code_colour(code),
                label=f"code {code}: {len(of_code)} windows",
            )
        axes.set(xlabel=name, xlim=ends, yticks=[])
        axes.spines[["left", "top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of time")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def plot_following(driver: Driver, recording: Recording, driven: Sequence[Episode]) -> Figure:
    """Each code behind the same leader: where it is over time, and its headway at each speed beside people's; and what
    it does behind a made-up leader who brakes."""
    scenario = cast(Follow, recording.scenario)
    leader, braking = driven[0].vehicle_states[:, 1], drive_responses(driver)
    seconds = np.arange(FOLLOW_STEPS + 1) / scenario.policy_frequency
    figure = Figure(figsize=(11.0, 3.6), dpi=150, layout="constrained")
    place, manner, reaction = figure.subplots(1, 3)
    person = scenario.recorded_states(np.array([int(driven[0].scene["demonstration"])]))[0]
    start = leader[0, 0]
    place.plot(seconds[: len(leader)], leader[:, 0] - start, color="black", lw=1.5, label="leader")
    place.plot(seconds, person[:, 0, 0] - start, "--", color=DEMONSTRATION, lw=2, label="people")
    people = np.concatenate(scenario.recorded_states(np.arange(recording.num_training)))
    manner.plot(*_by_speed(people[:, 0, 3], scenario.headway(people)), "--", color=DEMONSTRATION, lw=2)
    for code, (episode, response) in enumerate(zip(driven, braking, strict=False)):
        paint, states = code_colour(code), episode.vehicle_states
        place.plot(seconds[: len(states)], states[:, 0, 0] - start, color=paint, lw=1.2, label=f"code {code}")
        reaction.plot(
            seconds[: len(response.vehicle_states)], scenario.gap(response.vehicle_states), color=paint, lw=1.5
        )
        manner.plot(*_by_speed(states[:, 0, 3], scenario.headway(states)), color=paint, lw=1.5)
    place.set(xlabel="time [s]", ylabel="distance [m]", title="behind one leader")
    manner.set(
        xlabel="speed [m/s]", ylabel="median headway [s]", ylim=(0.0, LONGEST_HEADWAY), title="headway at each speed"
    )
    reaction.axvline(CRUISING / scenario.policy_frequency, color=DEMONSTRATION, lw=1)
    reaction.set(xlabel="time [s]", ylabel="gap [m]", ylim=(0.0, None), title="the leader brakes and stands")
    handles, labels = place.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    for axes in (place, manner, reaction):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=GRID, lw=0.8)
    return figure


def _by_speed(speeds: np.ndarray, headways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Speeds [m/s], and the median headway [s] at each, where there is enough to say it."""
    bins = np.arange(0.0, speeds.max() + 1.0)
    number = np.digitize(speeds, bins) - 1
    kept = [k for k in range(len(bins)) if (number == k).sum() >= ENOUGH]
    return bins[kept] + 0.5, np.array([np.median(headways[number == k]) for k in kept])


PEOPLE_PLOTS: Mapping[type, Callable[[Driver, Recording, Sequence[Episode]], Figure]] = {
    RecordedWorld: plot_people,
    FollowedLeaders: plot_following,
}
"""What is plotted of a driver, its recording and what was filmed, by the recorded world."""
