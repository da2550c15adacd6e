"""highway-env's traffic, batched: drivers follow by IDM, change lanes by MOBIL and steer toward their lane's centre.

Everything is a pure function of tensors over B independent environments. Decisions, their order and the constants are
those of `highway_env.vehicle.behavior.IDMVehicle`, `highway_env.vehicle.controller.ControlledVehicle` and
`highway_env.road.road.Road`; tests check that the two agree.

The road is `RoadNetwork.straight_road_network(lanes, speed_limit=30)`: lane k is centred at y = 4 k [m]. Its ends, at
x = 0 and 10 km, are not modelled: no vehicle may come near them.

`traffic` is a tensor (11, V, B): the rows of `Car`, then `target_lane`, the number of the lane that a driver steers
toward, and `timer` [s] since a driver last considered a lane change. Vehicle 0 is the ego, a plain `Vehicle` under
external commands, for which the last two rows are meaningless; the others are `IDMVehicle`s.
"""

from __future__ import annotations

from itertools import count, pairwise
from math import atan, pi, sin, tan
from typing import NamedTuple

import torch
from highway_env.utils import not_zero
from highway_env.vehicle.behavior import IDMVehicle
from torch import Tensor

from infogail.envs.physics.dynamics import (
    DIAGONAL,
    LENGTH,
    WIDTH,
    Car,
    Slip,
    as_car,
    contact,
    initial_traffic,
    vehicle_step,
)
from infogail.envs.physics.roads import LANE_WIDTH, SPEED_LIMIT
from infogail.envs.physics.state import Array

ON_LANE = LANE_WIDTH / 2 + 1  # [m] from the centre: `Road.neighbour_vehicles` allows for a margin of 1 m
REACHABLE = 2 * LANE_WIDTH  # [m] from the centre: `AbstractLane.is_reachable_from`
MIN_LANE_CHANGE_SPEED = 1.0  # [m/s], in `IDMVehicle.change_lane_policy`
EPSILON = not_zero(0.0)  # lower bound on speeds and distances, before dividing
MAX_SLIP_SIN = sin(atan(tan(IDMVehicle.MAX_STEERING_ANGLE) / 2))
IDM_BRAKING = 2 * (-IDMVehicle.COMFORT_ACC_MAX * IDMVehicle.COMFORT_ACC_MIN) ** 0.5  # [m/s²], IDM's 2 √(a b)


def initial_lane_traffic(states: Tensor, lanes: int) -> Tensor:
    """Traffic (11, V, B) of vehicles in `states` (4, V, B) = x, y, heading, speed, each steering for its current lane.

    Timers start as in `IDMVehicle`, so that drivers do not all consider a lane change at the same time.
    """
    x, y, *_ = states
    timer = ((x + y) * pi).remainder(IDMVehicle.LANE_CHANGE_DELAY)
    return torch.cat((initial_traffic(states), torch.stack((lane_at(y, lanes).to(y), timer))))


def drive_in_traffic(
    traffic: Tensor,
    acceleration: Tensor,
    steering: Tensor,
    target_speed: Tensor,
    delta: Tensor,
    lanes: int,
    dt: float,
    steps: int,
) -> Tensor:
    """Advance by `steps` physics steps of `dt` [s], in each of which drivers decide, then move, then may collide.

    Args:
        traffic: (11, V, B).
        acceleration, steering: (B,) [m/s²] [rad], the ego's commands, held over the steps.
        target_speed: (V, B) [m/s]. For the ego 0, which is what drivers assume of a vehicle without `target_speed`.
            They therefore expect it to brake hard, which keeps them from cutting in ahead of it.
        delta: (V, B), the exponent in IDM; the ego's is not used.
        lanes: number of lanes.
    """
    cars, target_lane, timer = as_car(traffic[:9]), traffic[9], traffic[10]
    cars = cars._replace(acceleration=torch.cat((acceleration[None], cars.acceleration[1:])))
    ego_slip = Slip.of(steering)
    desired_speed = target_speed.clamp(EPSILON, SPEED_LIMIT)
    order = Order.of(cars.x)
    for _ in range(steps):
        view = View.of(cars, desired_speed, delta, order, lanes)
        accelerations, slip, target_lane, timer = _decide(cars, target_lane, timer, view)
        # Row 0, the ego, keeps to its commands; decisions of crashed vehicles are overridden in `vehicle_step`.
        cars = cars._replace(acceleration=torch.cat((cars.acceleration[:1], accelerations[1:])))
        slip = Slip(*(torch.cat((ego[None], others[1:])) for ego, others in zip(ego_slip, slip, strict=True)))
        cars, timer = vehicle_step(cars, slip, dt), timer + dt
        order = Order.of(cars.x)
        cars = _collide(cars, order, dt)
    return torch.stack([*(field.to(timer) for field in cars), target_lane, timer])


