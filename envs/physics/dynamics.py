"""highway-env's vehicle physics, batched: bicycle model, collisions, impulses.

Everything is a pure function of tensors over B independent environments. The equations and their order are those of
`highway_env.vehicle.kinematics.Vehicle` and `highway_env.vehicle.objects.RoadObject`, the constants are read from
there, and tests check that the two agree.

`traffic` is a tensor (9, V, B) of V vehicles, the ego first: the fields of `Car`, its flags as 0 and 1. A single tensor
is fast to index and copy, and the component-first layout lets operations run over contiguous memory.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import torch
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

LENGTH, WIDTH = Vehicle.LENGTH, Vehicle.WIDTH  # [m]
DIAGONAL = (LENGTH**2 + WIDTH**2) ** 0.5  # [m]
Size = tuple[float | Tensor, float | Tensor]
"""Length and width [m]."""
MIN_SPEED, MAX_SPEED = Vehicle.MIN_SPEED, Vehicle.MAX_SPEED  # [m/s]


class Car(NamedTuple):
    """One vehicle in each environment, with the state that highway-env keeps between two physics steps."""

    x: Tensor  # (B,) [m]
    y: Tensor  # (B,) [m]
    heading: Tensor  # (B,) [rad]
    speed: Tensor  # (B,) [m/s]
    acceleration: Tensor  # (B,) [m/s²], the command in effect; highway-env keeps it until the next one
    impact_x: Tensor  # (B,) [m], displacement that the next physics step adds to the position
    impact_y: Tensor  # (B,) [m]
    crashed: Tensor  # (B,) bool: has touched another vehicle
    struck: Tensor  # (B,) bool: an impact is pending, and will mark the vehicle as crashed


def initial_traffic(states: Tensor) -> Tensor:
    """Traffic of vehicles in `states` (4, V, B) = x, y, heading, speed; no command in effect."""
    return torch.cat((states, states.new_zeros(len(Car._fields) - 4, *states.shape[1:])))


def vehicle_states(traffic: Tensor) -> Tensor:
    """(B, V, 4): x [m], y [m], heading [rad], speed [m/s]; a view."""
    return traffic[:4].permute(2, 1, 0)


def as_car(rows: Tensor) -> Car:
    """Rows (9, ...) of traffic as a `Car`."""
    x, y, heading, speed, acceleration, impact_x, impact_y, crashed, struck = rows
    return Car(x, y, heading, speed, acceleration, impact_x, impact_y, crashed != 0, struck != 0)


def _traffic(cars: list[Car]) -> Tensor:
    fields = [field.to(cars[0].x.dtype) for vehicles in zip(*cars, strict=True) for field in vehicles]
    return torch.stack(fields).unflatten(0, (-1, len(cars)))


class Slip(NamedTuple):
    """The slip angle between a car's heading and its course, as cosine and sine."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, steering: Tensor) -> Slip:
        """The slip for front wheels at `steering` [rad]: its tangent is half of theirs."""
        tan = steering.tan() / 2
        cos = (tan * tan + 1).rsqrt()
        return cls(cos, tan * cos)


def drive(traffic: Tensor, acceleration: Tensor, steering: Tensor, dt: float, steps: int) -> Tensor:
    """Advance by `steps` physics steps of `dt` [s]; the ego has commands (B,) [m/s²] [rad], the others go straight.

    Vehicles rarely touch, so all environments are first advanced without collisions; the few in which that may be wrong
    (bodies near each other, an impact pending, a speed beyond the limits) are then recomputed with everything that
    highway-env does. The result equals that of `drive_thoroughly` up to rounding.
    """
    cars = as_car(traffic)  # fields (V, B)
    cars = cars._replace(acceleration=torch.cat((acceleration[None], cars.acceleration[1:])))
    slip = Slip.of(torch.cat((steering[None], torch.zeros_like(cars.x[1:]))))
    path = [cars]
    for _ in range(steps):
        path.append(_bicycle_step(path[-1], slip, dt))
    result = torch.cat((torch.stack(path[-1][:5]), traffic[5:]))
    special = _unusual(cars, dt * steps)
    if len(cars.x) > 1:
        special |= _may_touch(path[1:], dt)
    index = special.nonzero().squeeze(-1)
    if len(index):
        result[..., index] = drive_thoroughly(traffic[..., index], acceleration[index], steering[index], dt, steps)
    return result


