"""Pass: overtake the slower car in the middle of three lanes, on its left or its right, and return to the middle."""

from __future__ import annotations

from array_api_compat import array_namespace
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.kinematics import Vehicle

from envs.roads import LANE_WIDTH, straight_network
from envs.scenario import NO_STYLE, Array, Draw, Scenario, Scene, VehicleState, body_overlap

ROAD_START, ROAD_END = -600.0, 1000.0  # [m], beyond what 12 s can reach in either direction

SENSOR_RANGE = 50.0  # [m], beyond which a lead's distance is not told: it no longer matters


class Pass(Scenario):
    """Road along x, the middle lane's centre at y = 0; `lane_offset` is y, positive to the right."""

    name = "pass"
    num_vehicles = 2
    # At 25 m/s, highway-env's default of ±π/4 would turn the car across the road within one decision.
    steering_range = (-0.1, 0.1)
    screen = (600, 150)
    styles = ("left", "right")
    features = (
        "lane_offset",
        "heading",
        "speed",
        "lead_gap",
        "lead_beside",
        "lead_offset",
        "lead_speed",
    )
    style_features = features
    draws = {
        "ego_offset": Draw(-0.4, 0.4),  # [m]
        "ego_heading": Draw(-0.02, 0.02),  # [rad]
        "ego_speed": Draw(20.0, 25.0),  # [m/s]
        "lead_gap": Draw(30.0, 45.0),  # [m], between the centres
        "lead_offset": Draw(-0.3, 0.3),  # [m]
        "lead_speed": Draw(13.0, 16.0),  # [m/s], kept
    }

    def initial_states(self, scene: Scene) -> Array:
        xp = array_namespace(scene["ego_speed"])
        zero = xp.zeros_like(scene["ego_speed"])
        ego = xp.stack((zero, scene["ego_offset"], scene["ego_heading"], scene["ego_speed"]))
        lead = xp.stack((scene["lead_gap"], scene["lead_offset"], zero, scene["lead_speed"]))
        return xp.stack((ego, lead))

    def observe(self, states: Array, scene: Scene) -> list[Array]:
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        gap = lead.x - ego.x
        return [
            ego.y / 4.0,
            ego.heading / 0.1,
            (ego.speed - 22.0) / 5.0,
            gap.clip(-SENSOR_RANGE, SENSOR_RANGE) / 30.0,
            1.0 / (1.0 + (gap / 10.0) ** 2),  # sharp where it matters
            (lead.y - ego.y) / 4.0,
            (lead.speed - ego.speed) / 8.0,
        ]

    def off_road(self, states: Array, scene: Scene) -> Array:
        return abs(states[..., 0, 1]) > 1.5 * LANE_WIDTH

    def lane_offset(self, states: Array, scene: Scene) -> Array:
        return states[..., 0, 1]

    def distance(self, states: Array, scene: Scene) -> Array:
        return states[..., 0, 0]

    def style(self, states: Array, scene: Scene) -> Array:
        """The side of the lead on which the ego is while their bodies overlap lengthwise.

        Done means: ahead of the lead at the end, the whole body back in the middle lane.
        """
        xp = array_namespace(states)
        ego, lead = VehicleState.of(states, 0), VehicleState.of(states, 1)
        beside = body_overlap(lead.x - ego.x)
        side = xp.sum(xp.where(beside, ego.y - lead.y, 0.0), axis=0)
        ahead = ego.x[-1] - lead.x[-1] > Vehicle.LENGTH
        back = abs(ego.y[-1]) <= (LANE_WIDTH - Vehicle.WIDTH) / 2
        done = ahead & back & (side != 0)
        return xp.where(done, xp.where(side > 0, 1, 0), NO_STYLE)

    def road_network(self, scene: Scene) -> RoadNetwork:
        return straight_network(ROAD_START, ROAD_END, [-LANE_WIDTH, 0.0, LANE_WIDTH])

    def expert_path(self, scene: Scene, offset: float) -> RoadNetwork:
        return straight_network(ROAD_START, ROAD_END, [offset])