def lane_at(y: Tensor, lanes: int) -> Tensor:
    """Number (int64) of the lane whose centre is nearest to `y` [m]; half-way between two, the lower."""
    return (y / LANE_WIDTH - 0.5).ceil().clamp(0, lanes - 1).long()


class Order(NamedTuple):
    """The vehicles from front to back; ties in list order."""

    x: Tensor  # (V, B) [m], descending
    vehicle: Tensor  # (V, B) int64

    @classmethod
    def of(cls, x: Tensor) -> Order:
        ranked = x.T.contiguous().sort(dim=1, descending=True, stable=True)  # faster than along dim 0
        return cls(*(part.T.contiguous() for part in ranked))


class Neighbours(NamedTuple):
    """The nearest vehicles in each lane: `Road.neighbour_vehicles`. V stands for none."""

    rank: Tensor  # (V, B) int64: a vehicle's position in `Order`
    front: Tensor  # (V + 1, lanes, B) int16, by rank
    rear: Tensor  # (V, lanes, B) int16, by rank

    @classmethod
    def of(cls, y: Tensor, order: Order, lanes: int) -> Neighbours:
        """By one pass through the order in each direction, which remembers the last vehicle seen in each lane.

        A vehicle between two lanes counts for both. Vehicles side by side, at exactly the same x, are in front of each
        other and none is behind; of several, highway-env takes the last in the list as the one in front, the first as
        the one behind. `Order` is such that the passes end on these.
        """
        x, vehicle = order
        size, batch = vehicle.shape
        centres = LANE_WIDTH * torch.arange(lanes).to(y)
        on_lane = (y.gather(0, vehicle)[:, None] - centres[:, None]).abs() <= ON_LANE  # (V, lanes, B)
        number = vehicle.to(torch.int16)  # a quarter of the memory
        front, rear = number.new_empty((size + 1, lanes, batch)), number.new_empty((size, lanes, batch))
        front[0] = rear[-1] = size
        by_rank = list(zip(on_lane.unbind(), number.unbind(), strict=True))
        for (here, car), (last, row) in zip(by_rank, pairwise(front.unbind()), strict=True):
            torch.where(here, car, last, out=row)
        for (here, car), (last, row) in zip(by_rank[:0:-1], pairwise(rear.unbind()[::-1]), strict=True):
            torch.where(here, car, last, out=row)
        # Of vehicles side by side, all but the last in the list still need the neighbours of the last one's position.
        tied, env = (x[1:] == x[:-1]).nonzero(as_tuple=True)
        last = (x[:, env] >= x[tied, env]).sum(0) - 1
        rear[tied, :, env] = rear[last, :, env]
        next_ahead = front[last + 1, :, env]  # (ties, lanes), possibly the vehicle itself
        front[tied, :, env] = torch.where(next_ahead == vehicle[tied, env][:, None], front[tied, :, env], next_ahead)
        ranks = torch.arange(size)[:, None].expand(size, batch)
        return cls(torch.empty_like(vehicle).scatter_(0, vehicle, ranks), front, rear)

    def ahead(self, vehicle: Tensor, lane: Tensor, env: Tensor) -> Tensor:
        """Number of the next vehicle in `lane` ahead of `vehicle` in environment `env`; arguments broadcast."""
        return self._at(self.front, vehicle, lane, env)

    def behind(self, vehicle: Tensor, lane: Tensor, env: Tensor) -> Tensor:
        """As `ahead`."""
        return self._at(self.rear, vehicle, lane, env)

    def _at(self, table: Tensor, vehicle: Tensor, lane: Tensor, env: Tensor) -> Tensor:
        """Entries of `table` at the ranks of `vehicle`; one index into flat memory is faster than three."""
        _, lanes, batch = table.shape
        rank = self.rank.flatten()[vehicle * batch + env]
        index = (rank * lanes + lane) * batch + env
        return table.flatten().index_select(0, index.flatten()).long().unflatten(0, index.shape)


class Motion(NamedTuple):
    """What IDM needs to know about a vehicle; all fields have one shape."""

    x: Tensor  # [m]
    speed: Tensor  # [m/s]
    cos: Tensor  # of the heading
    sin: Tensor
    desired_speed: Tensor  # [m/s], positive


