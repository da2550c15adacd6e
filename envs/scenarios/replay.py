"""Replay: recorded traffic, in which the ego takes the place of one recorded driver and the others do what they did.

All quantities along the road are measured in its own frame: s [m] along a reference line made of lanelets, d [m] across
it, positive rightwards. States have four columns more than elsewhere, (..., V, 8) = x, y, heading, speed, s, d, length,
width, because recorded cars differ in size, and because where the others were can be looked up, not computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from array_api_compat import array_namespace
from highway_env.road.lane import AbstractLane, LineType, PolyLaneFixedWidth
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.graphics import VehicleGraphics
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

from infogail.envs.errors import BadInput
from infogail.envs.physics.dynamics import Slip, as_car, contact, undamaged, vehicle_step
from infogail.envs.recordings.roadway import SPACING, place
from infogail.envs.scenarios.highway import (
    LONGEST_HEADWAY,
    SENSOR_RANGE,
    SIDES,
    Highway,
    headway_in_words,
    next_in_lane,
)
from infogail.envs.scenarios.scenario import EPISODE_STEPS, Array, Characters, Draw, Scenario, Scene, VehicleState
from infogail.envs.scenarios.view import LOOK_AHEAD, View

if TYPE_CHECKING:
    from infogail.envs.data.demonstrations import Recording
    from infogail.envs.data.world import Replays

FAR = 1e6  # [m], where cars are that are not there
ABSENT = (FAR, FAR, 0.0, 0.0, FAR, FAR, 0.0, 0.0)
COARSE = 8  # reference points from one to the next in the first look for the nearest
MARGIN = 1.0  # [m]: who is so near to a lane counts for it, as in `Road.neighbour_vehicles`
S, D, LENGTH, WIDTH = 4, 5, 6, 7  # columns of states
BURN_IN = 10  # decisions that a person takes, from which a code is read, before anybody else takes over
SHOWN_LENGTH, LARGEST_SHIFT = 140.0, 11.0  # [m] of the road in a film; how far from its middle the ego may be


class Tables(NamedTuple):
    """What was recorded, ready to be looked up, as tensors or arrays of one type. K scenes, P points, R rows."""

    others: Array  # (R, V, 8): all cars of a scene at a time; see `ABSENT`
    starts: Array  # (E, 4): the ego's state at the beginning of each demonstration
    size: Array  # (E, 2) [m]: its length and width
    reference: Array  # (K, P, 4): x, y [m], heading [rad], curvature [1/m]
    edges: Array  # (K, P, M + 1) [m]: of the lanes, from left to right; the last is repeated where there are fewer
    scene: Array  # (E,) int64
    car: Array  # (E,) int64
    row: Array  # (E,) int64

    @classmethod
    def of(cls, world: Replays, starts: np.ndarray) -> Tables:
        """Of a world in whose demonstrations the ego begins in `starts` (E, 4)."""
        rows_of_scene = np.diff(world.first_row)
        sizes = np.repeat(world.sizes, rows_of_scene, axis=0)
        others = np.concatenate((world.states, world.places, sizes), -1)
        others[~world.present] = ABSENT
        points = np.diff(world.first_point)
        reference = np.full((len(points), points.max(), 4), FAR)
        edges = np.zeros((len(points), points.max(), world.edges.shape[1]))
        for k, (first, last) in enumerate(zip(world.first_point[:-1], world.first_point[1:], strict=True)):
            reference[k, : last - first], edges[k, : last - first] = (
                world.reference[first:last],
                world.edges[first:last],
            )
        scene, car = world.demonstration_scene, world.demonstration_car
        return cls(others, starts, world.sizes[scene, car], reference, edges, scene, car, world.demonstration_row)


class Replay(Scenario):
    """Needs a recording, a file from `infogail import`; without one it only tells what it observes."""

    name = road = "replay"
    styles = ("human",)  # nobody labelled these drivers
    style_mix = None
    graded = False
    recorded = True
    steering_range = (-0.3, 0.3)
    screen = (1200, 400)
    policy_frequency = simulation_frequency = 10
    # One recorded state per physics step, for as long as an episode lasts; cars have their own sizes, and no history.
    fixed_settings = ("simulation_frequency", "policy_frequency", "show_trajectories", "vehicle_class")
    compilable = False
    features = (*Highway.features, "curvature", "length", "width")
    # Nobody labelled these drivers; how near they follow is what divides them, whatever the lane and the traffic.
    style_features = ("headway", "leader_closing")
    style_tolerance = 0.15

    def __init__(self, recording: Recording | None = None) -> None:
        self.num_vehicles = 1
        self._tables: dict[Any, Tables] = {}
        self.draws = {"demonstration": Draw(0.0, 1.0)}  # rounded down
        if recording is not None:
            assert recording.world is not None
            firsts = recording.demonstrations.episode_bounds[:-1] + np.arange(recording.demonstrations.num_episodes)
            self._enter(recording.world, recording.vehicle_states[firsts, 0])

    @classmethod
    def of_world(cls, world: Replays, starts: np.ndarray) -> Replay:
        """Of a world in whose demonstrations the ego begins in `starts` (E, 4), while nobody has observed it yet."""
        replay = cls()
        replay._enter(world, starts)
        return replay

    def _enter(self, world: Replays, starts: np.ndarray) -> None:
        self._tables[None] = Tables.of(world, starts)
        self.num_vehicles = 1 + self._tables[None].others.shape[1]
        self.draws = {"demonstration": Draw(0.0, float(world.num_training[0]))}

    @property
    def view(self) -> View:
        """With the ego, more of the road ahead than behind; in the middle across it, if the ego is near that."""
        width = 1120

        def heading(states: np.ndarray, scene: Scene) -> float:
            return float(self.lane_middle(states[0, S], np.asarray(0), scene)[1])

        def camera(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
            outermost = [0, self.num_lanes(states, scene) - 1]
            middle = np.mean([self.lane_middle(states[0, S], np.asarray(lane), scene)[0] for lane in outermost])
            shift = np.clip(middle - states[0, D], -LARGEST_SHIFT, LARGEST_SHIFT)
            cos, sin = np.cos(heading(states, scene)), np.sin(heading(states, scene))
            centre = states[0, :2] + (LOOK_AHEAD * np.array([cos, sin]) + shift * np.array([-sin, cos]))
            return centre, width / SHOWN_LENGTH

        return View(
            (width, 240),
            camera=camera,
            heading=heading,
            detail=lambda states, scene: headway_in_words(float(self.headway(states, scene))),
            prelude=(BURN_IN, "as the person did"),
            phrase="",
        )

    @property
    def _recorded(self) -> Tables:
        """As arrays.

        Raises:
            BadInput: there is no recording.
        """
        if not self._tables:
            raise BadInput("replay: has nothing to replay; give recording=FILE, one from 'infogail import'")
        return self._tables[None]

    def tables(self, like: Array) -> Tables:
        """The recording, in the type of `like` and where it is."""
        if not isinstance(like, Tensor):
            return self._recorded
        kind = (like.dtype, like.device)
        if kind not in self._tables:
            tensors = [torch.from_numpy(np.ascontiguousarray(table)).to(like.device) for table in self._recorded]
            self._tables[kind] = Tables(*(t.to(like.dtype) if t.is_floating_point() else t for t in tensors))
        return self._tables[kind]

    def initial_states(self, scene: Scene) -> Array:
        starts = self.tables(scene["demonstration"]).starts[_whole(scene["demonstration"])]
        return array_namespace(starts).moveaxis(starts, -1, 0)[None]

    def begin(self, scene: Scene) -> Tensor:
        return undamaged(self.initial_states(scene).transpose(0, 1))

    def move(
        self, traffic: Tensor, acceleration: Tensor, steering: Tensor, scene: Scene, elapsed: Tensor, thorough: bool
    ) -> Tensor:
        """As `Road.step` of highway-env: everybody moves, then contacts are looked for, in the order of the list."""
        tables, dt = self.tables(traffic), 1 / self.simulation_frequency
        ego = as_car(traffic[:, 0])
        length, width = tables.size[_whole(scene["demonstration"])].unbind(-1)
        moved = vehicle_step(ego._replace(acceleration=acceleration), Slip.of(steering), dt)
        # The bicycle model of `infogail.envs.physics.dynamics` is of highway-env's usual length.
        ego = moved._replace(heading=ego.heading + (moved.heading - ego.heading) * (Vehicle.LENGTH / length))
        others = self._others(tables, scene, elapsed + 1)
        reach = (length.hypot(width)[:, None] + others[..., LENGTH].hypot(others[..., WIDTH])) / 2
        distance = (others[..., 0] - ego.x[:, None]).hypot(others[..., 1] - ego.y[:, None])
        env, other = (distance <= reach + (ego.speed * dt + 1e-3)[:, None]).nonzero(as_tuple=True)
        if len(env):
            touched = others[env, other]
            b = as_car(undamaged(touched[:, :4].T[:, None]).squeeze(1))
            a = type(ego)(*(field[env] for field in ego))
            sizes = (length[env], width[env]), (touched[:, LENGTH], touched[:, WIDTH])
            intersecting, will_intersect, push_x, push_y = contact(a, b, dt, *sizes)
            crashed, struck, impact_x, impact_y = (
                field.clone() for field in (ego.crashed, ego.struck, ego.impact_x, ego.impact_y)
            )
            crashed[env[intersecting]] = True
            struck[env[will_intersect]] = True
            for k in will_intersect.nonzero().squeeze(-1).tolist():  # the last one counts; there are hardly any
                impact_x[env[k]], impact_y[env[k]] = push_x[k] / 2, push_y[k] / 2
            ego = ego._replace(crashed=crashed, struck=struck, impact_x=impact_x, impact_y=impact_y)
        return torch.stack([field.to(traffic) for field in ego])[:, None]

    def states(self, traffic: Tensor, scene: Scene, elapsed: Tensor) -> Tensor:
        tables = self.tables(traffic)
        ego = self._with_place(traffic[:4, 0].T, scene, tables)
        return torch.cat((ego[:, None], self._others(tables, scene, elapsed)), 1)

    def states_of(self, vehicles: list[Vehicle], scene: Scene) -> np.ndarray:
        ego, *others = vehicles
        own = np.array((*ego.position, ego.heading, ego.speed), dtype=np.float64)
        tables = self.tables(own)
        states = np.empty((self.num_vehicles, 8))
        states[:] = ABSENT
        states[0] = self._with_place(own, scene, tables)
        for other in others:
            states[1 + other.column] = other.recorded
        return states

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        """As on a highway, where gaps are from bumper to bumper; then the road's curvature and the ego's size."""
        xp, ego = array_namespace(states), states[..., 0, :]
        reference, edges = self._road_at(ego[..., S], scene, self.tables(states))
        lane = _lane(ego[..., D], edges)
        lanes = [_edges_of(lane + side, edges) for side in SIDES.values()]
        slots = [slot for bounds in lanes for slot in self._neighbours(states, *bounds)]
        left, right = lanes[0]
        turned = xp.remainder(ego[..., 2] - reference[..., 2] + np.pi, 2 * np.pi) - np.pi
        return [
            (ego[..., D] - (left + right) / 2) / 2.0,
            turned / 0.1,
            (ego[..., 3] - 20.0) / 10.0,
            self._headway(slots[0], ego[..., 3]) / 2.0,
            xp.where(lane > 0, 1.0, 0.0),
            xp.where(lane < _count(edges) - 1, 1.0, 0.0),
            *(feature for present, gap, closing in slots for feature in (present, gap / 50.0, closing / 10.0)),
            100.0 * reference[..., 3],
            (ego[..., LENGTH] - Vehicle.LENGTH) / 5.0,
            ego[..., WIDTH] - Vehicle.WIDTH,
        ]

    def observations(self, vehicle_states: np.ndarray) -> np.ndarray:
        """(N, F) float32: what the egos of all demonstrations saw, who drove through `vehicle_states` (N + E, 1, 4)."""
        tables, steps = self._recorded, EPISODE_STEPS + 1
        seen = []
        for e, ego in enumerate(vehicle_states[:, 0].reshape(-1, steps, 4)):
            scene = {"demonstration": np.float64(e)}
            others = tables.others[tables.row[e] :][:steps].copy()
            others[:, tables.car[e]] = ABSENT
            states = np.concatenate((self._with_place(ego, scene, tables)[:, None], others), 1)
            seen.append(np.stack(self.observe(states, scene), -1)[:-1])
        return np.concatenate(seen).astype(np.float32)

    def off_road(self, states: Array, scene: Scene) -> Array:
        _, edges = self._road_at(states[..., 0, S], scene, self.tables(states))
        across = states[..., 0, D]
        return (across < edges[..., 0]) | (across > edges[..., -1])

    def lane_offset(self, states: Array, scene: Scene) -> Array:
        """From the middle of the ego's lane, positive rightwards."""
        _, edges = self._road_at(states[..., 0, S], scene, self.tables(states))
        across = states[..., 0, D]
        left, right = _edges_of(_lane(across, edges), edges)
        return across - (left + right) / 2

    def lane(self, states: Array, scene: Scene) -> Array:
        """(...): number of the ego's lane, from the left."""
        _, edges = self._road_at(states[..., 0, S], scene, self.tables(states))
        return _lane(states[..., 0, D], edges)

    def num_lanes(self, states: Array, scene: Scene) -> Array:
        """(...): how many there are side by side where the ego is."""
        return _count(self._road_at(states[..., 0, S], scene, self.tables(states))[1])

    def lane_middle(self, s: Array, lane: Array, scene: Scene) -> tuple[Array, Array]:
        """Of lane number `lane` (...) at s (...) [m]: d of its middle [m], and the reference line's heading [rad].

        Where there are fewer lanes, of the last.
        """
        xp = array_namespace(s)
        reference, edges = self._road_at(s, scene, self.tables(s))
        left, right = _edges_of(xp.clip(lane, 0, _count(edges) - 1), edges)
        return (left + right) / 2, reference[..., 2]

    def relative_speed(self, states: Array, scene: Scene) -> Array:
        """(...) [m/s]: the ego's speed less the mean speed of the others in its lane within `SENSOR_RANGE`; NaN if
        there are none."""
        xp, others = array_namespace(states), states[..., 1:, :]
        _, edges = self._road_at(states[..., 0, S], scene, self.tables(states))
        left, right = _edges_of(_lane(states[..., 0, D], edges), edges)
        across = others[..., D]
        there = (across >= left[..., None]) & (across <= right[..., None])
        there = there & (abs(others[..., S] - states[..., :1, S]) <= SENSOR_RANGE)
        number = xp.sum(xp.where(there, 1.0, 0.0), axis=-1)
        total = xp.sum(xp.where(there, others[..., 3], 0.0), axis=-1)
        return states[..., 0, 3] - xp.where(number > 0, total / xp.clip(number, 1.0, None), np.nan)

    def recorded_states(self, demonstration: int) -> np.ndarray:
        """(T + 1, V, 8): what was recorded in the time of a demonstration, its driver first."""
        tables = self._recorded
        first, car = int(tables.row[demonstration]), int(tables.car[demonstration])
        window = tables.others[first : first + EPISODE_STEPS + 1]
        ego, others = window[:, [car]], window.copy()
        others[:, car] = ABSENT
        return np.concatenate((ego, others), axis=1)

    def distance(self, states: Array, scene: Scene) -> Array:
        return states[..., 0, S]

    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        """Along the reference line and across it, positive rightwards."""
        tables = self.tables(vehicle.x)
        return self._place(vehicle.x, vehicle.y, tables.scene[_whole(scene["demonstration"])], tables.reference)

    def headway(self, states: Array, scene: Scene) -> Array:
        """(...) [s] from bumper to bumper to the leader in the ego's lane, at most `LONGEST_HEADWAY`.

        Unlike what the ego observes it takes no account of those beside the lane, however near.
        """
        return self._headway(self.neighbours(states, self.lane(states, scene), scene)[0], states[..., 0, 3])

    def neighbours(self, states: Array, lane: Array, scene: Scene) -> list[tuple[Array, Array, Array]]:
        """Leader and follower, as `next_in_lane` has them, among those whose middle is in lane number `lane` (...)."""
        _, edges = self._road_at(states[..., 0, S], scene, self.tables(states))
        return self._neighbours(states, *_edges_of(lane, edges), margin=0.0)

    def style(self, states: Array, scene: Scene, characters: Characters | None = None) -> Array:
        """Nobody labelled these drivers: all have the same."""
        xp = array_namespace(states)
        return xp.zeros(states.shape[1:-2], dtype=xp.int64)

    def road_network(self, scene: Scene) -> RoadNetwork:
        """The lanes of the recording as highway-env has them, of the width that they have in the mean."""
        tables, network = self._recorded, RoadNetwork()
        k = int(tables.scene[int(scene["demonstration"])])
        points = tables.reference[k][tables.reference[k, :, 0] < FAR]
        edges = tables.edges[k, : len(points)]
        across = np.stack((-np.sin(points[:, 2]), np.cos(points[:, 2])), -1)
        wide = np.diff(edges) > MARGIN
        lanes = np.flatnonzero(wide.sum(0) > 1).tolist()
        for lane in lanes:
            there = wide[:, lane]
            middle = edges[there, lane : lane + 2].mean(1, keepdims=True)
            line = points[there, :2] + middle * across[there]
            # `CONTINUOUS_LINE` would be straight; what is striped to the left ends the lane beside.
            left = LineType.CONTINUOUS if lane == lanes[0] else LineType.STRIPED
            right = LineType.CONTINUOUS if lane == lanes[-1] else LineType.NONE
            width = float(np.diff(edges[there, lane : lane + 2]).mean())
            network.add_lane("0", "1", PolyLaneFixedWidth(line[::COARSE].tolist(), width, (left, right)))
        return network

    def vehicles(self, road: Road, scene: Scene) -> list[Vehicle]:
        """The ego, and those who are there at some time of the episode, in the recording's order."""
        tables, e = self._recorded, int(scene["demonstration"])
        ego = Replaced(road, tables.starts[e], *tables.size[e].tolist())
        first = int(tables.row[e])
        window = tables.others[first : first + EPISODE_STEPS + 1].copy()
        window[:, tables.car[e]] = ABSENT
        there = np.flatnonzero((window[..., 0] < FAR).any(0)).tolist()
        return [ego, *(RecordedVehicle(road, window[:, column], column) for column in there)]

    def _others(self, tables: Tables, scene: Scene, elapsed: Tensor) -> Tensor:
        """(B, V, 8) so many decisions after the start."""
        e = _whole(scene["demonstration"])
        others = tables.others[tables.row[e] + elapsed]
        others[torch.arange(len(e)), tables.car[e]] = others.new_tensor(ABSENT)
        return others

    def _with_place(self, ego: Array, scene: Scene, tables: Tables) -> Array:
        """(..., 8) of x, y, heading, speed (..., 4)."""
        xp, e = array_namespace(ego), _whole(scene["demonstration"])
        place = self._place(ego[..., 0], ego[..., 1], tables.scene[e], tables.reference)
        size = xp.broadcast_to(tables.size[e], (*ego.shape[:-1], 2))
        return xp.concat((ego, xp.stack(place, axis=-1), size), axis=-1)

    @staticmethod
    def _place(x: Array, y: Array, scene: Array, reference: Array) -> tuple[Array, Array]:
        """s and d (...) [m] of points, as `recordings.roadway.place` has it, but by a coarse look first."""
        xp = array_namespace(x)
        coarse = reference[:, ::COARSE][scene]
        nearest = xp.argmin((coarse[..., 0] - x[..., None]) ** 2 + (coarse[..., 1] - y[..., None]) ** 2, axis=-1)
        first = xp.clip(COARSE * (nearest - 1), 0, max(reference.shape[1] - 1 - 2 * COARSE, 0))
        around = first[..., None] + xp.arange(min(2 * COARSE + 1, reference.shape[1]), dtype=first.dtype)
        along, across = place(x, y, reference[scene[..., None], around])
        return SPACING * xp.astype(first, x.dtype) + along, across

    @staticmethod
    def _road_at(s: Array, scene: Scene, tables: Tables) -> tuple[Array, Array]:
        """The reference line (..., 4) and the edges of the lanes (..., M + 1) at s (...) [m]."""
        xp, k = array_namespace(s), tables.scene[_whole(scene["demonstration"])]
        i = xp.astype(xp.clip(xp.round(s / SPACING), 0, tables.reference.shape[1] - 1), xp.int64)
        return tables.reference[k, i], tables.edges[k, i]

    @staticmethod
    def _neighbours(
        states: Array, left: Array, right: Array, margin: float = MARGIN
    ) -> list[tuple[Array, Array, Array]]:
        """Leader and follower between two edges (...) [m] of a lane, as `next_in_lane` has them."""
        ego, others = states[..., :1, :], states[..., 1:, :]
        across = others[..., D]
        there = (across >= left[..., None] - margin) & (across <= right[..., None] + margin)
        bodies = (ego[..., LENGTH] + others[..., LENGTH]) / 2
        return next_in_lane(there, others[..., S] - ego[..., S], ego[..., 3] - others[..., 3], bodies)

    @staticmethod
    def _headway(leader: tuple[Array, Array, Array], speed: Array) -> Array:
        xp = array_namespace(speed)
        present, gap, _ = leader
        headway = xp.clip(gap / xp.clip(speed, 1.0, None), 0.0, LONGEST_HEADWAY)
        return xp.where(present > 0, headway, LONGEST_HEADWAY)


