"""Frames from highway-env's own renderer, for films: a camera, and a scene that is driven in front of it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pygame
from highway_env.envs.common.abstract import AbstractEnv
from highway_env.envs.common.graphics import EnvViewer
from highway_env.road.graphics import WorldSurface
from highway_env.road.lane import AbstractLane

from infogail.envs.physics.state import Scene
from infogail.envs.reference import DrivingEnv
from infogail.envs.scenarios.scenario import Scenario
from infogail.rendering.palette import OFF_ROAD, OTHER_VEHICLE, Colour

SUPERSAMPLING = 2  # scenes are drawn larger and scaled down, since highway-env's renderer has no anti-aliasing
SHIFT = 4  # OpenCV draws at 1/16 px


def draw_offscreen() -> None:
    """Make SDL render offscreen if there is no display; call this before drawing anything."""
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("SDL_VIDEODRIVER", "offscreen")  # SDL's own fallback, without its warning


class Camera:
    """Takes pictures of a highway-env environment with its own renderer."""

    def __init__(self, env: AbstractEnv, size: tuple[int, int], scaling: float) -> None:
        """A camera for pictures of `size` (width, height) [px] at `scaling` [px/m]."""
        self.env, self._size, self._scaling = env, size, scaling
        env.config |= {
            "screen_width": SUPERSAMPLING * size[0],
            "screen_height": SUPERSAMPLING * size[1],
            "scaling": SUPERSAMPLING * scaling,
            "centering_position": [0.5, 0.5],
        }
        env.viewer = EnvViewer(env)
        env.viewer.enabled = True  # highway-env disables drawing under SDL's dummy driver, although it works
        # Never closed: highway-env's close() would shut down pygame for all other cameras, too.
        self._lanes = [_outline(lane) for lane in env.road.network.lanes_list()]
        self._ground_at: tuple[np.ndarray, np.ndarray] | None = None

    def picture(self, centre: np.ndarray) -> np.ndarray:
        """The current scene (H, W, 3) around `centre` (2,) [m]."""
        self.env.viewer.observer_vehicle = SimpleNamespace(position=centre)
        # Not env.render(): it copies the picture column by column, which takes longer than drawing it.
        self.env.viewer.display()
        surface = self.env.viewer.sim_surface
        pixels = np.frombuffer(pygame.image.tobytes(surface, "RGB"), np.uint8)
        picture = cv2.resize(
            pixels.reshape(surface.get_height(), surface.get_width(), 3), self._size, interpolation=cv2.INTER_AREA
        )
        cv2.copyTo(self._ground(centre), cv2.inRange(picture, WorldSurface.GREY, WorldSurface.GREY), picture)
        return picture

    def _ground(self, centre: np.ndarray) -> np.ndarray:
        """Road and roadside (H, W, 3): highway-env draws all ground in one grey."""
        if self._ground_at is None or (self._ground_at[0] != centre).any():
            width, height = self._size
            ground = np.full((height, width, 3), OFF_ROAD, np.uint8)
            for lane in self._lanes:
                cv2.fillPoly(ground, [self.subpixels(lane, centre)], WorldSurface.GREY, shift=SHIFT)
            self._ground_at = centre, ground
        return self._ground_at[1]

    def subpixels(self, positions: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Picture coordinates of `positions` (n, 2) [m], int32 in units of 2^-SHIFT px, for OpenCV."""
        pixels = (positions - centre) * self._scaling + np.array(self._size) / 2
        return (pixels * 2**SHIFT).round().astype(np.int32)


class Stage:
    """highway-env with a camera: a scene, driven one physics step at a time."""

    def __init__(self, scenario: Scenario, scene: Scene, paint: Colour) -> None:
        self._paint, self._view = paint, scenario.view
        config = {"policy_frequency": scenario.simulation_frequency}  # one decision per physics step, same motion
        self.env = DrivingEnv(scenario, config, "rgb_array")
        self.env.reset(options={"scene": scene})
        for vehicle in self.env.road.vehicles:
            vehicle.color = paint if vehicle is self.env.vehicle else OTHER_VEHICLE
        self.states: list[np.ndarray] = [self.env.vehicle_state]
        _, self._scaling = self._view.camera(self.states[0], scene)
        diagonal = int(np.hypot(*self._view.size)) + 1
        size = (diagonal, diagonal) if self._view.heading else self._view.size
        self._camera = Camera(self.env, size, self._scaling)

    def step(self, action: np.ndarray) -> None:
        """Drive one physics step with `action` (2,)."""
        self.env.step(action)
        self.states.append(self.env.vehicle_state)

    def picture(self) -> np.ndarray:
        """The current scene (H, W, 3), with the ego's trail."""
        states, scene = self.states[-1], self.env.scene
        centre, _ = self._view.camera(states, scene)
        picture = self._with_trail(self._camera.picture(centre), centre)
        return picture if self._view.heading is None else self._turned(picture, self._view.heading(states, scene))

    def _turned(self, picture: np.ndarray, heading: float) -> np.ndarray:
        """The middle of `picture`, rotated so that `heading` [rad] points to the right."""
        middle, size = np.array(picture.shape[1::-1]) / 2, self._view.size
        turn = cv2.getRotationMatrix2D(middle.tolist(), np.degrees(heading), 1.0)
        turn[:, 2] = turn[:, 2] + np.array(size) / 2 - middle
        return cv2.warpAffine(picture, turn, size, flags=cv2.INTER_AREA)

    def _with_trail(self, picture: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """`picture` with the ego's trail, drawn under the vehicles."""
        vehicles = np.zeros(picture.shape[:2], np.uint8)
        for vehicle in self.env.road.vehicles:
            outline = [self._camera.subpixels(vehicle.polygon(), centre)]
            cv2.fillPoly(vehicles, outline, 255, shift=SHIFT)
            cv2.polylines(vehicles, outline, True, 255, round(0.6 * self._scaling), shift=SHIFT)  # the tyres stick out
        trail = [self._camera.subpixels(np.stack(self.states)[:, 0, :2], centre)]
        trailed = cv2.polylines(picture.copy(), trail, False, self._paint, 4, cv2.LINE_AA, SHIFT)
        return cv2.copyTo(picture, vehicles, trailed)


def _outline(lane: AbstractLane) -> np.ndarray:
    """Corners (n, 2) [m] of a polygon that covers `lane`."""
    along = np.linspace(0.0, lane.length, 65)
    left, right = ([lane.position(s, side * lane.width_at(s) / 2) for s in along] for side in (-1, 1))
    return np.array(left + right[::-1])
