"""A scenario of somebody else's: one file outside the package, named `lane_drop:LaneDrop` on the command line."""

from array_api_compat import array_namespace

from infogail.envs.physics.roads import straight_network
from infogail.envs.physics.state import VehicleState
from infogail.envs.physics.streams import Draw
from infogail.envs.scenarios.demonstrators import PlannedDriver
from infogail.envs.scenarios.scenario import Scenario
from infogail.envs.scenarios.styles import NO_STYLE, Style

LEFT, RIGHT = -2.0, 2.0  # [m], the lanes' centres


class LaneDrop(Scenario):
    """The right one of two lanes ends: change to the left one, early or late."""

    num_vehicles = 1
    styles = (Style("early"), Style("late"))
    steering_range = (-0.1, 0.1)
    features = ("lane_offset", "heading", "speed", "to_drop")
    style_features = ("lane_offset", "to_drop")
    draws = {
        "drop": Draw(110.0, 130.0),  # [m], where the right lane ends
        "ego_offset": Draw(-0.3, 0.3),  # [m]
        "ego_speed": Draw(14.0, 16.0),  # [m/s]
    }

    def initial_states(self, scene):
        xp = array_namespace(scene["ego_speed"])
        zero = xp.zeros_like(scene["ego_speed"])
        return xp.stack((zero, RIGHT + scene["ego_offset"], zero, scene["ego_speed"]))[None]

    def observe(self, states, scene):
        ego = VehicleState.of(states, 0)
        to_drop = (scene["drop"] - ego.x).clip(-20.0, 130.0)
        return [ego.y / 2.0, ego.heading / 0.1, (ego.speed - 15.0) / 3.0, to_drop / 60.0]

    def off_road(self, states, scene):
        ego = VehicleState.of(states, 0)
        return (abs(ego.y) > 4.0) | ((ego.x > scene["drop"]) & (ego.y > 0.0))

    def placement(self, vehicle, scene):
        return vehicle.x, vehicle.y

    def style(self, states, scene):
        """Whether the first half of the lane was enough to leave it."""
        xp = array_namespace(states)
        ego = VehicleState.of(states, 0)
        right = xp.max(xp.where(ego.y > 0.0, ego.x, 0.0), axis=0)  # where it was last in the right lane
        return xp.where(ego.x[-1] > scene["drop"], xp.where(right < scene["drop"] / 2, 0, 1), NO_STYLE)

    def road_network(self, scene):
        return straight_network(-50.0, 400.0, [LEFT, RIGHT])

    def demonstrator(self, scene, style, rng):
        share = rng.uniform(0.1, 0.2) if style == 0 else rng.uniform(0.6, 0.7)
        begin, speed = share * float(scene["drop"]), rng.uniform(14.0, 16.0)
        return PlannedDriver(
            self,
            rng,
            lambda states: (RIGHT if states[0, 0] < begin else LEFT, speed),
            lambda offset: straight_network(-50.0, 400.0, [offset]),
        )
