import copy
import json
import pickle

import cv2
import gymnasium
import highway_env  # noqa: F401
import numpy as np
import pytest
from follow_world import record_followers
from highway_env.road.lane import AbstractLane, CircularLane, SineLane, StraightLane
from highway_env.road.road import Road, RoadNetwork
from highway_env.utils import class_from_path
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle
from replay_world import STEPS, Car, record_manners, record_world

from infogail.benchmark.speed import traffic_costs
from infogail.config.config import Config
from infogail.envs.catalogue import environment_id, get_scenario
from infogail.envs.errors import BadInput
from infogail.envs.recordings.record import record
from infogail.envs.scenarios.highway import Highway
from infogail.envs.scenarios.replay import Replay
from infogail.envs.scenarios.safety import CLEARANCE, REACTION, safe_distance, too_close
from infogail.learning.learner import InfoGAIL
from infogail.rendering.traffic_film import check_environment, film_traffic, shares
from infogail.runs.driver import load
from infogail.runs.export import export
from infogail.runs.runner import train
from infogail.stress.trials import MIX, kinds_of_traffic
from infogail.traffic import population as module
from infogail.traffic.adapters import FrozenPolicy
from infogail.traffic.population import make_populated, population
from infogail.traffic.styled import StyledVehicle, along_bend, observe

TINY = Config.of(num_codes=3, num_envs=16, iterations=1, rim_steps=2, rim_tries=1, bc_steps=100, hidden=16)
ENVIRONMENTS = [
    f"{name}-v0"
    for name in ("highway", "merge", "merge-generic", "exit", "two-way", "roundabout", "u-turn", "intersection")
]
LOUD = 40.0  # the last layer begins with small weights, and actions near 0 would prove little


def trained(folder, scenario, config=TINY, episodes=10):
    record(get_scenario(scenario), episodes, seed=0)[0].save(folder / "demonstrations.safetensors")
    train(InfoGAIL, "infogail", folder / "demonstrations.safetensors", scenario, config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("highway"), "highway")


@pytest.fixture
def driver(run, monkeypatch):
    driver = load(run)
    driver.policy.net[-1].weight.data *= LOUD
    monkeypatch.setattr(module, "load", lambda run: driver)
    return driver


@pytest.fixture
def make(run):
    """A class of vehicles."""

    def make(*args, **kwargs):
        return class_from_path(population(run, *args, **kwargs))

    return make


def environment(name, path, seed=0, **config):
    env = gymnasium.make(name, config={"other_vehicles_type": path, **config}).unwrapped
    env.reset(seed=seed)
    return env


def styled(env):
    return [vehicle for vehicle in env.road.vehicles if isinstance(vehicle, StyledVehicle)]


def road_with(*places, lanes=3):
    road = Road(RoadNetwork.straight_road_network(lanes, speed_limit=30), np_random=np.random.default_rng(0))
    road.vehicles = [kind(road, (x, y), heading, speed) for kind, x, y, heading, speed in places]
    return road


@pytest.mark.parametrize(
    "lane",
    [
        StraightLane((0, 0), (400, 0)),
        CircularLane((0, 40), 40.0, -np.pi / 2, 4.0),
        CircularLane((0, -30), 30.0, np.pi / 2, -4.0, clockwise=False),
        SineLane((0, 0), (400, 0), 3.25, 2 * np.pi / 160, 0.0),  # as merge-v0's ramp
    ],
)
def test_along_a_bend_nobody_needs_to_steer(lane):
    """By highway-env's motion, deciding five times a second, for 5 s; straight on, up to 50 m off."""
    network = RoadNetwork()
    network.add_lane("a", "b", lane)
    road = Road(network, np_random=np.random.default_rng(0))
    # A bicycle moves ahead of its heading by the slip, whose tangent is half of the steering angle's.
    slip = np.arctan(np.tan(along_bend(lane, lane.position(5.0, 0.0), 3.0)) / 2.0)
    vehicle = Vehicle(road, lane.position(5.0, 0.0), lane.heading_at(5.0) - slip, 15.0)
    offsets = []
    for step in range(75):
        if step % 3 == 0:
            vehicle.action = {"acceleration": 0.0, "steering": along_bend(lane, vehicle.position, 15.0 * 0.2)}
        vehicle.step(1 / 15)
        offsets.append(lane.local_coordinates(vehicle.position)[1])
    assert len(offsets) == 75 and np.abs(offsets).max() < 0.7
    assert along_bend(lane, vehicle.position, 0.0) == 0.0


