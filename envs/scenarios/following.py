"""Following: one lane, in which the ego follows a recorded leader and only accelerates and brakes.

States are (..., 2, 7), ego and leader, see `FollowState`: cars differ in length, and their last accelerations are seen.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from highway_env.road.lane import LineType, StraightLane
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import Recording
from infogail.envs.data.world import FollowedLeaders
from infogail.envs.errors import BadInput
from infogail.envs.physics.neighbours import LONGEST_HEADWAY
from infogail.envs.physics.state import Array, Scene, VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.highway import headway_in_words
from infogail.envs.scenarios.recorded_road import Converted, demonstration_of
from infogail.envs.scenarios.recorded_vehicles import Follower, RecordedVehicle
from infogail.envs.scenarios.scenario import ACCELERATION_RANGE, Scenario
from infogail.envs.scenarios.styles import Style
from infogail.envs.scenarios.view import View

if TYPE_CHECKING:
    from torch import Tensor

FOLLOW_STEPS = 300  # decisions of an episode, 30 s
WINDOW = 200  # decisions, 20 s, of a window that is judged
JUDGED_STEPS = 2 * WINDOW  # of the shortest track that is judged: half to read a code from, half to drive
MEMORY = 10  # steps over which the leader's acceleration is averaged, 1 s
LANE_WIDTH = StraightLane.DEFAULT_WIDTH
MIN_SPEED = 1.0  # [m/s]: a headway at a lower speed is that at this one
# Treiber, Hennecke and Helbing 2000: the gap at standstill and the time headway of the intelligent driver model.
USUAL_GAP, USUAL_HEADWAY = 2.0, 1.5  # [m], [s]
CLOSEST = 0.1  # [m], lower bound of gaps
ROAD_BEYOND = 500.0  # [m] of road before and after what any leader drives
SHOWN_LENGTH = 90.0  # [m] of road shown in a film


class FollowState(NamedTuple):
    """States (..., 7) of ego or leader, each field (...)."""

    x: Array  # [m] along the lane
    y: Array  # [m], 0
    heading: Array  # [rad], 0
    speed: Array  # [m/s]
    acceleration: Array  # [m/s²]: the ego's since the step before; the leader's mean over the last second
    length: Array  # [m]
    width: Array  # [m]

    @classmethod
    def of(cls, states: Array) -> tuple[FollowState, FollowState]:
        """Ego and leader: views on `states` (..., 2, 7)."""
        ego, leader = (cls(*(states[..., car, k] for k in range(7))) for car in (0, 1))
        return ego, leader

    @classmethod
    def stack(cls, x: Array, speed: Array, acceleration: Array, length: Array) -> Array:
        """(..., 7): the state of a car in the middle of the lane."""
        zero = x * 0.0
        size = zero + length, zero + Vehicle.WIDTH
        return array_namespace(x).stack((x, zero, zero, speed, acceleration, *size), axis=-1)


class Tables(NamedTuple):
    """The recording, as tensors or arrays of one type. R rows, E windows."""

    leader: Array  # (R, 3): x [m], speed [m/s], mean acceleration over the last second [m/s²]
    follower: Array  # (R, 3): x, speed, and acceleration since the step before
    length: Array  # (E, 2) [m]: of ego and leader
    row: Array  # (E,) int64: of the first state

    @classmethod
    def of(cls, world: FollowedLeaders) -> Tables:
        row, driver = world.demonstration_row, np.repeat(np.arange(len(world.lengths)), np.diff(world.first_row))
        rows = np.arange(len(world.leader))
        before = np.maximum(rows - MEMORY, world.first_row[driver])
        speed, seconds = world.leader[:, 1], np.maximum(rows - before, 1) / Follow.policy_frequency
        leader = np.column_stack((world.leader, (speed - speed[before]) / seconds))
        return cls(leader, world.follower, world.lengths[world.track], row)


class Follow(Scenario):
    """A recorded leader to follow, from a file of `infogail import`; without one it has a spec, but cannot be driven.

    Args:
        recording: the recording, or the path of its file.
    """

    name = "follow"
    num_vehicles = 2
    styles = (Style("human"),)  # the drivers are unlabelled
    world_type = FollowedLeaders
    steers = False
    usable_as_traffic = True
    steering_range = (-0.3, 0.3)  # of highway-env's other action types
    screen = (1200, 200)
    policy_frequency = simulation_frequency = 10
    fixed_settings = ("simulation_frequency", "policy_frequency", "show_trajectories", "vehicle_class")
    horizon = FOLLOW_STEPS
    features = ("speed", "gap", "closing", "relative_gap", "leader_acceleration", "last_acceleration")
    style_features = ("relative_gap",)
    path_axes = ("ahead of the leader [m]", "to its left [m]")
    style_tolerance = 0.15

    def __init__(self, recording: Recording | str | os.PathLike[str] | None = None) -> None:
        self._tables: Converted[Tables] | None = None
        self.draws = {"demonstration": Draw(0.0, 1.0)}  # rounded down
        if isinstance(recording, str | os.PathLike):
            recording = Recording.load(Path(recording), Follow())
        if recording is not None:
            assert isinstance(recording.world, FollowedLeaders)
            self._enter(recording.world)

    @classmethod
    def of_world(cls, world: FollowedLeaders, horizon: int = FOLLOW_STEPS) -> Follow:
        """The scenario of the windows of a `world`, each of which has `horizon` + 1 rows."""
        follow = cls()
        follow._enter(world)
        follow.horizon = horizon
        return follow

    def _enter(self, world: FollowedLeaders) -> None:
        self._tables = Converted(Tables.of(world))
        self.draws = {"demonstration": Draw(0.0, float(world.num_training[0]))}

    def with_recording(self, recording: Recording) -> Follow:
        return Follow(recording)

    def tables(self, like: Array) -> Tables:
        """The recording, in the type of `like` and on its device.

        Raises:
            BadInput: there is no recording.
        """
        if self._tables is None:
            raise BadInput("follow: has no recording; give recording=FILE, a file from 'infogail import'")
        return self._tables.like(like)

    @property
    def recommended(self) -> dict[str, Any]:
        """A gap changes over many seconds, hence the discount; with few long episodes and few iterations, drivers stay
        close to people. Each code is compared with the people who were given it."""
        return super().recommended | {
            "num_codes": 3,
            "num_envs": 256,
            "iterations": 15,
            "settling_iterations": None,
            "gamma": 0.99,
            "info_coef": 0.1,
            "discriminator_reads_code": True,
        }

    @property
    def view(self) -> View:
        """Follows the ego, with its leader in the picture."""

        def camera(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
            return np.array((states[0, 0] + SHOWN_LENGTH / 4, 0.0)), 1120 / SHOWN_LENGTH

        return View(
            (1120, 120),
            camera=camera,
            detail=lambda states, scene: headway_in_words(float(self.headway(states))),
            phrase="",
        )

    def complete(self, states: np.ndarray, scene: Scene) -> np.ndarray:
        return self.recorded_states(np.array([int(scene["demonstration"])]))[0]

    def demonstration(self, scene: Scene) -> Array:
        return demonstration_of(scene)

    def leader(self, like: Array, scene: Scene, elapsed: Array) -> Array:
        """(..., 7): the leader's state, `elapsed` (...) decisions after the start, in the type of `like`."""
        tables, e = self.tables(like), demonstration_of(scene)
        x, speed, acceleration = _columns(tables.leader[tables.row[e] + elapsed])
        return FollowState.stack(x, speed, acceleration, tables.length[e][..., 1])

    def follower(self, like: Array, scene: Scene, elapsed: Array) -> Array:
        """(..., 7): the recorded driver's state, in whose place the ego begins."""
        tables, e = self.tables(like), demonstration_of(scene)
        x, speed, acceleration = _columns(tables.follower[tables.row[e] + elapsed])
        return FollowState.stack(x, speed, acceleration, tables.length[e][..., 0])

    def recorded_states(self, demonstrations: np.ndarray) -> np.ndarray:
        """(n, T + 1, 2, 7): the recorded states during windows (n,)."""
        scene, elapsed = {"demonstration": demonstrations[:, None] + 0.0}, np.arange(self.horizon + 1)
        like = scene["demonstration"]
        return np.stack((self.follower(like, scene, elapsed), self.leader(like, scene, elapsed)), -2)

    def initial_states(self, scene: Scene) -> Array:
        """(1, 4, ...): the ego alone; the leader is looked up."""
        ego = self._start(scene)
        return array_namespace(ego).moveaxis(ego[..., :4], -1, 0)[None]

    def begin(self, scene: Scene) -> Tensor:
        import torch

        from infogail.envs.physics.dynamics import Car, initial_traffic

        ego = FollowState(*_columns(self._start(scene)))
        traffic = initial_traffic(torch.stack((ego.x, ego.y, ego.heading, ego.speed))[:, None])
        traffic[Car._fields.index("acceleration"), 0] = ego.acceleration
        return traffic

    def move(
        self, traffic: Tensor, acceleration: Tensor, steering: Tensor, scene: Scene, elapsed: Tensor, thorough: bool
    ) -> Tensor:
        """As highway-env's `Road.step`: ego and leader move, then they are checked for contact. The ego stops rather
        than reverses, as `Follower`."""
        import torch

        from infogail.envs.physics.dynamics import as_car, contact, initial_traffic, vehicle_step

        dt, ego = 1 / self.simulation_frequency, as_car(traffic[:, 0])
        ego = vehicle_step(ego._replace(acceleration=acceleration.maximum(-ego.speed / dt)), None, dt)
        ahead = FollowState(*_columns(self.leader(traffic, scene, elapsed + 1)))
        leader = as_car(initial_traffic(torch.stack(ahead[:4])))
        sizes = (self._ego_length(traffic, scene), Vehicle.WIDTH), (ahead.length, Vehicle.WIDTH)
        intersecting, will_intersect, push_x, push_y = contact(ego, leader, dt, *sizes)
        ego = ego._replace(
            impact_x=torch.where(will_intersect, push_x / 2, ego.impact_x),
            impact_y=torch.where(will_intersect, push_y / 2, ego.impact_y),
            crashed=ego.crashed | intersecting,
            struck=ego.struck | will_intersect,
        )
        return torch.stack([field.to(traffic) for field in ego])[:, None]

    def states(self, traffic: Tensor, scene: Scene, elapsed: Tensor) -> Tensor:
        import torch

        from infogail.envs.physics.dynamics import as_car

        ego, leader = as_car(traffic[:, 0]), self.leader(traffic, scene, elapsed)
        length = self._ego_length(traffic, scene)
        state = FollowState(*ego[:5], length, torch.full_like(length, Vehicle.WIDTH))  # a crash may push it aside
        return torch.stack((torch.stack(state, -1), leader), -2)

    def followed(self, window: int) -> np.ndarray:
        (states,) = self.recorded_states(np.array([window]))
        ego, leader = FollowState.of(states)
        return np.stack((ego.speed, np.ones(len(states)), self.gap(states), ego.speed - leader.speed))

    def demonstrations(self, windows: np.ndarray) -> Demonstrations:
        """What the recorded drivers observed and did in windows (n,)."""
        states = self.recorded_states(windows)
        observations = np.stack(self.observe(states[:, :-1], {}), -1)
        actions = states[:, 1:, 0, 4] / ACCELERATION_RANGE[1]
        bounds = self.horizon * np.arange(len(windows) + 1)
        rows = observations.reshape(-1, len(self.features)).astype(np.float32)
        return Demonstrations(self.spec, rows, actions.reshape(-1, 1).astype(np.float32), bounds)

    def _ego_length(self, like: Array, scene: Scene) -> Array:
        return self.tables(like).length[demonstration_of(scene)][..., 0]

    def states_of(self, vehicles: list[Vehicle], scene: Scene) -> np.ndarray:
        ego, leader = vehicles
        assert isinstance(leader, RecordedVehicle)
        state = (*ego.position, ego.heading, ego.speed, ego.action["acceleration"], ego.LENGTH, ego.WIDTH)
        return np.stack((np.array(state, np.float64), leader.recorded))

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        ego, leader = FollowState.of(states)
        gap = self.gap(states)
        return [
            ego.speed / 10.0,
            gap / 20.0,
            (ego.speed - leader.speed) / 5.0,
            self.relative_gap(states),
            leader.acceleration / 2.0,
            ego.acceleration / 2.0,
        ]

    def gap(self, states: Array) -> Array:
        """(...) [m] from bumper to bumper, in states (..., 2, 7)."""
        ego, leader = FollowState.of(states)
        return leader.x - ego.x - (leader.length + ego.length) / 2

    def relative_gap(self, states: Array) -> Array:
        """(...): logarithm of the gap as a multiple of the one usual at the ego's speed, so that styles can be compared
        at all speeds."""
        xp, (ego, _) = array_namespace(states), FollowState.of(states)
        return xp.log(
            xp.clip(self.gap(states), CLOSEST, None) / (USUAL_GAP + USUAL_HEADWAY * xp.clip(ego.speed, 0.0, None))
        )

    def headway(self, states: Array) -> Array:
        """(...) [s]: the gap at the ego's speed, or at 1 m/s if it is slower; at most `LONGEST_HEADWAY`."""
        return headway(self.gap(states), FollowState.of(states)[0].speed)

    def off_road(self, states: Array, scene: Scene) -> Array:
        return abs(states[..., 0, 1]) > LANE_WIDTH / 2

    def path(self, states: np.ndarray, scene: Scene) -> np.ndarray:
        ego, leader = FollowState.of(states)
        return np.stack((ego.x - leader.x, leader.y - ego.y), -1)

    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        return vehicle.x, vehicle.y

    def sizes(self, states: np.ndarray) -> np.ndarray:
        return states[0, :, 5:]

    def style(self, states: Array, scene: Scene) -> Array:
        """The drivers are unlabelled: all have the same style."""
        xp = array_namespace(states)
        return xp.zeros(states.shape[1:-2], dtype=xp.int64)

    def style_value(self, states: Array, scene: Scene) -> Array:
        """(...) [s]: the mean headway."""
        return array_namespace(states).mean(self.headway(states), axis=0)

    def road_network(self, scene: Scene) -> RoadNetwork:
        """One straight lane, as long as any leader drives."""
        end = float(self.tables(scene["demonstration"]).leader[:, 0].max())
        network = RoadNetwork()
        lines = (LineType.CONTINUOUS_LINE, LineType.CONTINUOUS_LINE)
        network.add_lane("0", "1", StraightLane((-ROAD_BEYOND, 0.0), (end + ROAD_BEYOND, 0.0), line_types=lines))
        return network

    def vehicles(self, road: Road, scene: Scene) -> list[Vehicle]:
        elapsed = np.arange(self.horizon + 1)
        recorded = self.leader(
            scene["demonstration"], {"demonstration": scene["demonstration"] + 0.0 * elapsed}, elapsed
        )
        return [Follower(road, self._start(scene)), RecordedVehicle(road, recorded)]

    def _start(self, scene: Scene) -> Array:
        return self.follower(scene["demonstration"], scene, 0)


def headway(gap: Array, speed: Array) -> Array:
    """(...) [s] of gaps (...) [m] at speeds (...) [m/s], see `Follow.headway`."""
    xp = array_namespace(gap)
    return xp.clip(gap / xp.clip(speed, MIN_SPEED, None), 0.0, LONGEST_HEADWAY)


def _columns(rows: Array) -> list[Array]:
    """The entries of the last axis of `rows` (..., n), each (...)."""
    return [rows[..., k] for k in range(rows.shape[-1])]
