"""The user-facing driver: observation and code in, action out. An exported one needs no torch, nor does this module."""

from __future__ import annotations

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from infogail.envs.errors import BadInput
from infogail.envs.files import write_atomically
from infogail.runs.folder import DEMONSTRATIONS, EXPORTED, MANIFEST, MIX

if TYPE_CHECKING:
    from infogail.envs.data.demonstrations import Demonstrations
    from infogail.envs.scenarios.scenario import Scenario
    from infogail.envs.tasks import Task

FILE, SCHEMA = "policy.safetensors", "infogail-driver-3"


class FastPolicy(Protocol):
    """What `Driver.fast_policy` makes."""

    def __call__(self, observations: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Mean or likeliest actions (N, A), for observations (N, F) and codes (N,), numbered from 0 to K - 1."""


@dataclass(frozen=True)
class About:
    """What a driver is, apart from its networks."""

    scenario: str
    """The driving scenario, or the id of the Gymnasium environment."""
    algorithm: str
    seed: int
    """Of the training."""
    codes: tuple[float, ...]
    """(K,): 0 to K - 1, or levels of a graded code from -1 to 1."""
    graded: bool
    """Any number from -1 to 1 is a code, too."""
    labelled: bool
    """The learner saw labels of the styles, and codes are numbered as the scenario's styles."""
    names: tuple[str | None, ...]
    """(K,): the style that each code was found to drive, None where that is not clear; for people."""
    mix: tuple[float, ...] | None
    """(K,): how common each code is where traffic is like the people learned from; None if that was not fitted."""


class CodeLabels(NamedTuple):
    """What K codes are called where they are shown."""

    numbers: tuple[str, ...]
    """(K,): '1', or '+0.50' of a graded code"""
    names: tuple[str | None, ...]
    """(K,), see `About`"""

    @classmethod
    def of(cls, codes: Iterable[float], graded: bool, names: Iterable[str | None] = ()) -> CodeLabels:
        """Those of `codes` (K,); without `names` (K,), none has a name."""
        numbers = tuple(f"{code:+.2f}" if graded else f"{code:g}" for code in codes)
        return cls(numbers, tuple(names) or (None,) * len(numbers))

    def title(self, k: int) -> str:
        """Of the code numbered k: 'code 1', 'code 1 · left', or 'code +0.50'."""
        name = self.names[k]
        return f"code {self.numbers[k]}" + (f" · {name}" if name else "")


class Driver(ABC):
    """A policy and, if the learner has one, the posterior that infers its code.

    Args:
        prior: (K,), each code's share of the demonstrations according to the posterior; None without one.
    """

    policy: Any
    """What `act` evaluates."""
    evidence: Any
    """What `log_posterior` evaluates; None without a posterior."""

    def __init__(self, about: About, prior: np.ndarray | None) -> None:
        self.about, self.algorithm, self.seed, self.names = about, about.algorithm, about.seed, about.names
        self.graded, self.labelled = about.graded, about.labelled
        self.codes, self.num_codes = list(about.codes), len(about.codes)
        """The codes to evaluate, and how many they are, K."""
        self.prior = np.full(self.num_codes, 1 / self.num_codes) if prior is None else prior
        """(K,): uniform without a posterior."""

    @cached_property
    def task(self) -> Task:
        """What it was trained on.

        Raises:
            BadInput: there is no such scenario or environment here.
        """
        from infogail.envs.tasks import named_in_file

        return named_in_file(self.about.scenario)

    @property
    def scenario(self) -> Scenario:
        """The scenario that it drives in.

        Raises:
            BadInput: it was trained in another Gymnasium environment.
        """
        from infogail.envs.tasks import GymTask

        if isinstance(self.task, GymTask):
            raise BadInput(f"a run of {self.task.name}: this is for driving scenarios; 'infogail evaluate' judges it")
        return self.task

    @property
    def num_distinct(self) -> int:
        """The number of codes that drive differently: without a posterior, codes have no effect."""
        return self.num_codes if self.evidence is not None else 1

    @property
    def labels(self) -> CodeLabels:
        """What its codes are called where they are shown."""
        return CodeLabels.of(self.codes, self.graded, self.names)

    def number(self, name: str) -> int:
        """The number of the code called `name`.

        Raises:
            BadInput: no code is; the message has the names that there are.
        """
        if name in self.names:
            return self.names.index(name)
        known = [each for each in self.names if each is not None]
        if not known:
            raise BadInput(f"code '{name}': the codes of this driver have no names; give a number")
        near = difflib.get_close_matches(name.lower(), known, 1, 0.3)
        remedy = f"did you mean '{near[0]}'?" if near else f"the names are {', '.join(known)}"
        raise BadInput(f"code '{name}': {remedy}")

    def act(self, obs: np.ndarray, code: float | str | np.ndarray) -> np.ndarray:
        """The mean or likeliest action, float32 (A,) or (B, A), for obs (F,) or (B, F) and code () or (B,).

        A graded code is any number from -1 to 1; other codes are integers. Those that have a name may be given by it.

        Raises:
            ValueError: the code is out of range, or no code has this name.
        """
        codes = np.asarray(self.codes[self.number(code)] if isinstance(code, str) else code)
        low, high = self.codes[0], self.codes[-1]
        if not ((codes >= low) & (codes <= high)).all():
            raise ValueError(f"code {code}: the codes of this driver are {low} to {high}")
        return self._act(np.asarray(obs, np.float32), codes.astype(np.float32 if self.graded else np.int64))

    @abstractmethod
    def _act(self, obs: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """The same, for obs float32, and codes int64, or float32 if graded."""

    @abstractmethod
    def fast_policy(self) -> FastPolicy:
        """`act` at little cost per call, for a few vehicles at a time."""

    @abstractmethod
    def log_posterior(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """log Q(c|s) of each step, (N, K) for observations (N, F) and actions (N, A); None without a posterior.

        Its sum over a trajectory is log Q(c|τ) up to a constant. Only a posterior of pairs uses the actions.
        """

    def belief(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray | None:
        """P(c | the trajectory so far), float64 (T + 1, K): the prior, then the belief after each decision.

        For one trajectory of observations (T, F) and actions (T, A); None without a posterior.
        """
        evidence = self.log_posterior(observations, actions)
        if evidence is None:
            return None
        logits = np.cumsum(np.vstack((np.log(np.maximum(self.prior, 1e-12)), evidence)), axis=0, dtype=np.float64)
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        return odds / odds.sum(-1, keepdims=True)

    def shares(self, demonstrations: Demonstrations) -> np.ndarray:
        """(K,): how common each code is in demonstrations, by the posterior; the `prior` without one."""
        bounds = demonstrations.episode_bounds
        rows = [slice(*bounds[e : e + 2]) for e in range(demonstrations.num_episodes)]
        beliefs = [self.belief(demonstrations.observations[each], demonstrations.actions[each]) for each in rows]
        known = [belief[-1] for belief in beliefs if belief is not None]
        return np.mean(known, axis=0) if known else self.prior


def load(run: str | Path) -> Driver:
    """Load the driver from the folder `run`, a run or what `infogail export` made of one.

    Raises:
        InvalidRun: the folder is missing, or a file in it was not written by this version.
    """
    run = Path(run)
    if (run / EXPORTED).is_file() and not (run / MANIFEST).is_file():
        from infogail.runs.exported import load_exported

        return load_exported(run)
    from infogail.runs.trained import load_trained

    return load_trained(run)


def usual_mix(run: str | Path, driver: Driver) -> np.ndarray:
    """(K,): how common each code of the `driver` in the folder `run` is: so that its traffic is like the people learned
    from, if `infogail traffic --measure` has fitted that, otherwise as inferred."""
    return inferred_mix(run, driver) if driver.about.mix is None else np.array(driver.about.mix)


def inferred_mix(run: str | Path, driver: Driver) -> np.ndarray:
    """(K,): how common each code is among the demonstrations that the `driver` in the folder `run` learned from, by the
    posterior.

    The prior of a graded code is uniform, so its levels are counted, if the demonstrations are there.
    """
    file = Path(run) / DEMONSTRATIONS
    if not driver.graded or not file.is_file():
        return driver.prior
    from infogail.envs.data.recording import Recording

    recording = Recording.load(file, driver.scenario)
    return driver.shares(recording.demonstrations.episodes(slice(recording.num_training)))


def as_names(content: object, num_codes: int) -> tuple[str | None, ...] | None:
    """The names of codes in JSON `content`; None if they are not that."""
    if not isinstance(content, list) or len(content) != num_codes:
        return None
    if not all(name is None or (isinstance(name, str) and name.isprintable()) for name in content):
        return None
    return tuple(content)


def as_mix(content: object, num_codes: int) -> tuple[float, ...] | None:
    """How common each code is, in JSON `content`; None if it is not that."""
    if not isinstance(content, list) or len(content) != num_codes:
        return None
    if not all(isinstance(share, float) and 0.0 <= share < np.inf for share in content) or not any(content):
        return None
    return tuple(content)


def names_of(run: Path, num_codes: int) -> tuple[str | None, ...] | None:
    """The names that the last evaluation of `run` gave its codes; None if there is none."""
    return as_names(_content(run / "metrics.json").get("code_names"), num_codes)


def mix_of(run: Path, num_codes: int) -> tuple[float, ...] | None:
    """How common `infogail traffic --measure` last found each code of `run` to be; None if it did not."""
    return as_mix(_content(run / MIX).get("mix"), num_codes)


def save_mix(run: Path, mix: np.ndarray) -> Path:
    """Let the codes of `run` be as common as `mix` (K,) in its traffic from now on; returns the file that says so."""
    file = run / MIX
    write_atomically(file, f"{json.dumps({'mix': mix.tolist()})}\n".encode())
    return file


def _content(path: Path) -> dict[str, Any]:
    """Of a JSON file, empty if it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