def test_policy_is_the_driver_s(driver, make):
    observations = np.random.default_rng(0).normal(size=(300, len(driver.policy.standardise.mean))).astype(np.float32)
    codes = np.arange(300) % driver.num_codes
    actions = driver.act(observations, codes)
    np.testing.assert_allclose(make().policy(observations, codes), actions, atol=1e-4)
    assert actions.std(0).min() > 0.3


def test_drives_as_the_driver_does_in_the_scenario(driver, make):
    kind = make(assisted=False)
    env = gymnasium.make(environment_id("highway")).unwrapped
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        for _ in range(8):
            vehicle = kind(env.road, env.vehicle.position, env.vehicle.heading, env.vehicle.speed, code=seed)
            others = env.road.vehicles[1:]
            env.road.vehicles = [*others, vehicle]
            np.testing.assert_allclose(observe([vehicle])[0], obs, atol=1e-6)
            vehicle.act()
            action = driver.act(obs, seed)
            low, high = env.scenario.steering_range
            command = 5.0 * action[0], low + (action[1] + 1) / 2 * (high - low)
            np.testing.assert_allclose((vehicle.action["acceleration"], vehicle.action["steering"]), command, atol=1e-4)
            env.road.vehicles = [env.vehicle, *others]
            obs, *_ = env.step(action)


