from dataclasses import replace

import numpy as np
import pytest
from replay_world import Reader, Scripted, record_manners
from test_camera import Plain

from infogail.envs.catalogue import get_scenario
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.styles import NO_STYLE
from infogail.evaluation.episodes import demonstrated_episodes
from infogail.rendering.diagrams import plot, plot_people
from infogail.rendering.palette import DEMONSTRATION, code_colour

HIGHWAY = get_scenario("highway")


def driven_as(recording, codes):
    """The first demonstrations as if they had been driven with these codes."""
    return [replace(episode, code=code) for episode, code in zip(demonstrated_episodes(recording), codes, strict=False)]


@pytest.mark.parametrize("name", ["pass", "turn"])
def test_plots_hold_every_trajectory_and_count_what_codes_did(name):
    recording, _ = record(get_scenario(name), 5, seed=1)
    scenario, bounds = get_scenario(name), recording.demonstrations.episode_bounds
    driven = driven_as(recording, (0, 1, 0, 1))
    driven[1] = replace(driven[1], crashed=True, style=NO_STYLE)
    figure = plot(scenario, recording, driven, 2)
    main = figure.axes[-1]
    demonstration, code = DEMONSTRATION, code_colour(1)
    drawn = {paint: [line for line in main.lines if line.get_color() == paint] for paint in (demonstration, code)}
    assert [len(line.get_xdata()) for line in drawn[demonstration]] == list(np.diff(bounds) + 1)
    assert len(drawn[code]) == 2 + 1 and drawn[code][1].get_marker() == "x"
    offsets = scenario.lane_offset(recording.trajectory(0), recording.scene(0))
    np.testing.assert_allclose(drawn[demonstration][0].get_ydata(), offsets)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[0] == "5 demonstrations" and "1 failed" in legend[2]
    for text, code in zip(legend[1:], (0, 1), strict=True):
        counts = [int(word) for word in text.split(":")[1].replace(",", " ").split() if word.isdigit()]
        assert text.startswith(f"code {code}:") and sum(counts) == 2
    assert all("[" in label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel()))


def test_a_plot_of_the_highway_has_speed_over_time_and_a_point_for_each_episode(highway_recording):
    driven = driven_as(highway_recording, [k % 4 for k in range(8)])
    driven[1] = replace(driven[1], off_road=True, style=NO_STYLE)
    figure = plot(HIGHWAY, highway_recording, driven, 4)
    over_time, means = figure.axes
    speed, headway, *_ = HIGHWAY.measure(driven[2].vehicle_states)
    assert [len(line.get_xdata()) for line in over_time.lines if line.get_color() == code_colour(2)] == [61, 61]
    point, _ = [line for line in means.lines if line.get_color() == code_colour(2)]
    assert (point.get_xydata() == [[headway, speed]]).all() and point.get_marker() == "o"
    assert [line.get_marker() for line in means.lines if line.get_color() == code_colour(1)] == ["o", "x", "o"]
    assert len([line for line in over_time.lines if line.get_color() == DEMONSTRATION]) == 24
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "1 failed" in legend[2] and str(HIGHWAY.styles[driven[0].style]) in legend[1]


def test_by_default_a_diagram_shows_the_ego_from_above():
    recording, _ = record(get_scenario("pass"), 3, seed=1)
    (axes,) = plot(Plain(), recording, driven_as(recording, (0, 1)), 2).axes
    states = recording.trajectory(0)
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), states[:, 0, :2] * (1, -1))
    assert len(axes.lines) == 5 and axes.get_xlabel() == "x [m]"


def test_of_people_it_shows_how_they_drive_of_whom_each_code_is_read(tmp_path):
    people = record_manners(tmp_path / "people.safetensors")
    figure = plot_people(Reader((0.0, 0.0)), people, [])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["code 0: 12 windows", "code 1: 4 windows"] and len(figure.axes) == 3
    figure = plot_people(Scripted((0.0,), read=None), people, [])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["code 0: 16 windows"]