class View(NamedTuple):
    """What drivers know when they decide; it stays fixed while they do."""

    motions: Tensor  # (5, V + 1, B): rows of `Motion`; the last vehicle stands for none, infinitely far ahead
    lane: Tensor  # (V, B) int64
    delta: Tensor  # (V, B)
    neighbours: Neighbours
    lanes: int

    @classmethod
    def of(cls, cars: Car, desired_speed: Tensor, delta: Tensor, order: Order, lanes: int) -> View:
        size, batch = cars.x.shape
        motions = cars.x.new_empty((len(Motion._fields), size + 1, batch))
        present = Motion(cars.x, cars.speed, cars.heading.cos(), cars.heading.sin(), desired_speed)
        for row, value, absent in zip(motions, present, (torch.inf, 0.0, 1.0, 0.0, 1.0), strict=True):
            row[:size], row[size] = value, absent
        return cls(motions, lane_at(cars.y, lanes), delta, Neighbours.of(cars.y, order, lanes), lanes)

    def motion(self, vehicle: Tensor, env: Tensor) -> Motion:
        """The motion of `vehicle` in environment `env`; arguments broadcast."""
        index = vehicle * self.motions.shape[-1] + env
        return Motion(*self.motions.flatten(1).index_select(1, index.flatten()).unflatten(1, index.shape))


def desired_gap(car: Motion, front: Motion) -> Tensor:
    """Gap [m] that `car` wants to `front`: `IDMVehicle.desired_gap`."""
    closing = car.speed - front.speed * (front.cos * car.cos + front.sin * car.sin)
    return IDMVehicle.DISTANCE_WANTED + car.speed * (IDMVehicle.TIME_WANTED + closing / IDM_BRAKING)


def idm(speed: Array, desired_speed: Array, gap_ratio: Array, acceleration: Array, exponent: Array) -> Array:
    """Intelligent driver model [m/s²]: a (1 - (v / v₀)^δ - (s* / s)²), Treiber, Hennecke & Helbing 2000, eq. 1.

    Args:
        speed, desired_speed: [m/s], not negative.
        gap_ratio: desired gap ÷ actual gap, s* / s.
        acceleration: a [m/s²].
        exponent: δ.
    """
    return acceleration * (1 - (speed / desired_speed) ** exponent - gap_ratio**2)


def idm_acceleration(car: Motion, front: Motion, delta: Tensor) -> Tensor:
    """Acceleration [m/s²] of `car` behind `front`, with the exponent `delta`: `IDMVehicle.acceleration`."""
    ratio = desired_gap(car, front) / (front.x - car.x).clamp(min=EPSILON)
    return idm(car.speed.clamp(min=0), car.desired_speed, ratio, IDMVehicle.COMFORT_ACC_MAX, delta)


def _decide(cars: Car, target_lane: Tensor, timer: Tensor, view: View) -> tuple[Tensor, Slip, Tensor, Tensor]:
    """`IDMVehicle.act` for all vehicles: acceleration [m/s²], slip, target lane and timer [s], each (V, B)."""
    vehicle, env = torch.arange(len(timer))[:, None], torch.arange(timer.shape[1])
    front = view.motion(view.neighbours.ahead(vehicle, view.lane, env), env)
    acceleration = idm_acceleration(Motion(*view.motions[:, :-1]), front, view.delta)

    decides, changing = ~cars.crashed, view.lane != target_lane
    decides[0] = changing[0] = False
    due = decides & ~changing & (timer > IDMVehicle.LANE_CHANGE_DELAY)
    target_lane = _start_changes(due, cars.y, target_lane, acceleration, view)
    target_lane = _abort_changes(changing, decides, target_lane, view)

    # Vehicles that are changing lanes take account of the vehicle ahead in both.
    vehicle, env = (decides & (view.lane != target_lane)).nonzero(as_tuple=True)
    front = view.motion(view.neighbours.ahead(vehicle, target_lane[vehicle, env].long(), env), env)
    in_target_lane = idm_acceleration(view.motion(vehicle, env), front, view.delta[vehicle, env])
    acceleration[vehicle, env] = acceleration[vehicle, env].minimum(in_target_lane)
    acceleration = acceleration.clamp(-IDMVehicle.ACC_MAX, IDMVehicle.ACC_MAX)
    return acceleration, steer_for(cars, target_lane), target_lane, timer.masked_fill(due, 0.0)


