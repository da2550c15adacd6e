import gymnasium
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.styles import StyleCentroids

SCENARIOS = {name: get_scenario(name) for name in ("pass", "turn")}
HARDER = {name: get_scenario(name) for name in ("pass-pace", "pass-follow")}
STYLES = [(n, style) for n, scenario in (SCENARIOS | HARDER).items() for style in range(len(scenario.styles))]
RECORDED = 96


@pytest.fixture(scope="module", params=SCENARIOS)
def recording(request):
    return record(get_scenario(request.param), RECORDED, seed=1)[0]


def drive(env, style, seed):
    """Whether the episode ended early, its states (T + 1, V, 4), its actions (T, 2)."""
    env.reset(seed=seed)
    driver = env.scenario.demonstrator(env.scene, style, np.random.default_rng(seed))
    states, actions, over = [env.vehicle_state], [], False
    while not over:
        actions.append(driver.act(states[-1]))
        _, _, terminated, truncated, _ = env.step(actions[-1].astype(np.float32))
        states.append(env.vehicle_state)
        over = terminated or truncated
    return terminated, np.stack(states), np.stack(actions)


@pytest.mark.parametrize(("name", "style"), STYLES)
def test_experts_do_what_their_style_says(name, style):
    env = gymnasium.make(environment_id(name)).unwrapped
    right, extremes = 0, []
    for seed in range(40):
        terminated, states, actions = drive(env, style, seed)
        right += not terminated and env.scenario.style(states, env.scene) == style
        extremes.append(np.abs(actions).max(0))
    assert right >= 38
    assert np.max(extremes) <= 1.0
    used = np.median(extremes, 0) > 0.1
    assert used[0] and (used[1] or str(env.scenario.styles[style]) == "behind")  # both controls are used


def test_drivers_on_the_highway_differ_as_they_wish_to(highway_recording):
    scenario, styles = get_scenario("highway"), highway_recording.styles
    measures = np.stack([scenario.measure(highway_recording.trajectory(k)) for k in range(len(styles))], axis=1)
    speed, headway, acceleration, changes = StyleCentroids.of(measures, styles).means.T
    aggressive, passive, tailgater, speeder = (
        list(map(str, scenario.styles)).index(style) for style in ("aggressive", "passive", "tailgater", "speeder")
    )
    assert speed[passive] < speed[tailgater] < speed[speeder] < speed[aggressive]
    assert (
        headway[aggressive] < headway[speeder] < min(headway[tailgater], headway[passive])
    )  # nobody ahead of the slow
    assert acceleration[passive] > acceleration[speeder]  # there is much speed to lose
    assert changes.argmax() == aggressive
    others = np.arange(len(styles))[:, None] != np.arange(len(styles))
    told = [StyleCentroids.of(measures[:, o], styles[o]).nearest(measures[:, k]) for k, o in enumerate(others)]
    assert (told == styles).mean() >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["highway", "highway-manners"])
def test_a_fitted_judge_tells_the_styles_of_held_out_drivers(recorded, name):
    training, held_out = recorded(name)
    judge = training.scenario.fit_judge(training)
    judged = [judge(held_out.trajectory(k), held_out.scene(k)) for k in range(len(held_out.styles))]
    assert (np.array(judged) == held_out.styles).mean() >= 0.95


@pytest.mark.parametrize("style", [0, 1])
def test_the_seed_decides_how_manners_drive(style):
    env = gymnasium.make(environment_id("highway-manners")).unwrapped
    drives = [drive(env, style, seed) for seed in (1, 1, 2)]
    assert not any(terminated for terminated, _, _ in drives)
    (_, states, actions), (_, again, same), (_, other, _) = drives
    np.testing.assert_array_equal(states, again)
    np.testing.assert_array_equal(actions, same)
    assert (states[0] != other[0]).any() and np.abs(actions).max() <= 1.0


def test_manners_settle_at_different_margins_behind_the_same_leader():
    env = gymnasium.make(environment_id("highway-manners")).unwrapped
    for seed in range(8):
        aggressive, defensive = (drive(env, style, seed)[1] for style in (0, 1))
        np.testing.assert_array_equal(aggressive[0], defensive[0])
        # For each m/s that is missing to what they wish, 0.8 / 7.5 / 0.5 m and 1.2 / 7.5 / 2 m, within a metre.
        for states, trade in ((aggressive, 16 / 75), (defensive, 6 / 75)):
            settled = states[-20:]
            wanted = -trade * (30.0 - settled[:, 0, 3].mean())
            assert env.scenario.margin(settled).mean() == pytest.approx(wanted, abs=1.0)
        means = [float(env.scenario.measure(states)[0]) for states in (aggressive, defensive)]
        assert means[0] < means[1] - 0.5