def test_drivers_of_replay_observe_as_on_a_recorded_road(tmp_path):
    """Cars of different sizes that steer, in three straight lanes."""
    rng = np.random.default_rng(0)
    cars = [
        Car(
            100.0 + 9.0 * k,
            4.0 * (k % 3 - 1) + rng.uniform(-0.8, 0.8),
            rng.uniform(5, 15),
            rng.uniform(-0.1, 0.1, (STEPS - 1, 2)).astype(np.float32),
            rng.uniform(4, 8),
            rng.uniform(1.6, 2.4),
        )
        for k in range(7)
    ]
    recording = record_world(tmp_path / "world.safetensors", cars)
    seen = {}
    for window in range(0, 14, 2):  # each car's first
        states, scene = recording.scenario.road.recorded_states(window), recording.scene(window)
        seen[window // 2] = np.stack(recording.scenario.observe(states, scene), -1)
    for step in (0, 20, 40):
        road = road_with(*((Vehicle, x, y + 4.0, heading, v) for x, y, heading, v in (c.states()[step] for c in cars)))
        for vehicle, car in zip(road.vehicles, cars, strict=True):
            vehicle.LENGTH, vehicle.WIDTH = car.length, car.width
        wanted = np.stack([seen[car][step] for car in range(7)])
        np.testing.assert_allclose(observe(road.vehicles, Replay()), wanted, atol=1e-6)
    names = list(Replay.features)
    assert (wanted[:, names.index("leader_present")] == 1).any() and wanted[:, names.index("leader_gap")].std() > 0.1


def test_drivers_of_replay_as_traffic(tmp_path):
    """They steer and keep to the road with the assistant, barely trained; codes are as common as inferred."""
    record_manners(tmp_path / "world.safetensors")
    train(InfoGAIL, "infogail", tmp_path / "world.safetensors", "replay", TINY, tmp_path / "run")
    env = environment("highway-v0", population(tmp_path / "run"), vehicles_count=10)
    for _ in range(30):
        env.road.act()
        env.road.step(1 / 15)
    assert len(styled(env)) == 10 and sum(vehicle.on_road for vehicle in styled(env)) >= 9
    driver, (vehicle, *_) = load(tmp_path / "run"), styled(env)
    vehicle.wait = 0.0
    action = driver.act(observe([vehicle], Replay())[0].astype(np.float32), vehicle.code)
    kind = type(vehicle)
    alone = class_from_path(population(tmp_path / "run", assisted=False))(
        env.road, vehicle.position, vehicle.heading, vehicle.speed, code=vehicle.code
    )
    env.road.vehicles[env.road.vehicles.index(vehicle)] = alone
    alone.act()
    wanted = max(5.0 * action[0], -max(alone.speed, 0.0) / kind.period), 0.3 * action[1]
    np.testing.assert_allclose((alone.action["acceleration"], alone.action["steering"]), wanted, atol=1e-4)


def test_levels_are_as_common_as_inferred(tmp_path):
    """Followers of two headways; the prior of a graded code is uniform."""
    recording = record_followers(tmp_path / "f.safetensors", 4)
    config = TINY.with_(num_codes=5, graded_code=True, rim_steps=100)
    train(InfoGAIL, "infogail", tmp_path / "f.safetensors", "follow", config, tmp_path / "run")
    driver, demonstrations = load(tmp_path / "run"), recording.demonstrations
    bounds, last = demonstrations.episode_bounds, []
    for e in range(recording.num_training):
        rows = slice(*bounds[e : e + 2])
        evidence = driver.log_posterior(demonstrations.observations[rows], demonstrations.actions[rows])
        logits = evidence.sum(0, dtype=np.float64)
        last.append(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum())
    np.testing.assert_allclose(driver.prior, 0.2)
    shares = class_from_path(population(tmp_path / "run")).mix
    np.testing.assert_allclose(shares, np.mean(last, axis=0), atol=1e-5)
    assert abs(shares - 0.2).max() > 0.05
    np.testing.assert_allclose({kind.name: kind.mix for kind in kinds_of_traffic(tmp_path / "run", ())}[MIX], shares)
    names = ["near", None, None, None, "far"]
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({"code_names": names}))
    export(tmp_path / "run", tmp_path / "exported")
    for named in (load(tmp_path / "run"), load(tmp_path / "exported")):
        observation = demonstrations.observations[0]
        np.testing.assert_array_equal(named.act(observation, "far"), named.act(observation, 1.0))
        with pytest.raises(BadInput, match="the names are near, far"):
            named.act(observation, "zzz")
    assert FrozenPolicy(tmp_path / "run", "near").code == -1.0
    assert "after training: -1.0 is near, 1.0 is far." in (tmp_path / "exported" / "README.md").read_text()
    np.testing.assert_allclose(class_from_path(population(tmp_path / "exported")).mix, shares)
    (tmp_path / "run" / "mix.json").write_text('{"mix": [0.5, 0.5, 0.0, 0.0, 0.0]}')
    np.testing.assert_array_equal(class_from_path(population(tmp_path / "run")).mix, [0.5, 0.5, 0.0, 0.0, 0.0])
    (tmp_path / "run" / "mix.json").write_text('{"mix": [0.5, 0.5, 0.0]}')  # not of this run
    np.testing.assert_array_equal(class_from_path(population(tmp_path / "run")).mix, shares)
    (tmp_path / "run" / "mix.json").unlink()
    (tmp_path / "run" / "demonstrations.safetensors").unlink()
    np.testing.assert_allclose(class_from_path(population(tmp_path / "run")).mix, 0.2)


def test_together_they_observe_what_each_does_alone(run):
    drivers = styled(environment("merge-v0", population(run)))
    together = observe(drivers)
    for driver, row in zip(drivers, together, strict=True):
        np.testing.assert_allclose(observe([driver])[0], row)


def test_a_turned_road_looks_the_same(make):
    kind = make()
    angle, seen = 0.7, []
    for turn in (0.0, angle):
        network = RoadNetwork.straight_road_network(3, angle=-turn)
        road = Road(network, np_random=np.random.default_rng(0))
        lane = network.get_lane(("0", "1", 1))
        road.vehicles = [
            kind(road, lane.position(100.0 + 20.0 * k, 4.0 * (k - 1) + 0.3), turn + 0.02 * k, 20.0 + k, code=0)
            for k in range(3)
        ]
        seen.append(observe(road.vehicles))
    np.testing.assert_allclose(*seen, atol=1e-9)


