import gymnasium
import highway_env  # noqa: F401
import numpy as np
import pytest
import torch
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.kinematics import Vehicle
from replay_world import record_world, steady_cars

from infogail.envs.catalogue import get_scenario
from infogail.envs.company import DRAWS, IDLE, UNSAFE, VEHICLES, AsPeople, Company
from infogail.envs.errors import BadInput
from infogail.envs.physics.dynamics import initial_traffic, vehicle_states
from infogail.envs.physics.traffic import drive_together
from infogail.envs.scenarios.highway import Highway
from infogail.traffic.styled import observe

WORLDS = 32


@pytest.fixture
def company():
    company = Company(get_scenario("highway"), WORLDS * VEHICLES)
    company.reset(seed=0)
    return company


def worlds(company, **fixed):
    """Start in random worlds in which some quantities are the same."""
    rng = np.random.default_rng(1)
    scene = {
        name: torch.tensor(rng.uniform(draw.low, draw.high, (draw.size, WORLDS) if draw.size else WORLDS)).float()
        for name, draw in DRAWS.items()
    }
    company.place(scene | {name: torch.full((WORLDS,), value) for name, value in fixed.items()})


@pytest.fixture
def people(tmp_path):
    """In company as those who were recorded at 5, 10, 15 and 20 m/s."""
    cars = steady_cars(speeds=(5.0, 10.0, 15.0, 20.0))
    people = Company(record_world(tmp_path / "world.safetensors", cars).scenario, WORLDS * VEHICLES)
    people.reset(seed=0)
    return people


def seen_in_highway_env(road, states, scenario):
    road.vehicles = [Vehicle(road, (x, y), heading, speed) for x, y, heading, speed in states.double().tolist()]
    return observe(road.vehicles, scenario)


@pytest.mark.parametrize("drivers", ["company", "people"])
@pytest.mark.parametrize("lanes", [2, 3, 4])
def test_observes_what_drivers_do_on_a_highway(drivers, lanes, request):
    company = request.getfixturevalue(drivers)
    worlds(company, lanes=float(lanes), ramp=1.0, speed=25.0)
    drive(company, 15)
    road = Road(RoadNetwork.straight_road_network(lanes, speed_limit=30), np_random=np.random.default_rng(0))
    ours = company.observe().permute(1, 2, 0)
    for world in range(0, WORLDS, 8):
        x = company.states[world, :-1, 0].min()
        states = company.states[world, :-1] - torch.tensor([x - 10.0, 0.0, 0.0, 0.0])
        np.testing.assert_allclose(ours[world], seen_in_highway_env(road, states, company.scenario), atol=1e-4)


def test_observes_what_drivers_do_in_a_merge(company):
    worlds(company, lanes=2.0, ramp=0.0, speed=20.0)
    road, rng = gymnasium.make("merge-v0").unwrapped.road, np.random.default_rng(4)
    (end,) = (thing.position[0] for thing in road.objects)
    lane = rng.integers(0, 3, (VEHICLES, WORLDS))
    x = np.where(lane == 2, rng.uniform(end - 78.0, end - 4.0, lane.shape), rng.uniform(20.0, 440.0, lane.shape))
    company.traffic[0, :-1] = torch.tensor(x).float() + company.ramp_end - end
    company.traffic[1, :-1] = torch.tensor(4.0 * lane + rng.uniform(-1.9, 1.9, lane.shape))
    company.traffic[2, :-1] = torch.tensor(rng.normal(0.0, 0.05, lane.shape))
    ours = company.observe().permute(1, 2, 0)
    for world in range(0, WORLDS, 4):
        states = company.states[world, :-1] - torch.tensor([company.ramp_end[world] - end, 0.0, 0.0, 0.0])
        np.testing.assert_allclose(ours[world], seen_in_highway_env(road, states, company.scenario), atol=1e-4)


def test_on_the_ramp_its_end_is_seen_from_where_it_is_straight_and_open(company):
    """As in merge-v0, where a curve is before that."""
    worlds(company, lanes=2.0, ramp=1.0)
    company.traffic[0, :-1] += 1e4
    present, gap = (company.scenario.features.index(f"leader_{name}") for name in ("present", "gap"))
    for before, seen in ((85.0, 0.0), (75.0, 1.0)):
        company.traffic[:2, 0] = torch.stack((company.ramp_end - before, torch.full((WORLDS,), 8.0)))
        ours = company.observe()[:, :, 0]
        assert (ours[present] == seen).all() and (ours[gap] == (before if seen else 100.0) / 50.0).all()


def drive(company, decisions):
    generator = torch.Generator().manual_seed(2)
    for _ in range(decisions):
        company.step(torch.randn(company.num_envs, 2, generator=generator) * torch.tensor([0.3, 0.1]))