class _Measured(Vehicle):
    """A car of its own size, whose lane is looked up when somebody asks: on recorded roads that takes longest."""

    def __init__(self, road: Road, state: np.ndarray, length: float, width: float) -> None:
        x, y, heading, speed = state.tolist()
        super().__init__(None, (x, y), heading, speed)
        self.road = road
        self._resize(length, width)

    @property
    def lane_index(self) -> tuple[str, str, int]:
        return self.road.network.get_closest_lane_index(self.position, self.heading)

    @lane_index.setter
    def lane_index(self, index: None) -> None: ...

    @property
    def lane(self) -> AbstractLane:
        return self.road.network.get_lane(self.lane_index)

    @lane.setter
    def lane(self, lane: None) -> None: ...

    def on_state_update(self) -> None: ...

    def _resize(self, length: float, width: float) -> None:
        self.LENGTH, self.WIDTH = length, width
        self.diagonal = float(np.hypot(length, width))


class Replaced(_Measured):
    """The ego, in the place of a recorded driver."""


class RecordedVehicle(_Measured):
    """Is where it was recorded, whatever happens; it does not look for collisions, the ego does."""

    def __init__(self, road: Road, recorded: np.ndarray, column: int) -> None:
        self._to_come = iter(recorded)
        self.recorded = next(self._to_come)  # (8,): a row of `Tables.others`
        self.column = column  # of the recording
        super().__init__(road, self.recorded[:4], *self.recorded[[LENGTH, WIDTH]].tolist())
        self.check_collisions = False
        self.color = VehicleGraphics.DEFAULT_COLOR

    def step(self, dt: float) -> None:
        """Go to where it was next; `dt` is the recording's."""
        self.recorded = next(self._to_come, self.recorded)
        x, y, self.heading, self.speed, _, _, length, width = self.recorded.tolist()
        self.position = np.array((x, y))
        self._resize(length, width)


