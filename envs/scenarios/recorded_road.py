"""Recorded traffic on its road, for lookup and measurement, as arrays or tensors.

All quantities along the road are measured in its own frame: s [m] along a reference line made of lanelets, d [m] across
it, positive rightwards. Functions take NumPy arrays and torch tensors alike; `...` are arbitrary leading dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_torch_array
from highway_env.road.lane import LineType, PolyLaneFixedWidth
from highway_env.road.road import RoadNetwork

from infogail.envs.data.world import RecordedWorld
from infogail.envs.physics.neighbours import LONGEST_HEADWAY, SENSOR_RANGE, next_in_lane
from infogail.envs.physics.roads import SPACING, place
from infogail.envs.physics.state import Array, Scene

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T", bound=tuple)

FAR = 1e6  # [m], the position of absent cars
COARSE = 8  # stride, in reference points, of the coarse search for the nearest
MARGIN = 1.0  # [m]: a car this close to a lane counts as in it, as in `Road.neighbour_vehicles`


class RecordedState(NamedTuple):
    """States (..., 8) of recorded traffic, each field (...): cars differ in size, and have their road coordinates."""

    x: Array  # [m]
    y: Array  # [m]
    heading: Array  # [rad]
    speed: Array  # [m/s]
    s: Array  # [m] along the road
    d: Array  # [m] across it
    length: Array  # [m]
    width: Array  # [m]

    @classmethod
    def of(cls, states: Array) -> RecordedState:
        """Views on the last axis of `states` (..., 8)."""
        return cls(*(states[..., k] for k in range(8)))


ABSENT = RecordedState(FAR, FAR, 0.0, 0.0, FAR, FAR, 0.0, 0.0)


class Tables(NamedTuple):
    """The recording, as tensors or arrays of one type. K scenes, P points, R rows, E demonstrations."""

    others: Array  # (R, V, 8): all cars of a scene at one step; see `ABSENT`
    starts: Array  # (E, 4): the ego's state at the beginning of each demonstration
    size: Array  # (E, 2) [m]: its length and width
    reference: Array  # (K, P, 4): x, y [m], heading [rad], curvature [1/m]
    edges: Array  # (K, P, M + 1) [m]: of the lanes, from left to right; the last is repeated where there are fewer
    scene: Array  # (E,) int64
    car: Array  # (E,) int64
    row: Array  # (E,) int64

    @classmethod
    def of(cls, world: RecordedWorld, starts: np.ndarray) -> Tables:
        """The tables of a `world` in whose demonstrations the ego begins in `starts` (E, 4)."""
        rows_of_scene = np.diff(world.first_row)
        sizes = np.repeat(world.sizes, rows_of_scene, axis=0)
        others = np.concatenate((world.states, world.places, sizes), -1)
        others[~world.present] = ABSENT
        points = np.diff(world.first_point)
        reference = np.full((len(points), points.max(), 4), FAR)
        edges = np.zeros((len(points), points.max(), world.edges.shape[1]))
        for k, (first, last) in enumerate(zip(world.first_point[:-1], world.first_point[1:], strict=True)):
            reference[k, : last - first] = world.reference[first:last]
            edges[k, : last - first] = world.edges[first:last]
        scene, car = world.demonstration_scene, world.demonstration_car
        return cls(others, starts, world.sizes[scene, car], reference, edges, scene, car, world.demonstration_row)


class Converted(Generic[T]):
    """A named tuple of arrays, converted once to each type and device that is asked for."""

    def __init__(self, tables: T) -> None:
        self._tables: dict[Any, T] = {None: tables}

    def like(self, array: Array) -> T:
        """As tensors of the type of `array` and on its device, or, beside a NumPy array, as they are."""
        if not is_torch_array(array):
            return self._tables[None]
        import torch

        kind = (array.dtype, array.device)
        if kind not in self._tables:
            tensors = [torch.from_numpy(np.ascontiguousarray(table)).to(array.device) for table in self._tables[None]]
            made = (t.to(array.dtype) if t.is_floating_point() else t for t in tensors)
            self._tables[kind] = type(self._tables[None])(*made)
        return self._tables[kind]


class RecordedRoad:
    """The road and the traffic of a world; `scene` gives the demonstration whose driver the ego replaces.

    Args:
        starts: (E, 4), the state in which the ego begins in each demonstration.
        steps: decisions per demonstration.
    """

    def __init__(self, world: RecordedWorld, starts: np.ndarray, steps: int) -> None:
        self._world, self._starts, self._steps = world, starts, steps
        self._tables: Converted[Tables] | None = None

    def tables(self, like: Array) -> Tables:
        """The recording, in the type of `like` and on its device."""
        if self._tables is None:
            self._tables = Converted(Tables.of(self._world, self._starts))
        return self._tables.like(like)

    def others(self, like: Array, demonstration: Tensor, elapsed: Tensor) -> Tensor:
        """(B, V, 8): all cars but the ego, `elapsed` (B,) decisions after the start of a `demonstration` (B,)."""
        import torch

        tables = self.tables(like)
        others = tables.others[tables.row[demonstration] + elapsed]
        others[torch.arange(len(demonstration)), tables.car[demonstration]] = others.new_tensor(ABSENT)
        return others

    def window(self, demonstration: int) -> tuple[np.ndarray, np.ndarray]:
        """The recorded states during a demonstration: its driver (T + 1, 8), and the others (T + 1, V, 8)."""
        tables = self.tables(self._starts)
        first, car = int(tables.row[demonstration]), int(tables.car[demonstration])
        others = tables.others[first : first + self._steps + 1].copy()
        ego = others[:, car].copy()
        others[:, car] = ABSENT
        return ego, others

    def recorded_states(self, demonstration: int) -> np.ndarray:
        """(T + 1, V + 1, 8): the recorded states during a demonstration, its driver first."""
        ego, others = self.window(demonstration)
        return np.concatenate((ego[:, None], others), axis=1)

    def complete(self, ego: Array, scene: Scene) -> Array:
        """(..., 8): the ego's x, y, heading, speed (..., 4) with its road coordinates and its size."""
        xp, e, tables = array_namespace(ego), demonstration_of(scene), self.tables(ego)
        along_across = self.place(ego[..., 0], ego[..., 1], scene)
        size = xp.broadcast_to(tables.size[e], (*ego.shape[:-1], 2))
        return xp.concat((ego, xp.stack(along_across, axis=-1), size), axis=-1)

    def place(self, x: Array, y: Array, scene: Scene) -> tuple[Array, Array]:
        """s and d (...) [m] of points, as `physics.roads.place`, but with a coarse search first."""
        tables = self.tables(x)
        xp, k, reference = array_namespace(x), tables.scene[demonstration_of(scene)], tables.reference
        coarse = reference[:, ::COARSE][k]
        nearest = xp.argmin((coarse[..., 0] - x[..., None]) ** 2 + (coarse[..., 1] - y[..., None]) ** 2, axis=-1)
        first = xp.clip(COARSE * (nearest - 1), 0, max(reference.shape[1] - 1 - 2 * COARSE, 0))
        around = first[..., None] + xp.arange(min(2 * COARSE + 1, reference.shape[1]), dtype=first.dtype)
        along, across = place(x, y, reference[k[..., None], around])
        return SPACING * xp.astype(first, x.dtype) + along, across

    def at(self, s: Array, scene: Scene) -> tuple[Array, Array]:
        """The reference line (..., 4) and the edges of the lanes (..., M + 1) at s (...) [m]."""
        tables = self.tables(s)
        xp, k = array_namespace(s), tables.scene[demonstration_of(scene)]
        i = xp.astype(xp.clip(xp.round(s / SPACING), 0, tables.reference.shape[1] - 1), xp.int64)
        return tables.reference[k, i], tables.edges[k, i]

    def lane(self, states: Array, scene: Scene) -> Array:
        """(...): number of the ego's lane, from the left."""
        ego = RecordedState.of(states[..., 0, :])
        return lane_at(ego.d, self.at(ego.s, scene)[1])

    def num_lanes(self, states: Array, scene: Scene) -> Array:
        """(...): number of lanes side by side where the ego is."""
        return count_lanes(self.at(RecordedState.of(states[..., 0, :]).s, scene)[1])

    def lane_middle(self, s: Array, lane: Array, scene: Scene) -> tuple[Array, Array]:
        """For lane number `lane` (...) at s (...) [m]: d of its middle [m], and the reference line's heading [rad].

        Where there are fewer lanes, for the last.
        """
        reference, edges = self.at(s, scene)
        left, right = edges_of(array_namespace(s).clip(lane, 0, count_lanes(edges) - 1), edges)
        return (left + right) / 2, reference[..., 2]

    def neighbours(self, states: Array, lane: Array, scene: Scene) -> list[tuple[Array, Array, Array]]:
        """Leader and follower, as from `next_in_lane`, among the cars whose centre is in lane number `lane` (...)."""
        _, edges = self.at(RecordedState.of(states[..., 0, :]).s, scene)
        return neighbours_between(states, *edges_of(lane, edges), margin=0.0)

    def headway(self, states: Array, scene: Scene) -> Array:
        """(...) [s] from bumper to bumper to the leader in the ego's lane, at most `LONGEST_HEADWAY`.

        Unlike the headway that the ego observes, it ignores cars beside the lane, however near.
        """
        leader = self.neighbours(states, self.lane(states, scene), scene)[0]
        return headway_to(leader, RecordedState.of(states[..., 0, :]).speed)

    def relative_speed(self, states: Array, scene: Scene) -> Array:
        """(...) [m/s]: the ego's speed minus the mean speed of the others in its lane within `SENSOR_RANGE`; NaN if
        there are none."""
        xp, ego, others = array_namespace(states), *map(RecordedState.of, (states[..., :1, :], states[..., 1:, :]))
        _, edges = self.at(ego.s[..., 0], scene)
        left, right = edges_of(lane_at(ego.d[..., 0], edges), edges)
        near = (others.d >= left[..., None]) & (others.d <= right[..., None]) & (abs(others.s - ego.s) <= SENSOR_RANGE)
        number = xp.sum(xp.where(near, 1.0, 0.0), axis=-1)
        total = xp.sum(xp.where(near, others.speed, 0.0), axis=-1)
        return ego.speed[..., 0] - xp.where(number > 0, total / xp.clip(number, 1.0, None), np.nan)

    def network(self, scene: Scene) -> RoadNetwork:
        """highway-env's lanes, each of its mean width."""
        tables, network = self.tables(self._starts), RoadNetwork()
        k = int(tables.scene[int(scene["demonstration"])])
        points = tables.reference[k][tables.reference[k, :, 0] < FAR]
        edges = tables.edges[k, : len(points)]
        across = np.stack((-np.sin(points[:, 2]), np.cos(points[:, 2])), -1)
        wide = np.diff(edges) > MARGIN
        lanes = np.flatnonzero(wide.sum(0) > 1).tolist()
        for lane in lanes:
            on_lane = wide[:, lane]
            middle = edges[on_lane, lane : lane + 2].mean(1, keepdims=True)
            line = points[on_lane, :2] + middle * across[on_lane]
            # `CONTINUOUS_LINE` would be straight; a striped left line is also the right line of the lane beside.
            left = LineType.CONTINUOUS if lane == lanes[0] else LineType.STRIPED
            right = LineType.CONTINUOUS if lane == lanes[-1] else LineType.NONE
            width = float(np.diff(edges[on_lane, lane : lane + 2]).mean())
            network.add_lane("0", "1", PolyLaneFixedWidth(line[::COARSE].tolist(), width, (left, right)))
        return network


