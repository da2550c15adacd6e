from infogail.envs.catalogue import get_scenario
from infogail.envs.scenarios.scenario import NO_STYLE
from infogail.evaluation.styles import MIN_DECISIONS, styles_so_far


def test_a_highway_driver_has_no_style_before_enough_is_seen(highway_recording):
    highway, characters = get_scenario("highway"), highway_recording.demonstrations.characters
    states, scene = highway_recording.trajectory(0), highway_recording.scene(0)
    styles = styles_so_far(highway, characters, states, scene)
    assert len(styles) == 61 and set(styles[:MIN_DECISIONS]) == {NO_STYLE} and NO_STYLE not in styles[MIN_DECISIONS:]
    assert styles[-1] == highway.style(states, scene, characters)
    assert styles_so_far(highway, characters, states[:11], scene) == [NO_STYLE] * 11
