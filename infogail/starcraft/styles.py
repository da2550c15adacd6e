"""Styles of armies: InfoGAIL drives a point where armies go, and what its codes mean is judged on held-out games.

Run `python -m infogail.starcraft.styles demos/starcraft.safetensors`; it prints a table and draws the first seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

from infogail.config.config import Config
from infogail.envs.data.demonstrations import Demonstrations
from infogail.envs.gym_environment import GymEnvironment
from infogail.envs.point_on_map import HORIZON, NAME, episodes_of
from infogail.envs.tasks import RECOMMENDED
from infogail.evaluation.meaning import mutual_information, permutation_test
from infogail.evaluation.metrics import style_ami
from infogail.forecast.judge import divergence
from infogail.learning.learner import InfoGAIL
from infogail.learning.networks import step_by_step
from infogail.learning.posterior import belief
from infogail.parallel.progress import status
from infogail.parallel.terminal import print_table
from infogail.rendering.diagrams import write_plot
from infogail.starcraft.games import CELL, Games
from infogail.starcraft.maps import DENSITY

SETTINGS = {**RECOMMENDED, "num_codes": 3, "num_envs": 64, "iterations": 4, "info_coef": 0.2, "learning_rate": 1e-4}
"""Chosen, as were the posterior's features, on the last fifth of the games to learn from, with seeds 100 to 104."""
ROLLOUTS, SPLITS = 4, 20  # for a code's map, and for its floor
MIDDLE = 0.5  # of the way to the enemy's start


@dataclass(frozen=True)
class Styles:
    """Train InfoGAIL on armies over several seeds; say what its codes mean in held-out games."""

    path: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """File of games, from `infogail import`."""
    seeds: int = 5
    """Seeds 0 to N - 1, of training."""
    out: Path = Path("styles.png")
    """The figure to write."""

    def run(self) -> None:
        games = Games.load(self.path)
        held_out = games.held_out()
        shown, others = (episodes_of(games.relative()[rows]).demonstrations for rows in (~held_out, held_out))
        of_what = labels(games)
        rows = []
        for seed in range(self.seeds):
            with status(f"training seed {seed} of {self.seeds}"):
                learner = train(shown, seed)
            codes = read(learner, others)
            maps = code_maps(learner, others, codes, games)
            rows.append([f"InfoGAIL, seed {seed}", *meanings(codes, of_what, held_out), *map(ratio, maps)])
            if seed == 0:
                write_plot(self.out, draw(maps, games))
        codes = k_means(paths_of(shown), paths_of(others))
        rows.append(["k-means", *meanings(codes, of_what, held_out), *["" for _ in maps]])
        title = f"{held_out.sum()} held-out of {len(held_out)} players on {games.map_name}: AMI of codes (p)"
        heads = [f"code {code}: KL / floor" for code in range(len(maps))]
        print_table(title, ["", *of_what, *heads], rows)
        print(self.out)


@dataclass(frozen=True)
class CodeMap:
    """Where armies of one code are: shares of cells, (rows, columns)."""

    people: np.ndarray
    driven: np.ndarray
    number: int
    """of held-out armies"""
    kl: float
    """KL(people ‖ driven) [nats]"""
    floor: float
    """the same of two random halves of the people, the mean of `SPLITS`"""


def ratio(each: CodeMap) -> str:
    """The divergence and its floor, as text."""
    return f"{each.kl:.2f} / {each.floor:.2f} ({each.number})"


def train(demonstrations: Demonstrations, seed: int, **changes: Any) -> InfoGAIL:
    """InfoGAIL with `SETTINGS`, but for `changes`."""
    config = Config.of(**{**SETTINGS, **changes}, seed=seed)
    learner = InfoGAIL(GymEnvironment(NAME, config.run.num_envs), demonstrations, config)
    while learner.iteration < learner.schedule.iterations:
        learner.iterate()
    return learner


def read(learner: InfoGAIL, demonstrations: Demonstrations) -> np.ndarray:
    """(E,): the codes that the posterior reads from demonstrations."""
    evidence = learner.posterior.evidence
    rows = torch.from_numpy(demonstrations.padded_observations()).transpose(0, 1)
    return belief(step_by_step(evidence, rows), prior=evidence.prior)[-1].argmax(-1).numpy()


