"""A small made-up recording: three straight lanes, cars that move as the bicycle model has it."""

from dataclasses import dataclass, field

import numpy as np

from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.data.recording import Recording
from infogail.envs.data.world import RecordedWorld
from infogail.envs.scenarios.replay import Replay
from infogail.runs.driver import Driver

DT, STEPS = 0.1, 121  # [s]; states of a scene, two windows of each car
LANES = np.array([-6.0, -2.0, 2.0, 6.0])  # [m], edges
ROAD = 600  # [m]


@dataclass
class Car:
    """One recorded driver; actions in [-1, 1] as learners give them."""

    x: float = 0.0
    y: float = 0.0
    speed: float = 10.0
    actions: np.ndarray = field(default_factory=lambda: np.zeros((STEPS - 1, 2), np.float32))
    length: float = 5.0
    width: float = 2.0

    def states(self) -> np.ndarray:
        """(STEPS, 4): x, y, heading, speed."""
        states = [(self.x, self.y, 0.0, self.speed)]
        for action in self.actions.astype(np.float64):
            x, y, heading, speed = states[-1]
            acceleration, steering = 5.0 * action[0], 0.3 * action[1]
            slip = np.arctan(np.tan(steering) / 2)
            turned = heading + speed * np.sin(slip) / (self.length / 2) * DT
            across, along = np.sin(heading + slip), np.cos(heading + slip)
            states.append((x + speed * along * DT, y + speed * across * DT, turned, speed + acceleration * DT))
        return np.array(states)


def steady_cars(gap: float = 60.0, speeds=(10.0, 10.0, 10.0, 10.0)) -> list[Car]:
    """Two in the left lane, one in the middle, one on the right, at constant speeds."""
    places = ((100.0, -4.0), (100.0 + gap, -4.0), (100.0, 0.0), (100.0, 4.0))
    return [Car(x, y, speed) for (x, y), speed in zip(places, speeds, strict=True)]


def record_world(path, cars: list[Car] | None = None) -> Recording:
    """The same traffic in two scenes, the second held out: two windows of each car in each. Written to `path`."""
    cars = steady_cars() if cars is None else cars
    number, scenes = len(cars), 2
    once = np.stack([car.states() for car in cars], axis=1)
    line = np.zeros((ROAD, 4))
    line[:, 0] = np.arange(ROAD)
    windows = [(k, car, start) for k in range(scenes) for car in range(number) for start in (0, 60)]
    scene, car, start = np.array(windows).T
    world = RecordedWorld(
        files=("training", "held out"),
        states=np.tile(once, (scenes, 1, 1)),
        present=np.ones((scenes * STEPS, number), bool),
        places=np.tile(once[..., :2], (scenes, 1, 1)),
        sizes=np.tile(np.array([(one.length, one.width) for one in cars]), (scenes, 1, 1)),
        first_row=STEPS * np.arange(scenes + 1),
        reference=np.tile(line, (scenes, 1)),
        edges=np.tile(LANES, (scenes * ROAD, 1)),
        first_point=ROAD * np.arange(scenes + 1),
        file=np.arange(scenes),
        demonstration_scene=scene,
        demonstration_car=car,
        demonstration_row=STEPS * scene + start,
        track=number * scene + car,
        num_training=np.array([2 * number]),
    )
    actions = np.concatenate([cars[c].actions[s : s + 60] for _, c, s in windows])
    states = np.concatenate([once[s : s + 61, [c]] for _, c, s in windows])
    bounds = 60 * np.arange(len(windows) + 1)
    scenario = Replay.of_world(world, states[::61, 0])
    recording = Recording(
        scenario,
        Demonstrations(scenario.spec, scenario.observations(states), actions.astype(np.float32), bounds),
        states,
        {"demonstration": np.arange(len(windows), dtype=np.float64)},
        np.zeros(len(windows), np.int64),
        world,
    )
    recording.save(path)
    return Recording.load(path, Replay())


def record_manners(path) -> Recording:
    """In the left lane one drives 15 m behind another, 1 m/s faster; in the middle one alone; on the right one brakes
    at 1 m/s² every other decision."""
    cars = steady_cars(20.0, (11.0, 10.0, 10.0, 10.0))
    braking = np.zeros((STEPS - 1, 2), np.float32)
    braking[::2, 0] = -0.2
    cars[3] = Car(100.0, 4.0, 10.0, braking)
    return record_world(path, cars)


class Scripted:
    """A driver by rule: code c asks for `accelerations[c]` [m/s²]; its posterior is sure of the code `read`."""

    scenario, algorithm, seed, graded, labelled = Replay(), "infogail", 0, False, False

    def __init__(self, accelerations=(0.0,), read: int | None = 0, steering: float = 0.0) -> None:
        self.accelerations, self.read, self.steering = accelerations, read, steering
        self.num_codes = len(accelerations)
        self.codes, self.prior = list(range(self.num_codes)), np.full(self.num_codes, 1 / self.num_codes)
        self.names = (None,) * self.num_codes
        self.evidence = None if read is None else "of the code read"

    def act(self, obs, code):
        return np.array([self.accelerations[code] / 5.0, self.steering], np.float32)

    belief, num_distinct, labels = Driver.belief, Driver.num_distinct, Driver.labels

    def log_posterior(self, observations, actions):
        if self.read is None:
            return None
        return np.log(np.where(np.arange(self.num_codes) == self.read, 0.9, 0.1)) * np.ones((len(observations), 1))


class Reader(Scripted):
    """Reads code 1 where there is a leader."""

    def log_posterior(self, observations, actions):
        leader = observations[:, 6] > 0.5
        return np.log(np.where(leader[:, None] == np.array([False, True]), 0.9, 0.1))
