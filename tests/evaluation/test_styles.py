from infogail.envs.scenarios.styles import NO_STYLE
from infogail.evaluation.styles import MIN_DECISIONS, styles_so_far


def test_a_highway_driver_has_no_style_before_enough_is_seen(highway_recording):
    highway, judge = highway_recording.scenario, highway_recording.scenario.fit_judge(highway_recording)
    states, scene = highway_recording.trajectory(0), highway_recording.scene(0)
    styles = styles_so_far(highway, judge, states, scene)
    assert len(styles) == 61 and set(styles[:MIN_DECISIONS]) == {NO_STYLE} and NO_STYLE not in styles[MIN_DECISIONS:]
    assert styles[-1] == judge(states, scene)
    assert styles_so_far(highway, judge, states[:11], scene) == [NO_STYLE] * 11