def _start_changes(due: Tensor, y: Tensor, target_lane: Tensor, acceleration: Tensor, view: View) -> Tensor:
    """Target lanes (V, B) after the vehicles that are `due` (V, B) considered a lane change: `IDMVehicle.mobil`.

    `acceleration` (V, B) [m/s²] is theirs in their current lane.
    """
    vehicle, env = due.nonzero(as_tuple=True)
    own_lane, delta, motion = view.lane[vehicle, env], view.delta[vehicle, env], view.motion(vehicle, env)

    def gain_of_rear(rear: Tensor, after: Motion, before: Motion) -> tuple[Tensor, Tensor]:
        """Acceleration of a vehicle behind after the change, and its gain; with the deciding driver's delta.

        Both are 0 if there is none.
        """
        rear_motion, absent = view.motion(rear, env), rear == len(due)
        then, now = (idm_acceleration(rear_motion, front, delta).masked_fill(absent, 0.0) for front in (after, before))
        return then, then - now

    old_front = view.motion(view.neighbours.ahead(vehicle, own_lane, env), env)
    _, old_rear_gain = gain_of_rear(view.neighbours.behind(vehicle, own_lane, env), old_front, motion)
    sides = torch.stack((own_lane - 1, own_lane + 1))
    possible = (sides >= 0) & (sides < view.lanes) & (motion.speed.abs() >= MIN_LANE_CHANGE_SPEED)
    possible &= (y[vehicle, env] - LANE_WIDTH * sides).abs() <= REACHABLE
    sides = sides.clamp(0, view.lanes - 1)
    front = view.motion(view.neighbours.ahead(vehicle, sides, env), env)
    imposed, rear_gain = gain_of_rear(view.neighbours.behind(vehicle, sides, env), motion, front)
    safe = imposed >= -IDMVehicle.LANE_CHANGE_MAX_BRAKING_IMPOSED
    gain = idm_acceleration(motion, front, delta) - acceleration[vehicle, env]
    gain = gain + IDMVehicle.POLITENESS * (rear_gain + old_rear_gain)
    changes = possible & safe & (gain >= IDMVehicle.LANE_CHANGE_MIN_ACC_GAIN)
    target = target_lane[vehicle, env]
    for side in (0, 1):  # the right one comes last and overrides the left
        target = torch.where(changes[side], sides[side].to(target), target)
    return target_lane.index_put((vehicle, env), target)


def _abort_changes(changing: Tensor, decides: Tensor, target_lane: Tensor, view: View) -> Tensor:
    """Target lanes (V, B) after the vehicles that were `changing` gave way: `IDMVehicle.change_lane_policy`.

    A driver returns to its current lane if another, within the desired gap ahead, is changing to the same lane. Drivers
    act in list order: each sees the new decisions (starts and aborts) of those before it in the list, and the previous
    targets of those after it. So aborts depend on each other along the list; the rule is repeated until they settle.
    """
    vehicle, env = (view.lane != target_lane)[1:].nonzero(as_tuple=True)
    vehicle = vehicle + 1
    # Those with the same target are grouped, in list order.
    group, by_group = (env * view.lanes + target_lane[vehicle, env].long()).sort(stable=True)
    vehicle, env = vehicle[by_group], env[by_group]
    first, second = _pairs_within(group)
    motion = view.motion(vehicle, env)
    first_leads = motion.x[first] > motion.x[second]
    leader, follower = torch.where(first_leads, first, second), torch.where(first_leads, second, first)
    led, leading = (Motion(*(field[k] for field in motion)) for k in (follower, leader))
    gap = leading.x - led.x
    old = changing[vehicle, env]
    blocks = (gap > 0) & (gap < desired_gap(led, leading)) & (first_leads | old[leader])
    blocks &= (changing & decides)[vehicle, env][follower]
    leader, follower, first_leads = leader[blocks], follower[blocks], first_leads[blocks]

    settled, aborts = False, torch.zeros_like(old)
    while not settled:
        has_made_way = first_leads & aborts[leader]  # before the follower decides
        again = torch.zeros_like(old).index_put((follower[~has_made_way],), torch.tensor(True))
        settled, aborts = torch.equal(again, aborts), again
    vehicle, env = vehicle[aborts], env[aborts]
    return target_lane.index_put((vehicle, env), view.lane[vehicle, env].to(target_lane))


def _pairs_within(group: Tensor) -> tuple[Tensor, Tensor]:
    """Indices first < second of all pairs with equal entries in `group` (n,), which is sorted."""
    pairs = []
    for k in count(1):
        first = (group[k:] == group[:-k]).nonzero().squeeze(-1)
        pairs.append(torch.stack((first, first + k)))
        if not len(first):
            break
    first, second = torch.cat(pairs, 1)
    return first, second