def drive_thoroughly(traffic: Tensor, acceleration: Tensor, steering: Tensor, dt: float, steps: int) -> Tensor:
    """As `drive`, but with every check in every environment, and no data-dependent branches."""
    ego, *others = (as_car(rows) for rows in traffic.unbind(1))
    cars, slip = [ego._replace(acceleration=acceleration), *others], Slip.of(steering)
    for _ in range(steps):
        cars = _road_step(cars, slip, dt)
    return _traffic(cars)


def _road_step(cars: list[Car], slip: Slip, dt: float) -> list[Car]:
    """`highway_env.road.road.Road.step`: every vehicle moves, then all pairs are checked for contact."""
    cars = [vehicle_step(car, None if k else slip, dt) for k, car in enumerate(cars)]
    for i, j in combinations(range(len(cars)), 2):
        cars[i], cars[j] = _collide(cars[i], cars[j], dt)
    return cars


def _bicycle_step(car: Car, slip: Slip | None, dt: float) -> Car:
    """The motion alone: position from the old speed and heading, then heading, then speed."""
    x, y, heading, speed, acceleration, *_ = car
    cos, sin, distance = heading.cos(), heading.sin(), speed * dt
    if slip is not None:  # the course's cosine and sine
        cos, sin = (
            torch.addcmul(cos * slip.cos, sin, slip.sin, value=-1),
            torch.addcmul(sin * slip.cos, cos, slip.sin),
        )
        heading = torch.addcmul(heading, distance, slip.sin, value=2 / LENGTH)
    return car._replace(
        x=torch.addcmul(x, distance, cos),
        y=torch.addcmul(y, distance, sin),
        heading=heading,
        speed=torch.add(speed, acceleration, alpha=dt),
    )


def vehicle_step(car: Car, slip: Slip | None, dt: float) -> Car:
    """`Vehicle.step`: the motion, with commands overridden after a crash and clipped at the speed limits."""
    crashed, speed = car.crashed, car.speed
    acceleration = torch.where(crashed, -speed, car.acceleration)
    acceleration = torch.where(speed > MAX_SPEED, acceleration.minimum(MAX_SPEED - speed), acceleration)
    acceleration = torch.where(speed < MIN_SPEED, acceleration.maximum(MIN_SPEED - speed), acceleration)
    if slip is not None:
        slip = Slip(slip.cos.masked_fill(crashed, 1.0), slip.sin.masked_fill(crashed, 0.0))
    moved = _bicycle_step(car._replace(acceleration=acceleration), slip, dt)
    zero, false = torch.zeros_like(speed), torch.zeros_like(crashed)
    return moved._replace(
        x=moved.x + car.impact_x,
        y=moved.y + car.impact_y,
        impact_x=zero,
        impact_y=zero,
        crashed=crashed | car.struck,
        struck=false,
    )


def _collide(a: Car, b: Car, dt: float) -> tuple[Car, Car]:
    """`RoadObject.handle_collisions`: each takes half of the displacement that separates them."""
    intersecting, will_intersect, push_x, push_y = contact(a, b, dt)

    def hit(car: Car, share: float) -> Car:
        return car._replace(
            impact_x=torch.where(will_intersect, share * push_x, car.impact_x),
            impact_y=torch.where(will_intersect, share * push_y, car.impact_y),
            crashed=car.crashed | intersecting,
            struck=car.struck | will_intersect,
        )

    return hit(a, 0.5), hit(b, -0.5)