def demonstration_of(scene: Scene) -> Array:
    """(...) int64: index of the demonstration, the drawn number rounded down."""
    xp = array_namespace(scene["demonstration"])
    return xp.astype(xp.floor(scene["demonstration"]), xp.int64)


def count_lanes(edges: Array) -> Array:
    """(...): number of lanes between `edges` (..., M + 1)."""
    xp = array_namespace(edges)
    return xp.sum(xp.where(xp.diff(edges, axis=-1) > 0, 1, 0), axis=-1)


def lane_at(across: Array, edges: Array) -> Array:
    """(...): number of the lane, from the left, at `across` (...) [m]; beside the road, that of the nearest."""
    xp = array_namespace(across)
    return xp.clip(xp.sum(xp.where(across[..., None] > edges[..., 1:], 1, 0), axis=-1), 0, count_lanes(edges) - 1)


def edges_of(lane: Array, edges: Array) -> tuple[Array, Array]:
    """Left and right edge (...) [m] of lane number `lane` (...); where there is no such lane, left > right."""
    xp = array_namespace(edges)
    number = xp.arange(edges.shape[-1] - 1, dtype=lane.dtype)
    chosen = (number == lane[..., None]) & (lane < count_lanes(edges))[..., None]
    left, right = (xp.sum(xp.where(chosen, side, 0.0), axis=-1) for side in (edges[..., :-1], edges[..., 1:]))
    exists = xp.any(chosen, axis=-1)
    return xp.where(exists, left, FAR), xp.where(exists, right, -FAR)


def neighbours_between(
    states: Array, left: Array, right: Array, margin: float = MARGIN
) -> list[tuple[Array, Array, Array]]:
    """Leader and follower between two edges (...) [m] of a lane, as from `next_in_lane`."""
    ego, others = RecordedState.of(states[..., :1, :]), RecordedState.of(states[..., 1:, :])
    in_lane = (others.d >= left[..., None] - margin) & (others.d <= right[..., None] + margin)
    bodies = (ego.length + others.length) / 2
    return next_in_lane(in_lane, others.s - ego.s, ego.speed - others.speed, bodies)


def headway_to(leader: tuple[Array, Array, Array], speed: Array) -> Array:
    """(...) [s] at `speed` (...) [m/s], as `RecordedRoad.headway`, to the given leader."""
    xp = array_namespace(speed)
    present, gap, _ = leader
    headway = xp.clip(gap / xp.clip(speed, 1.0, None), 0.0, LONGEST_HEADWAY)
    return xp.where(present > 0, headway, LONGEST_HEADWAY)