def _whole(demonstration: Array) -> Array:
    """(...) int64: a drawn number, rounded down."""
    xp = array_namespace(demonstration)
    return xp.astype(xp.floor(demonstration), xp.int64)


def _count(edges: Array) -> Array:
    """(...): how many lanes edges (..., M + 1) make."""
    xp = array_namespace(edges)
    return xp.sum(xp.where(xp.diff(edges, axis=-1) > 0, 1, 0), axis=-1)


def _lane(across: Array, edges: Array) -> Array:
    """(...): number of the lane, from the left, at `across` (...) [m]; beside the road that of the nearest."""
    xp = array_namespace(across)
    return xp.clip(xp.sum(xp.where(across[..., None] > edges[..., 1:], 1, 0), axis=-1), 0, _count(edges) - 1)


def _edges_of(lane: Array, edges: Array) -> tuple[Array, Array]:
    """Left and right edge (...) [m] of lane number `lane` (...); where there is none, left is right of right."""
    xp = array_namespace(edges)
    number = xp.arange(edges.shape[-1] - 1, dtype=lane.dtype)
    chosen = (number == lane[..., None]) & (lane < _count(edges))[..., None]
    left, right = (xp.sum(xp.where(chosen, some, 0.0), axis=-1) for some in (edges[..., :-1], edges[..., 1:]))
    there = xp.any(chosen, axis=-1)
    return xp.where(there, left, FAR), xp.where(there, right, -FAR)