def contact(
    a: Car, b: Car, dt: float, size_a: Size = (LENGTH, WIDTH), size_b: Size = (LENGTH, WIDTH)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Separating-axis test: highway-env's `are_polygons_intersecting`, and the circle test before it.

    On an axis, let c be the displacement from a's centre to b's, r the sum of the bodies' half extents, and m half of
    a's displacement relative to b within `dt`. The bodies overlap now if |c| ≤ r on all axes. The interval that a
    sweeps is 2|m| longer than a, and its centre is m ahead: it overlaps b by r + |m| - |c - m|, which is also the
    distance that separates the two.

    Args:
        size_a, size_b: length and width [m].

    Returns:
        intersecting (B,) bool: the bodies overlap now;
        will_intersect (B,) bool: no axis separates them, each moving straight on for `dt` [s];
        push_x, push_y (B,) [m]: the shortest displacement along an axis that would then separate a from b.
    """
    cos_a, sin_a, cos_b, sin_b = a.heading.cos(), a.heading.sin(), b.heading.cos(), b.heading.sin()
    cos, sin = cos_a * cos_b + sin_a * sin_b, cos_a * sin_b - sin_a * cos_b  # of b's heading as seen from a
    (length_a, width_a), (length_b, width_b) = size_a, size_b
    ahead_a = length_a / 2 + length_b / 2 * cos.abs() + width_b / 2 * sin.abs()
    aside_a = width_a / 2 + length_b / 2 * sin.abs() + width_b / 2 * cos.abs()
    ahead_b = length_b / 2 + length_a / 2 * cos.abs() + width_a / 2 * sin.abs()
    aside_b = width_b / 2 + length_a / 2 * sin.abs() + width_a / 2 * cos.abs()
    half_a, half_b = a.speed * (dt / 2), b.speed * (dt / 2)
    x, y = b.x - a.x, b.y - a.y
    diagonals = (length_a**2 + width_a**2) ** 0.5 / 2 + (length_b**2 + width_b**2) ** 0.5 / 2
    near = x * x + y * y <= (diagonals + a.speed * dt).square()
    intersecting = near
    least = push_x = push_y = torch.full_like(x, torch.inf)
    for axis_x, axis_y, r, m in (
        (cos_a, sin_a, ahead_a, half_a - half_b * cos),
        (-sin_a, cos_a, aside_a, -half_b * sin),
        (cos_b, sin_b, ahead_b, half_a * cos - half_b),
        (-sin_b, cos_b, aside_b, -half_a * sin),
    ):
        c = axis_x * x + axis_y * y
        intersecting = intersecting & (c.abs() <= r)
        overlap = r + m.abs() - (c - m).abs()
        less, away = overlap < least, torch.where(c < 0, overlap, -overlap)
        push_x, push_y = torch.where(less, away * axis_x, push_x), torch.where(less, away * axis_y, push_y)
        least = overlap.minimum(least)
    return intersecting, near & (least >= 0), push_x, push_y


def _unusual(cars: Car, duration: float) -> Tensor:
    """(B,) bool: environments in which `Vehicle.clip_actions` or an impact may take effect within `duration` [s].

    Fields of `cars` are (V, B).
    """
    reach = torch.add(cars.speed.abs(), cars.acceleration.abs(), alpha=duration)
    return ((reach >= MAX_SPEED) | cars.crashed | cars.struck).any(0)


def _may_touch(path: list[Car], dt: float) -> Tensor:
    """(B,) bool: a cheap necessary condition for `contact` along the path: the circle, and one of the four axes.

    Fields in `path` are (V, B). On the axis across b, the bodies and their motion within `dt` must overlap.
    """
    x, y, heading, speed = (torch.stack(field) for field in list(zip(*path, strict=True))[:4])  # (steps, V, B)
    touch = torch.zeros_like(path[0].crashed[0])
    for a, b in combinations(range(x.shape[1]), 2):
        dx, dy, reach = x[:, b] - x[:, a], y[:, b] - y[:, a], speed[:, a].abs() * dt
        near = dx * dx + dy * dy <= (reach + (DIAGONAL + 1e-6)).square()
        across = (dy * heading[:, b].cos() - dx * heading[:, b].sin()).abs()
        turned = (heading[:, b] - heading[:, a]).sin().abs()
        touch = touch | (near & (across <= (reach + LENGTH / 2) * turned + (WIDTH + 1e-6))).any(0)
    return touch
