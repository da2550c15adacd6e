"""highway-env's vehicle physics, batched: bicycle model, collisions, impulses.

Everything is a function of tensors whose leading dimensions are (B, V): B independent environments with V
vehicles each, the ego first. The equations and their order are those of `highway_env.vehicle.kinematics.Vehicle`
and `highway_env.vehicle.objects.RoadObject`, the constants are read from there, and tests hold both together.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from highway_env.vehicle.kinematics import Vehicle
from torch import Tensor

LENGTH, WIDTH = Vehicle.LENGTH, Vehicle.WIDTH  # [m]
DIAGONAL = (LENGTH**2 + WIDTH**2) ** 0.5  # [m]
MIN_SPEED, MAX_SPEED = Vehicle.MIN_SPEED, Vehicle.MAX_SPEED  # [m/s]


@dataclass
class Traffic:
    """All vehicles of all environments, with what highway-env remembers about each between two physics steps."""

    state: Tensor
    """(B, V, 4): x [m], y [m], heading [rad], speed [m/s]."""
    acceleration: Tensor
    """(B, V) [m/s²], the command in force; highway-env keeps it until the next one."""
    steering: Tensor
    """(B, V) [rad]"""
    crashed: Tensor
    """(B, V) bool: has touched another vehicle."""
    impact: Tensor
    """(B, V, 2) [m]: displacement that the next physics step adds to the position."""
    struck: Tensor
    """(B, V) bool: an impact is pending, and will mark the vehicle as crashed."""

    @staticmethod
    def at(state: Tensor) -> Traffic:
        """Undamaged vehicles in `state` (B, V, 4), no command in force."""
        zeros = torch.zeros_like(state[..., 0])
        false = torch.zeros_like(zeros, dtype=torch.bool)
        return Traffic(
            state,
            acceleration=zeros,
            steering=zeros.clone(),
            crashed=false,
            impact=torch.zeros_like(state[..., :2]),
            struck=false.clone(),
        )

    def __getitem__(self, index: Tensor) -> Traffic:
        """The environments in `index` (n,), copied."""
        return Traffic(*(getattr(self, field.name)[index] for field in fields(self)))

    def __setitem__(self, index: Tensor, other: Traffic) -> None:
        for field in fields(self):
            getattr(self, field.name)[index] = getattr(other, field.name)


def drive(traffic: Traffic, dt: float, steps: int) -> None:
    """Advance all vehicles in place by `steps` physics steps of `dt` [s] under the commands in force.

    Vehicles rarely touch. So all are first driven as if they could not; the few environments in which that may be
    wrong (bodies near each other, an impact pending, a speed beyond the limits) are then driven again with everything
    that highway-env does. The result is the same, bit for bit.
    """
    start, state = traffic.state, traffic.state.clone()
    special = _unusual(traffic, dt * steps)
    slip = slip_angle(traffic.steering)
    for _ in range(steps):
        _bicycle_step(state, traffic.acceleration, slip, dt)
        for i, j in _pairs(state.shape[1]):
            special |= _may_touch(state[:, i], state[:, j], dt)
    traffic.state = state
    index = special.nonzero().squeeze(-1)
    if len(index):
        some = traffic[index]
        some.state = start[index]
        for _ in range(steps):
            _full_step(some, dt)
        traffic[index] = some


def _pairs(num_vehicles: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(num_vehicles) for j in range(i + 1, num_vehicles)]


def _unusual(traffic: Traffic, duration: float) -> Tensor:
    """(B,) bool: environments in which `Vehicle.clip_actions` or an impact may act within `duration` [s]."""
    reach = traffic.state[..., 3].abs() + traffic.acceleration.abs() * duration
    return ((reach >= MAX_SPEED) | traffic.crashed | traffic.struck).any(-1)


def slip_angle(steering: Tensor) -> Tensor:
    """Angle [rad] between heading and course of a car whose front wheels are at `steering` [rad]."""
    return (steering.tan() / 2).atan()


def _bicycle_step(state: Tensor, acceleration: Tensor, slip: Tensor, dt: float) -> None:
    """`Vehicle.step` without impacts, in place: position with the old speed and heading, then heading, then speed."""
    x, y, heading, speed = state.unbind(-1)
    course, distance = heading + slip, speed * dt
    x.addcmul_(distance, course.cos())
    y.addcmul_(distance, course.sin())
    heading.addcmul_(distance, slip.sin(), value=2 / LENGTH)
    speed.add_(acceleration, alpha=dt)


def _full_step(traffic: Traffic, dt: float) -> None:
    """One step of `highway_env.road.road.Road`: every vehicle moves, then all pairs are checked for contact."""
    crashed, speed = traffic.crashed, traffic.state[..., 3]
    acceleration = torch.where(crashed, -speed, traffic.acceleration)
    acceleration = torch.where(speed > MAX_SPEED, acceleration.minimum(MAX_SPEED - speed), acceleration)
    acceleration = torch.where(speed < MIN_SPEED, acceleration.maximum(MIN_SPEED - speed), acceleration)
    traffic.acceleration, traffic.steering = acceleration, traffic.steering.masked_fill(crashed, 0.0)
    _bicycle_step(traffic.state, traffic.acceleration, slip_angle(traffic.steering), dt)
    traffic.state[..., :2] += traffic.impact
    traffic.crashed = crashed | traffic.struck
    traffic.impact, traffic.struck = torch.zeros_like(traffic.impact), torch.zeros_like(traffic.struck)
    for i, j in _pairs(traffic.state.shape[1]):
        intersecting, will_intersect, translation = contact(traffic.state[:, i], traffic.state[:, j], dt)
        for k, share in ((i, 0.5), (j, -0.5)):
            traffic.crashed[:, k] |= intersecting
            traffic.struck[:, k] |= will_intersect
            traffic.impact[:, k] = torch.where(will_intersect[:, None], share * translation, traffic.impact[:, k])


def _may_touch(a: Tensor, b: Tensor, dt: float) -> Tensor:
    """(B,) bool: a necessary condition for `contact` that costs little: a circle, and one of the eight axes.

    On the axis across b, the bodies and their motion within `dt` must overlap for either flag to be set.
    """
    (xa, ya, ha, va), (xb, yb, hb, _) = a.unbind(-1), b.unbind(-1)
    dx, dy = xb - xa, yb - ya
    near = dx * dx + dy * dy <= (DIAGONAL + va.abs() * dt + 1e-6).square()
    cos, sin, turned = hb.cos(), hb.sin(), (ha - hb)
    across = (dy * cos - dx * sin).abs()
    sideways = turned.sin().abs()
    reach = WIDTH + LENGTH / 2 * sideways + va.abs() * dt * sideways + 1e-6
    return near & (across <= reach)


def contact(a: Tensor, b: Tensor, dt: float) -> tuple[Tensor, Tensor, Tensor]:
    """Separating-axis test of vehicles a against b, (n, 4) states each: highway-env's `are_polygons_intersecting`.

    Returns:
        intersecting (n,) bool: the bodies overlap now;
        will_intersect (n,) bool: no axis separates them, each moving straight on for `dt` [s];
        translation (n, 2) [m]: the displacement that would push a out of b.
    """
    position, heading, speed = zip(*((s[:, :2], s[:, 2], s[:, 3]) for s in (a, b)), strict=True)
    forward = torch.stack([torch.stack((h.cos(), h.sin()), -1) for h in heading])  # (2, n, 2)
    left = torch.stack((-forward[..., 1], forward[..., 0]), -1)
    # highway-env walks the edges of a, then of b: back, left, front, right. The first of equal overlaps wins.
    axes = torch.stack([n for f, s in zip(forward, left, strict=True) for n in (-f, s, f, -s)], 1)  # (n, 8, 2)
    centre_a, centre_b = ((axes * p[:, None]).sum(-1) for p in position)  # (n, 8)
    half_a, half_b = (
        LENGTH / 2 * (axes * f[:, None]).sum(-1).abs() + WIDTH / 2 * (axes * s[:, None]).sum(-1).abs()
        for f, s in zip(forward, left, strict=True)
    )
    min_a, max_a, min_b, max_b = centre_a - half_a, centre_a + half_a, centre_b - half_b, centre_b + half_b
    intersecting = (_interval_distance(min_a, max_a, min_b, max_b) <= 0).all(1)
    motion = dt * (speed[0][:, None] * forward[0] - speed[1][:, None] * forward[1])
    drift = (axes * motion[:, None]).sum(-1)
    distance = _interval_distance(min_a + drift.clamp(max=0), max_a + drift.clamp(min=0), min_b, max_b)
    will_intersect = (distance <= 0).all(1)
    first = distance.abs().argmin(1, keepdim=True)
    overlap = distance.abs().gather(1, first)
    axis = axes.gather(1, first[:, :, None].expand(-1, 1, 2)).squeeze(1)
    away = ((position[0] - position[1]) * axis).sum(-1) > 0
    translation = overlap * torch.where(away[:, None], axis, -axis)
    # Beyond this circle highway-env does not look (RoadObject._is_colliding).
    near = (position[1] - position[0]).norm(dim=-1) <= DIAGONAL + speed[0] * dt
    return intersecting & near, will_intersect & near, translation


def _interval_distance(min_a: Tensor, max_a: Tensor, min_b: Tensor, max_b: Tensor) -> Tensor:
    """`highway_env.utils.interval_distance`: negative where the intervals overlap."""
    return torch.where(min_a < min_b, min_b - max_a, min_a - max_b)
