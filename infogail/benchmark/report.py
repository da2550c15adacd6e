"""DIR/report.html: a self-contained report of a benchmark."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure

from infogail.benchmark.results import (
    MEASURES,
    Cell,
    Results,
    failures,
    improvements,
    judged_by_people,
    notes,
    variants,
)
from infogail.benchmark.tables import summarise
from infogail.config.presets import DEFAULT
from infogail.envs.catalogue import get_scenario
from infogail.envs.data.recording import Recording
from infogail.envs.files import write_atomically
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE, StyleJudge
from infogail.evaluation.episodes import Episode
from infogail.evaluation.protocol import drive
from infogail.rendering.film import drive_each_code, render, seen_episode
from infogail.rendering.palette import code_colour
from infogail.rendering.viewer import as_script, assets
from infogail.runs.driver import Driver, load
from infogail.runs.folder import Manifest

SHOWN = ("style_nmi", "success_rate", "occupancy_mmd", "train_seconds")  # plotted for every seed
SHOWN_OF_PEOPLE = ("position_rmse_5s", "collision_rate", "wasserstein_headway", "train_seconds")
PLAYED = 6  # scenes that can be played
PICTURED = 8  # maximum number of variants whose driving is shown


@dataclass(frozen=True)
class Medium:
    """A picture or a video."""

    source: str
    """data: URL"""
    text: str
    """Caption and alternative text."""


@dataclass(frozen=True)
class Played:
    """Episodes to play."""

    name: str
    """Of the element that holds them."""
    episodes: Markup
    """JSON"""
    text: str


@dataclass
class Section:
    """A part of the page."""

    name: str
    title: str
    text: str
    pictures: list[Medium] = field(default_factory=list)
    videos: list[Medium] = field(default_factory=list)
    players: list[Played] = field(default_factory=list)


def write_report(
    out: Path, results: Results, command: str, progress: Callable[[str], None] = lambda message: None
) -> Path:
    """Write `out`/report.html from the results of `benchmark` in `out`.

    The pictures of driving show the first seed, in the same episodes on which it was evaluated.
    """
    first = {(cell.scenario, cell.variant): cell for cell in reversed(results.metrics)}
    pictured = sorted(first.values(), key=lambda cell: cell.preset != DEFAULT)[:PICTURED]
    settings = next(iter(results.metrics.values()))
    progress("learning curves")
    seeds = Section("seeds", "Every seed", "One point per training run.", _seeds(results))
    curves = Section(
        "curves",
        "Learning curves",
        "Style NMI of the training episodes (including exploration noise), one line per seed.",
        [
            _curves(out, results, scenario)
            for scenario in dict.fromkeys(
                cell.scenario for cell, metrics in results.metrics.items() if not judged_by_people(metrics)
            )
        ],
    )
    heat = Section("codes", "Code × style", "How often each code drove each style.")
    maps = Section(
        "occupancy",
        "Where on the road",
        "Share of time (on the highway: speed over time), for the demonstrations and each code.",
    )
    lines = Section("trajectories", "Trajectories", f"Every code from the first {PLAYED} scenes of the evaluation.")
    video = Section("video", "One scene, every code", "All panels start from the same scene; only the code differs.")
    people = Section("people", "People", "What the codes mean for recorded people.")
    for cell in sorted(pictured, key=lambda cell: cell.name):
        progress(f"driving {cell.name}")
        driver, scenario = load(out / cell.name), get_scenario(cell.scenario)
        if scenario.recorded:
            if cell.algorithm != "infogail":
                continue  # no codes to compare and no styles to count
            progress(f"filming {cell.name}")
            with TemporaryDirectory() as folder:
                mp4, _, png = render(out / cell.name, Path(folder), 0)
                video.videos.append(Medium(_data("video/mp4", mp4.read_bytes()), f"{cell.name}, one panel per code"))
                text = f"{cell.name}: what its codes mean"
                people.pictures.append(Medium(_data("image/png", png.read_bytes()), text))
            continue
        recording = Recording.load(out / f"{scenario.label}.safetensors", scenario)
        judge = scenario.fit_judge(recording)
        (driven,) = drive(load, [out / cell.name], settings["episodes"], settings["seed"], judges=[judge])
        heat.pictures.append(_heat_map(cell, scenario, driven))
        maps.pictures.append(occupancy_map(cell, scenario, recording, driven))
        lines.players.append(_played(cell, driver, scenario, judge, driven))
        if cell.algorithm == "infogail":
            progress(f"filming {cell.name}")
            with TemporaryDirectory() as folder:
                mp4 = next(file for file in render(out / cell.name, Path(folder), 0, 1) if file.suffix == ".mp4")
                video.videos.append(Medium(_data("video/mp4", mp4.read_bytes()), f"{cell.name}, one panel per code"))
    headings, rows = summarise(results)
    templates = Environment(loader=PackageLoader("infogail.benchmark", "."), autoescape=select_autoescape(default=True))
    page = templates.get_template("report.html.j2").render(
        cells=len(results.metrics) + len(results.failures),
        episodes=settings["episodes"],
        headings=headings,
        rows=rows,
        improvements=improvements(results) + notes(results),
        failures=failures(results),
        sections=[s for s in (seeds, curves, heat, maps, lines, people, video) if s.pictures or s.videos or s.players],
        viewer=assets(),
        command=command,
        environment=json.dumps(_environment(out, first), indent=2),
    )
    write_atomically(out / "report.html", page.encode())
    return out / "report.html"


def _played(cell: Cell, driver: Driver, scenario: Scenario, judge: StyleJudge, driven: Sequence[Episode]) -> Played:
    """The first scenes of the evaluation, one episode per code; evaluation itself drives one code from each."""
    env, scenes = DrivingEnv(scenario), []
    for evaluated in driven[:PLAYED]:
        each = drive_each_code(driver, env, evaluated.scene, judge)
        scenes.append([seen_episode(driver, scenario, episode) for episode in each])
    env.close()
    return Played(f"episodes-{cell.name}", as_script(scenes), f"{cell.name}: one panel per code")


def _environment(out: Path, first: dict[tuple[str, str], Cell]) -> dict[str, Any]:
    manifest = Manifest.load(out / next(iter(first.values())).name)
    return {
        "versions": manifest.versions,
        "instruction set": manifest.instruction_set,
        "config": manifest.config.flat() | {"seed": "varies by run"},
    }


def _seeds(results: Results) -> list[Medium]:
    """One picture for the scenarios with styles, one for recorded people."""
    groups = variants(results)
    of_people = [group for group, seeds in groups.items() if any(map(judged_by_people, seeds))]
    of_styles = [group for group in groups if group not in of_people]
    kinds = ((SHOWN, of_styles), (SHOWN_OF_PEOPLE, of_people))
    return [_points(results, shown, chosen) for shown, chosen in kinds if chosen]


def _points(results: Results, shown: Sequence[str], groups: Sequence[tuple[str, str]]) -> Medium:
    figure = Figure(figsize=(9.0, 0.9 + 0.26 * len(groups)), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True)
    for axes, key in zip(panels, shown, strict=True):
        for k, group in enumerate(groups):
            known = [m.get(key) for cell, m in results.metrics.items() if (cell.scenario, cell.variant) == group]
            values = [value for value in known if value is not None]
            spread = np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(len(values))
            axes.plot(values, k + spread, "o", ms=3.5, alpha=0.7, color=code_colour(k))
        axes.set_title(MEASURES[key].label, fontsize=10)
    panels[0].set_yticks(range(len(groups)), [f"{scenario} {variant}" for scenario, variant in groups])
    panels[0].invert_yaxis()
    return _picture(figure, f"{', '.join(MEASURES[key].label for key in shown)} of every seed")


def _curves(out: Path, results: Results, scenario: str) -> Medium:
    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shades = list(dict.fromkeys(cell.variant for cell in results.metrics))
    for cell in results.metrics:
        lines = (out / cell.name / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if "rollout/style_nmi" in row]
        paint = code_colour(shades.index(cell.variant))
        if cell.scenario == scenario and rows:
            for axes, key in zip(panels, ("seconds", "env_steps"), strict=True):
                x, y = zip(*((row[key], row["rollout/style_nmi"]) for row in rows), strict=True)
                axes.plot(x, y, color=paint, lw=1, alpha=0.7, label=cell.variant)
    for axes, label in zip(panels, ("seconds of training", "environment steps"), strict=True):
        axes.set(xlabel=label, ylim=(-0.03, 1.03))
    panels[0].set_ylabel("style NMI")
    handles = dict(zip(*reversed(panels[0].get_legend_handles_labels()), strict=True))  # one per variant
    panels[0].legend(handles.values(), handles.keys(), frameon=False)
    return _picture(figure, f"{scenario}: style NMI against seconds and against environment steps")


def _heat_map(cell: Cell, scenario: Scenario, driven: Sequence[Episode]) -> Medium:
    styles, names = [*range(len(scenario.styles)), NO_STYLE], [*map(str, scenario.styles), "none"]
    codes = range(cell.config.codes.num_codes)
    counts = np.array([[sum((e.code, e.style) == (code, style) for e in driven) for style in styles] for code in codes])
    figure = Figure(figsize=(3.6, 0.8 + 0.5 * len(codes)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=max(counts.sum(1).max(), 1), aspect="auto")
    for code, style in np.ndindex(*counts.shape):
        dark = counts[code, style] > counts.sum(1).max() / 2
        axes.text(style, code, str(counts[code, style]), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(styles)), names)
    axes.set_yticks(codes, [f"code {code}" for code in codes])
    described = (", ".join(f"{n} {name}" for n, name in zip(row, names, strict=True) if n) for row in counts)
    text = "; ".join(f"code {code}: {styles_driven}" for code, styles_driven in zip(codes, described, strict=True))
    return _picture(figure, f"{cell.name}: {text}")


def occupancy_map(cell: Cell, scenario: Scenario, recording: Recording, driven: Sequence[Episode]) -> Medium:
    """Histograms of all trajectory points, for the demonstrations and for each code."""
    demonstrated = range(recording.demonstrations.num_episodes)
    groups = {"demonstrations": [(recording.trajectory(k), recording.scene(k)) for k in demonstrated]}
    for code in range(cell.config.codes.num_codes):
        groups[f"code {code}"] = [(e.vehicle_states, e.scene) for e in driven if e.code == code]
    figure = Figure(figsize=(9.0, 2.6), layout="constrained")
    diagram = scenario.view.diagram
    points = {
        name: np.concatenate([np.stack(diagram.trajectories(*each)[-1][1:]) for each in trajectories], axis=1)
        for name, trajectories in groups.items()
    }
    everything = np.concatenate(list(points.values()), axis=1)
    panel = diagram.panels[diagram.trajectories(*groups["demonstrations"][0])[-1][0]]
    xlim = panel.xlim or (everything[0].min(), everything[0].max())
    ylim = panel.ylim or (everything[1].min(), everything[1].max())
    for axes, (name, (x, y)) in zip(figure.subplots(1, len(groups), sharey=True), points.items(), strict=True):
        share, *_ = np.histogram2d(x, y, bins=(60, 30), range=(xlim, sorted(ylim)), density=True)
        extent = (*xlim, *sorted(ylim))
        axes.imshow(np.sqrt(share.T), extent=extent, origin="lower", cmap="magma", aspect="auto")
        axes.set_ylim(ylim)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(panel.xlabel, fontsize=8)
    figure.axes[0].set_ylabel(panel.ylabel, fontsize=8)
    return _picture(figure, f"{cell.name}: where demonstrations and each code drive (brightness: √share)")


def _picture(figure: Figure, text: str) -> Medium:
    for axes in figure.axes:
        for line in axes.lines if len(axes.lines) > 100 else ():
            line.set_rasterized(True)  # thousands of points take less space as pixels
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=130)
    return Medium(_data("image/svg+xml", buffer.getvalue()), text)


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