def k_means(shown: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(E,): the clusters of `others` (E, T, 2) by their whole paths, found in those `shown`."""
    from sklearn.cluster import KMeans

    fitted = KMeans(SETTINGS["num_codes"], n_init=10, random_state=0).fit(shown.reshape(len(shown), -1))
    return fitted.predict(others.reshape(len(others), -1))


def paths_of(demonstrations: Demonstrations) -> np.ndarray:
    """(E, T, 2): positions."""
    return demonstrations.observations[:, :2].reshape(-1, HORIZON, 2)


def labels(games: Games) -> dict[str, np.ndarray]:
    """(P,) each, by name: the tercile of when the army first crosses the middle, the race, the number of bases.

    The terciles' bounds are those of the games to learn from; an army that never crosses is in the last.
    """
    beyond = games.relative()[..., 0] > MIDDLE
    moment = np.where(beyond.any(1), beyond.argmax(1), beyond.shape[1])
    bounds = np.quantile(moment[~games.held_out()], (1 / 3, 2 / 3), method="higher")
    return {"crossing": np.searchsorted(bounds, moment, side="right"), "race": games.race, "bases": games.bases}


def meanings(codes: np.ndarray, of_what: dict[str, np.ndarray], held_out: np.ndarray) -> list[str]:
    """AMI of `codes` (E,) with each label, and its p-value, as text; games are permuted, the two players together."""
    pairs = codes.reshape(-1, 2)
    cells = []
    for label in of_what.values():
        own = label[held_out]
        _, p = permutation_test(pairs, own.reshape(-1, 2), lambda a, b: mutual_information(a.ravel(), b.ravel()))
        cells.append(f"{style_ami(codes, own):.3f} ({p:.3f})")
    return cells


def occupancy(paths: np.ndarray, games: Games) -> np.ndarray:
    """(rows, columns): the share of each cell of the map, of width `CELL`, in the relative positions `paths` (…, 2).

    Who leaves the map is counted in the nearest cell.
    """
    columns, rows = games.seen[:, 2:4].max(0) + 1
    x, y = ((games.absolute(paths) - games.corner) / CELL).reshape(-1, 2).T.astype(int)
    counts = np.bincount(y.clip(0, rows - 1) * columns + x.clip(0, columns - 1), minlength=rows * columns)
    return counts.reshape(rows, columns) / counts.sum()


def code_maps(learner: InfoGAIL, people: Demonstrations, codes: np.ndarray, games: Games) -> list[CodeMap]:
    """The map of each code, with sampled actions; beside it, of the people whom the posterior gives the code."""
    maps, rng = [], np.random.default_rng(0)
    for code in range(SETTINGS["num_codes"]):
        own = paths_of(people)[codes == code]
        driven = occupancy(drive(learner, code), games)
        there, kl, floor = np.full_like(driven, np.nan), np.nan, np.nan
        if len(own) > 1:
            there = occupancy(own, games)
            kl = divergence(there.ravel(), driven.ravel())
            halves = [np.array_split(rng.permutation(own), 2) for _ in range(SPLITS)]
            floor = float(np.mean([divergence(*(occupancy(half, games).ravel() for half in two)) for two in halves]))
        maps.append(CodeMap(there, driven, len(own), kl, floor))
    return maps


@torch.no_grad()
def drive(learner: InfoGAIL, code: int) -> np.ndarray:
    """(T, n, 2): positions of points that the policy drives, its actions sampled."""
    env, policy, generator = learner.env, learner.policy, torch.Generator().manual_seed(code)
    codes, path = torch.full((env.num_envs,), code), []
    for rollout in range(ROLLOUTS):
        observations = env.reset(seed=rollout)
        for _ in range(HORIZON):
            path.append(observations[:, :2].numpy())
            observations = env.step(policy(policy.inputs(observations, codes)).sample(generator)).observations
    return np.stack(path)


def draw(maps: list[CodeMap], games: Games) -> Figure:
    """The people of each code above, the policy with it below."""
    figure = Figure(figsize=(3.0 * len(maps) + 0.8, 5.6), dpi=110, layout="constrained")
    panels = figure.subplots(2, len(maps), squeeze=False, sharex=True, sharey=True)
    box = games.box(*maps[0].driven.shape)
    for code, (column, each) in enumerate(zip(panels.T, maps, strict=True)):
        pictures = ((f"code {code}: {each.number} held-out armies", each.people), ("driven with it", each.driven))
        for axes, (title, shares) in zip(column, pictures, strict=True):
            image = axes.imshow(100 * shares, origin="lower", extent=box, cmap=DENSITY, vmin=0.0, vmax=4.0)
            axes.plot(*games.starts[0], "^k", ms=6)
            axes.plot(*games.starts[1], "vk", ms=6, mfc="none")
            axes.plot(*games.absolute(np.array([[MIDDLE, -1.0], [MIDDLE, 1.0]])).T, "k:", lw=0.7)
            axes.set(title=title, xticks=[], yticks=[], xlim=box[:2], ylim=box[2:])
    figure.colorbar(image, ax=panels, shrink=0.7, label="share of time [%]", extend="max")
    return figure


if __name__ == "__main__":
    tyro.cli(Styles).run()