def test_own_lane_only_on_a_ramp_and_the_obstacle_at_its_end(run, make):
    env = environment("merge-v0", population(run))
    network, kind = env.road.network, make()
    names = list(Highway.features)

    def seen_from(index, longitudinal):
        lane = network.get_lane(index)
        position, heading = lane.position(longitudinal, 0.2), lane.heading_at(longitudinal)
        env.road.vehicles = [kind(env.road, position, heading, 20.0, code=0)]
        assert env.road.vehicles[0].lane_index == index
        return dict(zip(names, observe(env.road.vehicles)[0], strict=True))

    bend = seen_from(("k", "b", 0), 40.0)
    assert bend["left_lane"] == bend["right_lane"] == 0
    assert bend["lane_offset"] == pytest.approx(0.1) and bend["heading"] == pytest.approx(0)
    ramp = seen_from(("b", "c", 2), 30.0)
    assert (ramp["left_lane"], ramp["right_lane"]) == (1, 0)
    assert ramp["leader_present"] == 1 and ramp["leader_gap"] == pytest.approx(1.0)  # 50 m
    assert ramp["leader_closing"] == pytest.approx(2.0)
    main = seen_from(("b", "c", 1), 30.0)
    assert main["right_lane"] == 0 and main["right_leader_present"] == 0  # the ramp is closed to lane changes


def test_codes_follow_mix_and_seed(run, make):
    path = population(run, (3, 0, 1))
    codes = [[vehicle.code for vehicle in styled(environment("highway-v0", path, seed))] for seed in (0, 0, 1, 2, 3)]
    assert codes[0] == codes[1] != codes[2]
    counts = np.bincount(np.concatenate(codes), minlength=3)
    assert counts[1] == 0 and counts[0] / counts.sum() == pytest.approx(0.75, abs=0.1)
    np.testing.assert_allclose(make().mix, load(run).prior / load(run).prior.sum())


def test_highway_starts_as_with_idm(run):
    ours, theirs = (
        environment("highway-v0", path, seed=5) for path in (population(run), "highway_env.vehicle.behavior.IDMVehicle")
    )
    for vehicle, other in zip(ours.road.vehicles, theirs.road.vehicles, strict=True):
        assert (vehicle.position == other.position).all() and vehicle.speed == other.speed


def test_decides_at_the_policy_s_rate_whatever_the_simulation_s(make):
    for frequency, decisions in ((15, 10), (10, 10), (12, 10), (50, 10), (5, 10)):
        road = road_with((make(), 100.0, 4.0, 0.0, 20.0))
        (vehicle,) = road.vehicles
        commands = [vehicle.action]
        for _ in range(2 * frequency):
            road.act()
            if vehicle.action is not commands[-1]:
                commands.append(vehicle.action)
            road.step(1 / frequency)
        assert len(commands) - 1 == decisions


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_drives_in_environments(run, name):
    env = environment(name, population(run), show_trajectories=True, duration=5)
    assert styled(env)
    codes = [vehicle.code for vehicle in styled(env)]
    for _ in range(2):
        env.step(env.action_type.actions_indexes["IDLE"])
    if name != "intersection-v0":  # where vehicles come and go
        assert [vehicle.code for vehicle in styled(env)] == codes
    for vehicle in styled(env):
        assert np.isfinite(vehicle.position).all()
        assert vehicle.target_speed == max(vehicle.speed, 1.0) and vehicle.target_lane_index == vehicle.lane_index


def test_copies(run):
    env = environment("highway-v0", population(run))
    one, other = copy.deepcopy(env), copy.deepcopy(env)
    for each in (one, other):
        for _ in range(2):
            each.step(1)
    assert [str(vehicle.position) for vehicle in one.road.vehicles] == [str(v.position) for v in other.road.vehicles]
    vehicle = styled(env)[3]
    assert pickle.loads(pickle.dumps(vehicle)).code == vehicle.code
    assert type(vehicle).create_from(vehicle).code == vehicle.code
    assert IDMVehicle.create_from(vehicle).speed == vehicle.speed
    env.change_vehicles("highway_env.vehicle.behavior.IDMVehicle").step(1)


