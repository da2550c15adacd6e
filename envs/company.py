"""Worlds in which every vehicle is driven by the learner: drivers trained among themselves.

All of them share one policy, as in PS-GAIL (Bhattacharyya et al. 2018, arXiv 1803.01044), each with a code of its own.
Worlds have two to four lanes, and start anywhere from a standstill to fast, dense or not; most have an on-ramp that
ends. As in highway-env's merges, it is closed to those on the road, who do not see who is on it. Who learns from people
starts as they drive, without a ramp.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from infogail.envs.environment import Step
from infogail.envs.errors import BadInput
from infogail.envs.physics.dynamics import LENGTH, WIDTH, Car, initial_traffic, vehicle_states
from infogail.envs.physics.roads import LANE_WIDTH
from infogail.envs.physics.state import Scene
from infogail.envs.physics.streams import Draw, named, num_rows, random_streams, scene_from_uniform, uniform
from infogail.envs.physics.traffic import drive_together
from infogail.envs.scenarios.highway import Highway
from infogail.envs.scenarios.safety import too_close
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, Scenario

VEHICLES = 32  # in each world
RAMPS = 0.75  # share of worlds
SECONDS = 20.0  # of an episode: it takes longer than a demonstration until the fast have caught up with the slow
PARALLEL = 80.0  # [m], the last stretch of a ramp, beside the road and open to it
ON_RAMP = 1.0  # how many vehicles start on the ramp, relative to a lane of the road
UNSAFE = 4.0  # penalty of a decision that leads where Responsibility-Sensitive Safety would have to intervene
IDLE, CRAWL = 1.0, 8.0  # penalty of a decision that leads to a standstill; it falls to 0 at this speed [m/s]
NEAREST = 6.5  # [m] at the start, from one to the next in the pack
HIGHWAY = Highway()
AWAY = 1e4  # [m], where nobody sees the obstacle of worlds without a ramp
CRASHED = Car._fields.index("crashed")
DRAWS = {
    "lanes": Draw(2.0, 5.0),  # rounded down; without the ramp
    "ramp": Draw(0.0, 1.0),
    "ramp_end": Draw(0.3, 1.0),  # how far through the pack
    "speed": Draw(-8.0, 35.0),  # [m/s]; below 0: a standstill; above 30: 30
    "density": Draw(0.0, 1.0),  # of the traffic, from the sparsest to the densest
    "room": Draw(0.0, 1.0),  # between gaps for the speed driven (0) and those for 25 m/s (1)
    "rank": Draw(0.0, 1.0, size=VEHICLES),  # in the pack
    "lane": Draw(0.0, 1.0, size=VEHICLES),
    "gap": Draw(0.0, 1.0, size=VEHICLES),  # from one vehicle to the next, from the smallest to the largest
    "pace": Draw(0.9, 1.1, size=VEHICLES),  # relative to the world's speed
    "ramp_pace": Draw(0.6, 1.0),  # of those on the ramp, relative to that; in merge-v0 they start at two thirds
    "offset": Draw(-0.3, 0.3, size=VEHICLES),  # [m] from the lane's centre
    "seat": Draw(0.0, 1.0, size=VEHICLES),  # order of the learner's episodes
}


class Anyhow:
    """How drivers start who may get into any traffic, and what it costs them to endanger or to hold up others."""

    ramps = RAMPS

    def pack(self, scene: Scene, lanes: Tensor) -> tuple[Tensor, Tensor]:
        """The speed (W,) [m/s] at which the vehicles of each world start, and how far from one to the next (V, W) [m].

        Traffic of 0.4 to 1.2 times highway-env's default density. At least half of the usual distance is between two;
        the rest is distributed exponentially, so that there are groups in sparse traffic, too, as in merge-v0.
        """
        speed = scene["speed"].clamp(0.0, 30.0)
        usual = (12.0 + speed + scene["room"] * (25.0 - speed).clamp(min=0.0)) * (-lanes / 8).exp()
        rest = 1.0 / (0.4 + 0.8 * scene["density"]) - 0.5
        return speed, usual * (0.5 - rest * (-0.99 * scene["gap"]).log1p())

    def penalties(self, unsafe: Tensor, idle: Tensor) -> Tensor:
        """Of decisions, (B,).

        Args:
            unsafe: (2, B), 1 where one would have to brake, and to keep the lane; see `too_close`.
            idle: (B,), how near to a standstill, from 0 to 1, and how much of the braking there is futile.
        """
        return UNSAFE * unsafe.amax(0) + IDLE * idle


class AsPeople:
    """How drivers start who learn from people: at a speed of theirs, and about as near to each other as those on US-101
    are at that speed. Endangering others costs little, and holding them up nothing: it is for the people to show how
    near to each other, and how slowly, one drives.

    Args:
        speeds: (n,) of people [m/s].
    """

    ramps = 0.0
    unsafe = 0.5, 0.1  # where one would have to brake, and to keep the lane
    standing, following = 12.0, 1.15  # [m], [s]: from front to front, by speed

    def __init__(self, speeds: Tensor) -> None:
        self.speeds = speeds

    def pack(self, scene: Scene, lanes: Tensor) -> tuple[Tensor, Tensor]:
        """As `Anyhow.pack`."""
        speed = self.speeds[(scene["room"] * len(self.speeds)).long()]
        usual = (self.standing + self.following * speed) / lanes
        return speed, (0.5 + scene["gap"]) * usual / (0.7 + 0.5 * scene["density"])

    def penalties(self, unsafe: Tensor, idle: Tensor) -> Tensor:
        """As `Anyhow.penalties`."""
        return unsafe.T @ unsafe.new_tensor(self.unsafe)


class Company:
    """W worlds of `VEHICLES` drivers; to learners (`infogail.envs.environment.Environment`) B = 32 W episodes.

    A driver's episode ends early with a crash or a road exit. The wreck stays where it is until all worlds begin anew.

    Args:
        scenario: for what drivers observe and how they act, and the speeds of people, if it has any.
        num_envs: B.

    Raises:
        BadInput: B is not a multiple of `VEHICLES`.
    """

    def __init__(self, scenario: Scenario, num_envs: int, device: str = "cpu") -> None:
        if num_envs % VEHICLES:
            raise BadInput(f"--num-envs {num_envs}: in company, give a multiple of {VEHICLES}")
        self.scenario, self.num_envs, self.device = scenario, num_envs, device
        self.spec = replace(scenario.spec, horizon=round(SECONDS * scenario.policy_frequency))
        self._streams, self._episode = random_streams(0, num_envs // VEHICLES).to(device), torch.tensor(0)
        others = [[v, *(u for u in range(VEHICLES + 1) if u != v)] for v in range(VEHICLES)]
        self._ego_first = torch.tensor(others, device=device)  # (V, V + 1)
        speeds = scenario.starting_speeds
        self._manners: Anyhow | AsPeople = Anyhow()
        if speeds is not None:
            self._manners = AsPeople(torch.as_tensor(speeds, dtype=torch.float32, device=device))
        self._begin()

    def reset(self, seed: int | None = None) -> Tensor:
        """Begin all worlds anew; returns the first observations (B, F)."""
        self._episode = self._episode + 1
        if seed is not None:
            self._streams, self._episode = random_streams(seed, len(self._streams)).to(self.device), torch.tensor(0)
        self._begin()
        return self._observed()

    def _begin(self) -> None:
        count = num_rows(DRAWS)
        number = torch.arange(count, device=self.device)[:, None] + self._episode * count
        scene = named(DRAWS, scene_from_uniform(DRAWS, uniform(self._streams, number, torch.float32)))
        self.place(scene)

    def place(self, scene: Scene) -> None:
        """Start in the worlds of `scene`, quantities (W,) or (V, W); see `DRAWS`."""
        self.lanes, ramp = scene["lanes"].floor(), scene["ramp"] < self._manners.ramps  # (W,)
        speed, gaps = self._manners.pack(scene, self.lanes)
        along = gaps.clamp(min=NEAREST).cumsum(0)
        x = along.gather(0, scene["rank"].argsort(0))
        self.ramp_end = torch.where(ramp, along[-1] * scene["ramp_end"] + PARALLEL, -AWAY)  # (W,) [m]
        lane = (scene["lane"] * (self.lanes + ON_RAMP * ramp)).floor()
        ahead = (lane == self.lanes) & (x > self.ramp_end - PARALLEL)  # too late for the ramp
        lane = torch.where(ahead, (scene["lane"] * 7919.0 % 1.0 * self.lanes).floor(), lane)
        speeds = speed * scene["pace"] * torch.where(lane == self.lanes, scene["ramp_pace"], 1.0)
        states = torch.stack((x, LANE_WIDTH * lane + scene["offset"], torch.zeros_like(x), speeds))
        obstacle = torch.stack((self.ramp_end, LANE_WIDTH * self.lanes, *torch.zeros(2, *speed.shape).to(speed)))
        self.traffic = initial_traffic(torch.cat((states, obstacle[:, None]), 1))
        self.traffic[CRASHED, -1] = 1.0
        self._over, self._elapsed = torch.zeros_like(x, dtype=torch.bool), 0
        self._seat = scene["seat"].flatten().argsort()

    @property
    def states(self) -> Tensor:
        """(W, V + 1, 4): x [m], y [m], heading [rad], speed [m/s]; the last is the obstacle where the ramp ends."""
        return vehicle_states(self.traffic)

    def step(self, actions: Tensor) -> Step:
        """Advance by one decision with `actions` (B, A)."""
        scenario, commands = self.scenario, torch.empty_like(actions)
        commands[self._seat] = actions.clamp(-1.0, 1.0)
        acceleration, steering = commands.T.unflatten(1, (VEHICLES, -1))
        speed = self.traffic[3, :-1]
        # As `infogail.traffic.styled`: brakes stop a car, but do not reverse it.
        wanted = acceleration * ACCELERATION_RANGE[1]
        acceleration = wanted.maximum(-speed.clamp(min=0.0) * scenario.policy_frequency)
        # Nothing else tells those who brake at a standstill that braking less would be a step towards starting.
        futile = self._ordered(acceleration - wanted) / ACCELERATION_RANGE[1]
        still = torch.zeros_like(acceleration[:1])
        acceleration, steering = (
            torch.cat((command, still)) for command in (acceleration, steering * scenario.steering_range[1])
        )
        steps = scenario.simulation_frequency // scenario.policy_frequency
        self.traffic = drive_together(self.traffic, acceleration, steering, 1 / scenario.simulation_frequency, steps)
        self._elapsed += 1
        failed, before = self.failed(), self._over
        self._over = before | failed
        late = torch.full_like(failed, self._elapsed >= self.spec.horizon)
        obs = final = self._observed()
        ended, truncated, ignored = (self._ordered(x) for x in (failed & ~before, late & ~self._over, before))
        around = final if scenario.features == Highway.features else self._observed(HIGHWAY)
        unsafe = torch.from_numpy(too_close(around.double().cpu().numpy())).to(final)
        slow = (1.0 - self._ordered(self.traffic[3, :-1]) / CRAWL).clamp(0.0, 1.0)
        penalties = self._manners.penalties(unsafe, slow + futile)
        if late.any():
            obs = self.reset()
        return Step(obs, final, ended, truncated, ignored, penalties)

    def failed(self) -> Tensor:
        """(V, W) bool: crashed, or off the road."""
        x, y = self.traffic[:2, :-1]
        lanes = self.lanes + (x < self.ramp_end + LENGTH)
        # Before the ramp is open to the road, its driver has to stay on it.
        closed = x < self.ramp_end - PARALLEL
        between = closed & (abs(y - LANE_WIDTH * (self.lanes - 0.5)) < 0.3)
        off = (y < -LANE_WIDTH / 2) | (y > LANE_WIDTH * (lanes - 0.5)) | between
        return off | (self.traffic[CRASHED, :-1] != 0)

    def observe(self, scenario: Scenario | None = None) -> Tensor:
        """(F, W, V): what each driver observes, by default in its scenario, as `infogail.traffic.styled.observe`."""
        states = self.states[:, self._ego_first]  # (W, V, V + 1, 4)
        x, y = states[..., 0, 0], states[..., 0, 1]
        lanes, end = self.lanes[:, None], self.ramp_end[:, None]
        on_ramp = (y > LANE_WIDTH * (lanes - 0.5)) & (x < end + LENGTH)
        closed = on_ramp & (x < end - PARALLEL)
        first = torch.where(closed, lanes, 0.0)
        count = torch.where(closed, 1.0, lanes + on_ramp)
        across = states[..., 1] - LANE_WIDTH * first[..., None]
        middle = LANE_WIDTH * (count[..., None] - 1) / 2
        beside = abs(across - middle) > LANE_WIDTH * count[..., None] / 2 + 1.0
        beside[..., 0] = False
        beside[..., -1] |= closed  # in merge-v0 there is a curve between
        across = across.masked_fill(beside, torch.inf)
        size = states.new_tensor((LENGTH, WIDTH)).expand(*across.shape, 2)
        seen = torch.cat((states[..., :1], across[..., None], states[..., 2:], size), -1)
        return torch.stack((scenario or self.scenario).observe_in_lanes(seen, count))

    def _observed(self, scenario: Scenario | None = None) -> Tensor:
        return self.observe(scenario).permute(2, 1, 0).flatten(0, 1)[self._seat]

    def _ordered(self, x: Tensor) -> Tensor:
        """(B,) of (V, W), in the order of the learner's episodes."""
        return x.flatten()[self._seat]

    def demonstrations(self) -> None:
        """Nobody takes a demonstrator's place."""

    def styles(self) -> None:
        """Not judged in company."""

    def state_dict(self) -> dict[str, Tensor]:
        """What determines the next reset; a rollout begins with one."""
        return {"streams": self._streams, "episode": self._episode}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from a state returned by `state_dict`."""
        self._streams, self._episode = state["streams"].to(self.device), state["episode"]