def test_moves_and_crashes_as_in_highway_env():
    rng = np.random.default_rng(3)
    crashes = 0
    for _ in range(20):
        states = np.stack(
            (rng.uniform(0, 60, 8), 4.0 * rng.integers(0, 3, 8), rng.normal(0, 0.05, 8), rng.uniform(0, 30, 8))
        )
        acceleration, steering = rng.uniform(-5, 5, 8), rng.uniform(-0.05, 0.05, 8)
        road = Road(RoadNetwork.straight_road_network(3), np_random=rng)
        road.vehicles = [Vehicle(road, (x, y), heading, speed) for x, y, heading, speed in states.T]
        for vehicle, a, s in zip(road.vehicles, acceleration, steering, strict=True):
            vehicle.action = {"acceleration": a, "steering": s}
        for _ in range(30):
            road.step(1 / 15)
        commands = (torch.tensor(command)[:, None] for command in (acceleration, steering))
        traffic = drive_together(initial_traffic(torch.tensor(states)[..., None]), *commands, 1 / 15, 30)
        theirs = np.array([(*vehicle.position, vehicle.heading, vehicle.speed) for vehicle in road.vehicles])
        np.testing.assert_allclose(vehicle_states(traffic)[0], theirs, atol=1e-9)
        crashed = [vehicle.crashed for vehicle in road.vehicles]
        assert (traffic[7, :, 0] != 0).tolist() == crashed
        crashes += sum(crashed)
    assert 20 < crashes < 140


def test_an_episode_ends_once_and_all_begin_together(company):
    generator, over = torch.Generator().manual_seed(0), torch.zeros(company.num_envs, dtype=torch.bool)
    for decision in range(company.spec.horizon):
        step = company.step(torch.randn(company.num_envs, 2, generator=generator))
        assert torch.equal(step.ignored, over) and not (step.terminated & over).any()
        over |= step.terminated
        late = decision == company.spec.horizon - 1
        assert torch.equal(step.truncated, ~over & late)
        assert torch.equal(step.observations, step.final_observations) != late
    assert 0.3 < over.float().mean() < 1.0
    assert not company.step(torch.zeros(company.num_envs, 2)).ignored.any()


def test_brakes_stop_a_car(company):
    company.reset(seed=1)
    for _ in range(60):
        company.step(torch.tensor([-1.0, 0.0]).expand(company.num_envs, 2))
    step = company.step(torch.tensor([-1.0, 0.0]).expand(company.num_envs, 2))
    assert step.penalties.min() == pytest.approx(2 * IDLE, abs=1e-2)  # of those who stand, and brake
    step = company.step(torch.zeros(company.num_envs, 2))
    assert step.penalties.min() == pytest.approx(IDLE, abs=1e-2)  # of those who stand, and do not
    speed = company.states[:, :-1, 3]
    assert speed.min() > -1.0 and speed.median() == pytest.approx(0.0, abs=1e-5)


def test_penalises_what_the_assistant_would_prevent(company):
    worlds(company, lanes=2.0, ramp=1.0, speed=30.0)
    for _ in range(40):  # some faster than the one ahead
        step = company.step(torch.zeros(company.num_envs, 2))
    speed, closing = (step.final_observations[:, Highway.features.index(name)] for name in ("speed", "leader_closing"))
    going = speed > -1.0  # 10 m/s
    penalties, closing = step.penalties[going], closing[going]
    np.testing.assert_allclose(penalties.unique(), [0.0, UNSAFE])
    charged, free = closing[penalties > 0].mean(), closing[penalties == 0].mean()
    assert charged > 0.2 > free  # 2 m/s


def test_people_start_at_speeds_of_people_on_roads_without_ramp(people):
    speed = people.states[:, :-1, 3]
    nearest = speed.mean(1)[:, None] / torch.tensor([5.0, 10.0, 15.0, 20.0])
    assert ((nearest - 1.0).abs().min(1).values < 0.05).all() and (speed.mean(1).diff().abs() > 2.0).any()
    assert (speed / speed.mean(1, keepdim=True) - 1.0).abs().max() < 0.15
    assert (people.ramp_end < -1000.0).all()


def test_people_pay_little_for_what_the_assistant_would_prevent_and_nothing_for_standing(people):
    worlds(people, lanes=2.0)
    for _ in range(100):
        step = people.step(torch.zeros(people.num_envs, 2))
    brake, hold = AsPeople.unsafe
    np.testing.assert_allclose(step.penalties.unique(), [0.0, hold, brake, brake + hold], atol=1e-6)
    for _ in range(100):
        step = people.step(torch.tensor([-1.0, 0.0]).expand(people.num_envs, 2))
    assert step.penalties.min() == 0.0


def test_starts_follow_the_seed(company):
    first = company.reset(seed=5)
    second = company.reset()
    assert torch.equal(company.reset(seed=5), first) and not torch.equal(first, second)
    other = Company(get_scenario("highway"), WORLDS * VEHICLES)
    other.load_state_dict(company.state_dict())
    assert torch.equal(other.reset(), second)
    gaps = company.states[:, :-1]
    apart = (gaps[:, :, None] - gaps[:, None]).abs()[..., :2]
    apart[:, range(VEHICLES), range(VEHICLES)] = torch.inf
    assert ((apart[..., 0] > 5.2) | (apart[..., 1] > 2.5)).all()
    assert 0.05 < (company.states[:, 0, 3] == 0).float().mean() < 0.3  # standstills


def test_bad_input():
    with pytest.raises(BadInput, match=r"^--num-envs 100: in company, give a multiple of 32"):
        Company(get_scenario("highway"), 100)