def test_class_path_means_the_same_elsewhere(run):
    path = population(run, (0.1, 0.2, 0.7), assisted=False)
    here = class_from_path(path)
    delattr(module, path.removeprefix(module.__name__ + "."))  # as if another process had asked for it
    there = class_from_path(path)
    assert there is not here and not there.assisted
    np.testing.assert_array_equal(there.mix, here.mix)
    with pytest.raises(AttributeError, match="no attribute 'anything'"):
        getattr(module, "anything")  # noqa: B009


def test_wrecks_do_not_decide(make):
    road = road_with((make(), 100.0, 4.0, 0.0, 20.0), (make(), 200.0, 4.0, 0.0, 20.0))
    road.vehicles[0].crashed = True
    road.act()
    assert road.vehicles[0].wait == 0.0 and road.vehicles[1].wait > 0.0


# The assistant


def test_safe_distance_is_enough():
    """Front brakes with 5 m/s² to a stop; the rear does after its reaction."""
    for rear, front in ((30.0, 20.0), (20.0, 20.0), (15.0, 0.0), (10.0, 30.0), (0.0, 0.0)):
        gap = smallest = safe_distance(np.array(rear), np.array(front))
        dt, reaction, v, w = 1e-3, REACTION, rear, front
        for k in range(10_000):
            v = max(v - 5.0 * dt * (k * dt >= reaction), 0.0)
            w = max(w - 5.0 * dt, 0.0)
            gap = gap + (w - v) * dt
            smallest = min(smallest, gap)
        assert smallest > CLEARANCE - 0.1


def test_brakes_and_holds_only_where_it_is_unsafe(make):
    def verdict(*others, heading=0.0, y=4.0, speed=25.0):
        road = road_with((make(), 200.0, y, heading, speed), *others)
        return tuple(too_close(observe(road.vehicles[:1]))[:, 0].tolist())

    assert verdict() == (False, False)
    assert verdict((Vehicle, 220.0, 4.0, 0.0, 25.0)) == (False, False)  # 0.6 s behind another as fast
    assert verdict((Vehicle, 220.0, 4.0, 0.0, 15.0)) == (True, False)
    beside = (Vehicle, 202.0, 0.0, 0.0, 25.0)
    assert verdict(beside) == (False, False)
    assert verdict(beside, heading=-0.1) == (False, True)
    assert verdict(beside, heading=0.1) == (False, False)
    assert verdict((Vehicle, 180.0, 8.0, 0.0, 35.0), heading=0.1) == (False, True)  # would have to brake
    assert verdict(y=8.0, heading=0.1) == (False, True)  # the road ends here
    assert verdict(y=8.0, heading=0.02) == (False, False)


def test_assistant_prevents_a_crash_that_the_driver_alone_would_have(driver, make):
    driver.policy.net[-1].weight.data.zero_()
    driver.policy.net[-1].bias.data[:] = driver.policy.net[-1].bias.data.new_tensor([0.2, -0.3])  # on, and to the left
    crashed, overruled = [], 0
    for assisted in (False, True):
        road = road_with((make(assisted=assisted), 200.0, 4.0, 0.0, 25.0), (Vehicle, 260.0, 4.0, 0.0, 12.0))
        for _ in range(150):
            road.act()
            road.step(1 / 15)
            overruled += road.vehicles[0].overruled
        crashed.append(road.vehicles[0].crashed or not road.vehicles[0].on_road)
    assert crashed == [True, False] and overruled > 0 and road.vehicles[0].speed > -1e-6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seconds", "most"), [("highway-v0", 20, 0.08), ("merge-v0", 10, 0.25)])