@pytest.mark.parametrize("name", SCENARIOS)
def test_one_start_can_be_driven_in_every_style(name):
    env = gymnasium.make(environment_id(name)).unwrapped
    trajectories = [drive(env, style, seed=7)[1] for style in range(len(env.scenario.styles))]
    np.testing.assert_array_equal(trajectories[0][0], trajectories[1][0])
    assert [env.scenario.style(states, env.scene) for states in trajectories] == [0, 1]


def test_the_pace_and_staying_behind_are_read_from_the_trajectory():
    scenario, T = get_scenario("pass-pace"), 61
    x = np.linspace(0.0, 300.0, T)
    ego = np.stack((x, np.where(abs(x - 150) < 60, 4.0, 0.0), 0 * x, 0 * x + 24.9), -1)  # right of a lead at 150 m
    lead = np.broadcast_to([150.0, 0.0, 0.0, 15.0], (T, 4))
    states = np.stack((ego, lead), 1)
    assert str(scenario.styles[int(scenario.style(states, {}))]) == "right calm"
    states[30:, 0, 3] = 25.1  # of the second half alone
    assert str(scenario.styles[int(scenario.style(states, {}))]) == "right brisk"

    follow = get_scenario("pass-follow")
    states[:, 0] = np.stack((x / 3, 0 * x, 0 * x, 0 * x + 15.5), -1)
    for gap, speed, style in ((20.0, 15.0, 2), (31.0, 15.0, -1), (20.0, 13.0, -1)):
        states[-1, 1] = [100 + gap, 0.0, 0.0, speed]
        assert follow.style(states, {}) == style
    states[-1, 0, 1], states[-1, 1] = 2.0, [120.0, 0.0, 0.0, 15.0]  # between two lanes
    assert follow.style(states, {}) == -1


def test_styles_are_as_common_as_the_scenario_says():
    styles = record(get_scenario("pass-unbalanced"), 100, seed=0)[0].styles
    assert 0.7 < (styles == 0).mean() < 0.9
    recording = record(get_scenario("turn-line"), 60, seed=0)[0]
    scenario = get_scenario("turn-line")
    values = [float(scenario.style_value(recording.trajectory(k), recording.scene(k))) for k in range(60)]
    assert np.std(values) > 0.8 and np.sort(np.abs(values))[10] < 0.6  # all lines, those near the middle too
    assert [int(v < 0) for v in values] == recording.styles.tolist()


def test_the_same_generator_drives_alike_and_another_does_not():
    env = gymnasium.make(environment_id("pass")).unwrapped
    env.reset(seed=0)

    def first_action(seed):
        return env.scenario.demonstrator(env.scene, 0, np.random.default_rng(seed)).act(env.vehicle_state)

    np.testing.assert_array_equal(first_action(1), first_action(1))
    assert (first_action(1) != first_action(2)).all()


def test_the_start_does_not_reveal_the_style_but_the_manoeuvre_does(recording):
    observations = recording.demonstrations.padded_observations()
    for classifier in (LogisticRegression(), KNeighborsClassifier(5)):
        start, manoeuvre = (
            cross_val_score(classifier, observations[:, k], recording.styles, cv=8).mean() for k in (0, 20)
        )
        assert start < 0.5 + 3 * 0.5 / np.sqrt(RECORDED)  # three standard deviations of a guess
        assert manoeuvre > 0.95


def test_styles_are_about_even(recording):
    assert abs(recording.styles.mean() - 0.5) < 0.15


def test_drivers_vary_in_speed_timing_line_and_smoothness(recording):
    scenario = recording.scenario
    states = np.stack([recording.trajectory(k) for k in range(RECORDED)])
    driven = [(states[k], recording.scene(k)) for k in range(RECORDED)]
    offsets = np.abs([scenario.lane_offset(*each) for each in driven])
    if scenario.name == "pass":  # [m] from where the manoeuvre is timed, and to half-way of where it leads
        along, half = states[:, :, 1, 0] - states[:, :, 0, 0], 2.0
    else:
        along, half = np.array([scenario.distance(*each) for each in driven]), 0.9
    begun = along[np.arange(RECORDED), np.argmax(offsets > half, axis=1)]
    assert states[:, :, 0, 3].mean(1).std() > 0.5  # [m/s]
    assert begun.std() > 2.0  # [m]
    assert offsets.max(1).std() > 0.15  # [m]
    acceleration = recording.demonstrations.actions[:, 0].reshape(RECORDED, -1)
    assert np.abs(np.diff(acceleration[:, 30:], axis=1)).mean() > 0.01  # feet that are never quite still
    assert (np.abs(recording.demonstrations.actions) == 1).mean() < 0.05  # nor often at the stop