def steer_for(cars: Car, target_lane: Tensor) -> Slip:
    """Slip (V, B) of vehicles steering for the centre of `target_lane` (V, B): `ControlledVehicle.steering_control`.

    The lateral position is controlled by a lateral speed, which is controlled by a heading, which is controlled by a
    yaw rate, 2 v sin(slip) / LENGTH. highway-env also computes the front wheel angle; limiting it limits the slip.
    """
    speed = cars.speed.abs().clamp(min=EPSILON).copysign(cars.speed)
    lateral_speed = -IDMVehicle.KP_LATERAL * (cars.y - LANE_WIDTH * target_lane)
    heading = (lateral_speed / speed).clamp(-sin(pi / 4), sin(pi / 4)).asin()
    turn = (heading - cars.heading + pi).remainder(2 * pi) - pi
    slip_sin = (LENGTH / 2 * IDMVehicle.KP_HEADING * turn / speed).clamp(-MAX_SLIP_SIN, MAX_SLIP_SIN)
    return Slip((1 - slip_sin * slip_sin).sqrt(), slip_sin)


def _collide(cars: Car, order: Order, dt: float) -> Car:
    """`RoadObject.handle_collisions` for all pairs, in list order: a vehicle keeps the impact of its last collision."""
    first, second, env = _near_pairs(cars, order, dt)
    if not len(env):
        return cars
    a, b = (Car(*(field[vehicle, env] for field in cars)) for vehicle in (first, second))
    intersecting, will_intersect, push_x, push_y = contact(a, b, dt)

    def both(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
        return torch.cat((a[where], b[where]))

    crashed = both(first, second, intersecting), both(env, env, intersecting)
    struck = both(first, second, will_intersect), both(env, env, will_intersect)
    # Of a vehicle's pairs, the one whose partner is last in the list is handled last.
    partner = both(second, first, will_intersect)
    index = struck[0] * cars.x.shape[1] + struck[1]
    latest = partner.new_zeros(cars.x.numel()).scatter_reduce(0, index, partner, "amax")[index] == partner
    displaced = tuple(row[latest] for row in struck)
    true = torch.tensor(True)
    return cars._replace(
        impact_x=cars.impact_x.index_put(displaced, both(push_x / 2, -push_x / 2, will_intersect)[latest]),
        impact_y=cars.impact_y.index_put(displaced, both(push_y / 2, -push_y / 2, will_intersect)[latest]),
        crashed=cars.crashed.index_put(crashed, true),
        struck=cars.struck.index_put(struck, true),
    )


def _near_pairs(cars: Car, order: Order, dt: float) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs first < second (n,) in environments (n,) that satisfy a cheap necessary condition for `contact`.

    Vehicles in contact are within `reach` R of each other, and across the heading of one of them, their centres are at
    most WIDTH + R |sin θ| apart, θ being the angle between them. With headings α and β to the road, that is at most
    WIDTH + 2 R (|sin α| + |sin β|) across the road, because 1 - |cos| ≤ |sin|.
    """
    reach = DIAGONAL + cars.speed.abs().amax(0) * dt + 1e-3  # rounding is far below 1 mm
    x, vehicle = order
    y = cars.y.gather(0, vehicle)
    half_width = (WIDTH / 2 + 1e-3 + 2 * reach * cars.heading.sin().abs()).gather(0, vehicle)
    pairs = []
    for k in count(1):  # ranks r and r + k, until all are too far apart along the road
        near = x[:-k] - x[k:] <= reach
        beside = (y[:-k] - y[k:]).abs() <= half_width[:-k] + half_width[k:]
        rank, env = (near & beside).nonzero(as_tuple=True)
        pairs.append(torch.stack((vehicle[rank, env], vehicle[rank + k, env], env)))
        if not near.any():
            break
    a, b, env = torch.cat(pairs, 1)
    return a.minimum(b), a.maximum(b), env


def drive_together(traffic: Tensor, acceleration: Tensor, steering: Tensor, dt: float, steps: int) -> Tensor:
    """Advance by `steps` physics steps of `dt` [s], all vehicles under external commands.

    Args:
        traffic: (9, V, B), the rows of `Car`.
        acceleration, steering: (V, B) [m/s²] [rad], held over the steps.
    """
    cars, slip = as_car(traffic)._replace(acceleration=acceleration), Slip.of(steering)
    for _ in range(steps):
        cars = vehicle_step(cars, slip, dt)
        cars = _collide(cars, Order.of(cars.x), dt)
    return torch.stack([field.to(acceleration) for field in cars])
