"""Replay: recorded traffic, in which the ego replaces one recorded driver and the others move as recorded.

States have four more columns than elsewhere, (..., V, 8), see `RecordedState`: recorded cars differ in size, and the
others' road coordinates can be looked up.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.kinematics import Vehicle

from infogail.envs.data.recording import Recording
from infogail.envs.data.world import RecordedWorld
from infogail.envs.errors import BadInput
from infogail.envs.physics.roads import LANE_WIDTH
from infogail.envs.physics.state import Array, Scene, VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.highway import SIDES, Highway, headway_in_words
from infogail.envs.scenarios.recorded_road import (
    ABSENT,
    FAR,
    RecordedRoad,
    RecordedState,
    count_lanes,
    demonstration_of,
    edges_of,
    headway_to,
    lane_at,
    neighbours_between,
)
from infogail.envs.scenarios.recorded_vehicles import RecordedVehicle, Replaced
from infogail.envs.scenarios.scenario import EPISODE_STEPS, Scenario
from infogail.envs.scenarios.styles import Style
from infogail.envs.scenarios.view import LOOK_AHEAD, View

if TYPE_CHECKING:
    from torch import Tensor

BURN_IN = 10  # decisions of the recorded driver, from which a code is inferred, before another driver takes over
SHOWN_LENGTH, LARGEST_SHIFT = 140.0, 11.0  # [m] of road shown in a film; how far from its middle the ego may be


class Lanes(NamedTuple):
    """Straight lanes around each driver, in place of a recorded road."""

    reference: Array
    """(..., 4), as `RecordedRoad.at` returns it"""
    edges: Array
    """(..., M + 1) [m]"""

    def at(self, s: Array, scene: Scene) -> tuple[Array, Array]:
        """The same, wherever along the road."""
        return self.reference, self.edges


class Replay(Scenario):
    """Recorded traffic, from a file of `infogail import`; without one it has a spec, but cannot be driven."""

    name = "replay"
    styles = (Style("human"),)  # the drivers are unlabelled
    world_type = RecordedWorld
    usable_as_traffic = True
    burn_in = BURN_IN
    steering_range = (-0.3, 0.3)
    screen = (1200, 400)
    policy_frequency = simulation_frequency = 10
    # One recorded state per physics step, for the length of an episode; cars have individual sizes and no history.
    fixed_settings = ("simulation_frequency", "policy_frequency", "show_trajectories", "vehicle_class")
    compilable = False
    features = (*Highway.features, "curvature", "length", "width")
    context = (*Highway.context, "curvature", "length", "width")
    # The drivers are unlabelled; what distinguishes them is how closely they follow, whatever the lane and traffic.
    style_features = ("headway", "leader_closing")
    style_tolerance = 0.15

    def __init__(self, recording: Recording | str | os.PathLike[str] | None = None) -> None:
        self._road: RecordedRoad | None = None
        self.num_vehicles, self.draws = 1, {"demonstration": Draw(0.0, 1.0)}  # rounded down
        if isinstance(recording, str | os.PathLike):
            recording = Recording.load(Path(recording), Replay())
        if recording is not None:
            assert isinstance(recording.world, RecordedWorld)
            firsts = recording.demonstrations.episode_bounds[:-1] + np.arange(recording.demonstrations.num_episodes)
            self._enter(recording.world, recording.vehicle_states[firsts, 0])

    @classmethod
    def of_world(cls, world: RecordedWorld, starts: np.ndarray) -> Replay:
        """The scenario of a `world` in whose demonstrations the ego begins in `starts` (E, 4)."""
        replay = cls()
        replay._enter(world, starts)
        return replay

    def _enter(self, world: RecordedWorld, starts: np.ndarray) -> None:
        self._road = RecordedRoad(world, starts, EPISODE_STEPS)
        self.num_vehicles = 1 + world.states.shape[1]
        num_training = int(world.num_training[0])
        self.draws = {"demonstration": Draw(0.0, float(num_training))}
        self.starting_speeds = starts[:num_training, 3]

    def with_recording(self, recording: Recording) -> Replay:
        return Replay(recording)

    @property
    def road(self) -> RecordedRoad:
        """The recorded road and traffic.

        Raises:
            BadInput: there is no recording.
        """
        if self._road is None:
            raise BadInput("replay: has no recording; give recording=FILE, a file from 'infogail import'")
        return self._road

    @property
    def recommended(self) -> dict[str, Any]:
        """The number of styles is unknown. People steer more finely than scripts, and their styles hardly show in 6 s:
        with a larger reward for showing them, drivers crash more. A clone of them drifts off within seconds, and little
        noise and small steps do not bring it back: policies from random weights end a metre closer to the people."""
        from_random_weights = {"warm_start_steps": 0, "held_iterations": 0, "learning_rate": 3e-3}
        guesses = {"num_codes": 3, "initial_log_std": -2.0, "info_coef": 1.0, "settling_iterations": None}
        return super().recommended | from_random_weights | guesses

    @property
    def view(self) -> View:
        """Follows the ego, with more of the road ahead than behind; centred across the road if the ego is near that."""
        width = 1120

        def heading(states: np.ndarray, scene: Scene) -> float:
            return float(self.road.lane_middle(RecordedState.of(states[0]).s, np.asarray(0), scene)[1])

        def camera(states: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
            ego, outermost = RecordedState.of(states[0]), (0, self.road.num_lanes(states, scene) - 1)
            middle = np.mean([self.road.lane_middle(ego.s, np.asarray(lane), scene)[0] for lane in outermost])
            shift = np.clip(middle - ego.d, -LARGEST_SHIFT, LARGEST_SHIFT)
            cos, sin = np.cos(heading(states, scene)), np.sin(heading(states, scene))
            centre = states[0, :2] + (LOOK_AHEAD * np.array([cos, sin]) + shift * np.array([-sin, cos]))
            return centre, width / SHOWN_LENGTH

        return View(
            (width, 240),
            camera=camera,
            heading=heading,
            detail=lambda states, scene: headway_in_words(float(self.road.headway(states, scene))),
            prelude=(BURN_IN, "as recorded"),
            phrase="",
        )

    def complete(self, states: np.ndarray, scene: Scene) -> np.ndarray:
        _, others = self.road.window(int(scene["demonstration"]))
        return np.concatenate((self.road.complete(states[:, 0], scene)[:, None], others[: len(states)]), 1)

    def demonstration(self, scene: Scene) -> Array:
        return demonstration_of(scene)

    def initial_states(self, scene: Scene) -> Array:
        starts = self.road.tables(scene["demonstration"]).starts[demonstration_of(scene)]
        return array_namespace(starts).moveaxis(starts, -1, 0)[None]

    def move(
        self, traffic: Tensor, acceleration: Tensor, steering: Tensor, scene: Scene, elapsed: Tensor, thorough: bool
    ) -> Tensor:
        """As highway-env's `Road.step`: all vehicles move, then contacts are checked, in list order."""
        import torch

        from infogail.envs.physics.dynamics import Slip, as_car, contact, initial_traffic, vehicle_step

        e, dt = demonstration_of(scene), 1 / self.simulation_frequency
        ego = as_car(traffic[:, 0])
        length, width = self.road.tables(traffic).size[e].unbind(-1)
        moved = vehicle_step(ego._replace(acceleration=acceleration), Slip.of(steering), dt)
        # The bicycle model of `physics.dynamics` has highway-env's default vehicle length.
        ego = moved._replace(heading=ego.heading + (moved.heading - ego.heading) * (Vehicle.LENGTH / length))
        states = self.road.others(traffic, e, elapsed + 1)
        others = RecordedState.of(states)
        reach = (length.hypot(width)[:, None] + others.length.hypot(others.width)) / 2
        distance = (others.x - ego.x[:, None]).hypot(others.y - ego.y[:, None])
        env, other = (distance <= reach + (ego.speed * dt + 1e-3)[:, None]).nonzero(as_tuple=True)
        if len(env):
            touched = states[env, other]
            b = as_car(initial_traffic(touched[:, :4].T[:, None]).squeeze(1))
            a = type(ego)(*(field[env] for field in ego))
            sizes = (length[env], width[env]), (RecordedState.of(touched).length, RecordedState.of(touched).width)
            intersecting, will_intersect, push_x, push_y = contact(a, b, dt, *sizes)
            crashed, struck, impact_x, impact_y = (
                field.clone() for field in (ego.crashed, ego.struck, ego.impact_x, ego.impact_y)
            )
            crashed[env[intersecting]] = True
            struck[env[will_intersect]] = True
            for k in will_intersect.nonzero().squeeze(-1).tolist():  # the last one counts; there are very few
                impact_x[env[k]], impact_y[env[k]] = push_x[k] / 2, push_y[k] / 2
            ego = ego._replace(crashed=crashed, struck=struck, impact_x=impact_x, impact_y=impact_y)
        return torch.stack([field.to(traffic) for field in ego])[:, None]

    def states(self, traffic: Tensor, scene: Scene, elapsed: Tensor) -> Tensor:
        import torch

        ego = self.road.complete(traffic[:4, 0].T, scene)
        return torch.cat((ego[:, None], self.road.others(traffic, demonstration_of(scene), elapsed)), 1)

    def states_of(self, vehicles: list[Vehicle], scene: Scene) -> np.ndarray:
        ego, *others = vehicles
        states = np.empty((self.num_vehicles, 8))
        states[:] = ABSENT
        states[0] = self.road.complete(np.array((*ego.position, ego.heading, ego.speed), dtype=np.float64), scene)
        for other in others:
            states[1 + other.column] = other.recorded
        return states

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        """As on a highway, but with bumper-to-bumper gaps; then the road's curvature and the ego's size."""
        xp, ego = array_namespace(states), RecordedState.of(states[..., 0, :])
        reference, edges = self.road.at(ego.s, scene)
        lane = lane_at(ego.d, edges)
        lanes = [edges_of(lane + side, edges) for side in SIDES.values()]
        slots = [slot for bounds in lanes for slot in neighbours_between(states, *bounds)]
        left, right = lanes[0]
        turned = xp.remainder(ego.heading - reference[..., 2] + np.pi, 2 * np.pi) - np.pi
        return [
            (ego.d - (left + right) / 2) / 2.0,
            turned / 0.1,
            (ego.speed - 20.0) / 10.0,
            headway_to(slots[0], ego.speed) / 2.0,
            xp.where(lane > 0, 1.0, 0.0),
            xp.where(lane < count_lanes(edges) - 1, 1.0, 0.0),
            *(feature for present, gap, closing in slots for feature in (present, gap / 50.0, closing / 10.0)),
            100.0 * reference[..., 3],
            (ego.length - Vehicle.LENGTH) / 5.0,
            ego.width - Vehicle.WIDTH,
        ]

    def observe_in_lanes(self, states: Array, lanes: Array) -> list[Array]:
        xp = array_namespace(states)
        lines = xp.minimum(xp.arange(int(xp.max(lanes)) + 1, dtype=lanes.dtype), lanes[..., None])
        there: Any = Replay()
        there._road = Lanes(xp.zeros_like(states[..., 0, :4]), LANE_WIDTH * (xp.astype(lines, states.dtype) - 0.5))
        return there.observe(xp.concat((states[..., :4], states[..., :2], states[..., 4:]), axis=-1), {})

    def followed(self, window: int) -> np.ndarray:
        states, scene = self.road.recorded_states(window), {"demonstration": np.float64(window)}
        leader = self.road.neighbours(states, self.road.lane(states, scene), scene)[0]
        return np.stack((RecordedState.of(states[:, 0]).speed, *leader))

    def observations(self, vehicle_states: np.ndarray) -> np.ndarray:
        """(N, F) float32: what the egos of all demonstrations observed in their `vehicle_states` (N + E, 1, 4)."""
        seen = []
        for e, ego in enumerate(vehicle_states[:, 0].reshape(-1, EPISODE_STEPS + 1, 4)):
            scene, (_, others) = {"demonstration": np.float64(e)}, self.road.window(e)
            states = np.concatenate((self.road.complete(ego, scene)[:, None], others), 1)
            seen.append(np.stack(self.observe(states, scene), -1)[:-1])
        return np.concatenate(seen).astype(np.float32)

    def off_road(self, states: Array, scene: Scene) -> Array:
        ego = RecordedState.of(states[..., 0, :])
        _, edges = self.road.at(ego.s, scene)
        return (ego.d < edges[..., 0]) | (ego.d > edges[..., -1])

    def placement(self, vehicle: VehicleState, scene: Scene) -> tuple[Array, Array]:
        """Along the reference line and across it, positive rightwards."""
        return self.road.place(vehicle.x, vehicle.y, scene)

    def distance(self, states: Array, scene: Scene) -> Array:
        return RecordedState.of(states[..., 0, :]).s

    def lane_offset(self, states: Array, scene: Scene) -> Array:
        """From the middle of the ego's lane, positive rightwards."""
        ego = RecordedState.of(states[..., 0, :])
        _, edges = self.road.at(ego.s, scene)
        left, right = edges_of(lane_at(ego.d, edges), edges)
        return ego.d - (left + right) / 2

    def sizes(self, states: np.ndarray) -> np.ndarray:
        """As recorded; absent cars have none."""
        cars = RecordedState.of(states)
        return np.stack((cars.length, cars.width), -1).max(0)

    def style(self, states: Array, scene: Scene) -> Array:
        """The drivers are unlabelled: all have the same style."""
        xp = array_namespace(states)
        return xp.zeros(states.shape[1:-2], dtype=xp.int64)

    def road_network(self, scene: Scene) -> RoadNetwork:
        return self.road.network(scene)

    def vehicles(self, road: Road, scene: Scene) -> list[Vehicle]:
        """The ego, and the cars that are present at some time of the episode, in the recording's order."""
        e = int(scene["demonstration"])
        tables, (_, others) = self.road.tables(scene["demonstration"]), self.road.window(e)
        ego = Replaced(road, tables.starts[e], *tables.size[e].tolist())
        present = np.flatnonzero((RecordedState.of(others).x < FAR).any(0)).tolist()
        return [ego, *(RecordedVehicle(road, others[:, column], column) for column in present)]