def test_assisted_drivers_hardly_crash_and_stay_on_the_road(trained_run, name, seconds, most):
    drivers, off_road = [], set()
    for seed in range(4):
        env = environment(name, population(trained_run), seed)
        env.road.vehicles[env.road.vehicles.index(env.vehicle)] = IDMVehicle.create_from(env.vehicle)
        for _ in range(15 * seconds):
            env.road.act()
            env.road.step(1 / 15)
            off_road |= {vehicle for vehicle in styled(env) if not vehicle.on_road}
        drivers += styled(env)
    # Of this short run's; unassisted, four of five do.
    assert sum(driver.crashed for driver in drivers) <= most * len(drivers)
    assert len(off_road) <= most * len(drivers)


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained"), "highway", Config.of(num_codes=4, iterations=20), 60)


# What can be wrong, and the film


def test_bad_input(run, tmp_path):
    for mix in ((1, 1), (1, -1, 1), (0, 0, 0), (1, np.nan, 1)):
        with pytest.raises(BadInput, match="give a non-negative share for each of the 3 codes"):
            population(run, mix)
    with pytest.raises(BadInput, match="no such file"):
        population(tmp_path)
    other = trained(tmp_path, "pass", Config.of(num_envs=16, iterations=1, rim_steps=2, rim_tries=1, bc_steps=100))
    with pytest.raises(BadInput, match="trained on pass, which has no other drivers in lanes; give a run of highway"):
        population(other)
    with pytest.raises(BadInput, match="did you mean 'merge-v0'"):
        check_environment("marge-v0")
    with pytest.raises(BadInput, match="does not support custom vehicle types"):
        film_traffic(run, "parking-v0", None, True, 1.0, 0, tmp_path)
    with pytest.raises(BadInput, match=r"'other_vehicles_type'.*: not a setting of infogail/Highway-v0"):
        film_traffic(run, "infogail/Highway-v0", None, True, 1.0, 0, tmp_path)


ALL_ENVIRONMENTS = [name for name, spec in gymnasium.registry.items() if "highway_env" in str(spec.entry_point)]


@pytest.mark.parametrize("name", ALL_ENVIRONMENTS)
def test_every_environment_of_highway_env_has_such_drivers_or_says_that_it_cannot(run, name):
    if name.startswith(("lane-keeping", "parking", "racetrack")):
        with pytest.raises(BadInput, match=f"^{name} does not support custom vehicle types; give highway-v0, merge-v0"):
            make_populated(name, population(run), seed=0)
        return
    env = make_populated(name, population(run), seed=0, config={"duration": 3})
    assert styled(env.unwrapped) and env.unwrapped.config["duration"] == 3
    env.step(env.action_space.sample())


@pytest.mark.parametrize("name", ["lane-keeping-v0", "parking-parked-v0", "racetrack-v0"])
def test_no_film_of_an_environment_without_such_drivers(run, tmp_path, name):
    with pytest.raises(BadInput, match=f"^{name} does not support custom vehicle types"):
        film_traffic(run, name, None, True, 1.0, 0, tmp_path)
    with pytest.raises(BadInput, match=r"^unknown environment 'no-v0'"):
        make_populated("no-v0", population(run))
    assert not list(tmp_path.iterdir())


def test_film_of_an_ego_without_routes_and_lanes(run, tmp_path):
    """In intersection-v1 highway-env's is a bicycle."""
    assert all(path.stat().st_size for path in film_traffic(run, "intersection-v1", None, True, 1.0, 0, tmp_path))


def test_film(run, tmp_path):
    mp4, gif = film_traffic(run, "highway-v0", (1, 1, 1), True, 1.0, 0, tmp_path)
    assert gif.stat().st_size > 1000
    film = cv2.VideoCapture(str(mp4))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 15
    _, frame = film.read()
    height, width, _ = frame.shape
    assert width == 1280 and height % 2 == 0
    assert AbstractLane.DEFAULT_WIDTH * 4 * 6.4 < height < 300  # four lanes, and the strip
    drivers = styled(environment("highway-v0", population(run)))
    assert (shares("highway-v0", drivers) != shares("highway-v0", drivers[:25])).any()


def test_costs_less_than_idm(run):
    ours, theirs = (
        min(traffic_costs(path, 0) for _ in range(2))[0]
        for path in (population(run), "highway_env.vehicle.behavior.IDMVehicle")
    )
    assert ours < theirs
