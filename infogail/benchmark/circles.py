"""InfoGAIL's first figure: BC, GAIL and InfoGAIL run round three circles from a common start, over several seeds.

Run `python -m infogail.benchmark.circles`; it takes 10 s a seed on one core, prints a table, and draws the first seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

from infogail.baselines.bc import BC
from infogail.baselines.gail import GAIL
from infogail.config.config import Config
from infogail.envs.circles import HORIZON, RADII, CirclesEnvironment, distances, record
from infogail.learning.learner import InfoGAIL
from infogail.learning.networks import Policy
from infogail.learning.rollout import style_nmi
from infogail.rendering.diagrams import write_plot
from infogail.rendering.palette import DEMONSTRATION, code_colour
from infogail.runs.runner import MakeLearner

LEARNERS: dict[str, MakeLearner] = {"BC": BC, "GAIL": GAIL, "InfoGAIL": InfoGAIL}
STYLES, DRIVEN = len(RADII), 30
SETTINGS = {
    "num_codes": STYLES,
    "learning_rate": 1e-4,
    "ppo_epochs": 2,
    "info_coef": 1.0,
    "initial_log_std": -1.2,  # the expert's noise: a policy with less fills the circle's width by leaving the circle
}


@dataclass(frozen=True)
class Circles:
    """Train BC, GAIL and InfoGAIL on three circles over several seeds; print a table and draw the first seed."""

    seeds: int = 10
    """Seeds 0 to N - 1, of training."""
    demonstrations: int = 120
    """Episodes, a third of each style."""
    out: Path = Path("circles.png")
    """The figure to write."""

    def run(self) -> None:
        shown = record(self.demonstrations, seed=1)
        paths = shown.demonstrations.observations[:, :2].reshape(-1, HORIZON, 2)
        bound = distances(paths)[np.arange(len(paths)), shown.styles].mean()
        print(f"demonstrations: mean distance from their circle {bound:.3f}")
        drawn = {"demonstrations": (paths, shown.styles)}
        for seed in range(self.seeds):
            for name, kind in LEARNERS.items():
                config = Config.of(seed=seed, **SETTINGS)
                learner = kind(CirclesEnvironment(config.run.num_envs), shown.demonstrations, config)
                while learner.iteration < learner.schedule.iterations:
                    learner.iterate()
                path, codes = drive(learner.policy)
                nmi, apart = style_nmi(codes, distances(path).argmin(-1)), distances(path).min(-1)
                print(f"seed {seed} {name:8} style NMI {nmi:.3f} mean distance {apart.mean():.3f}", flush=True)
                drawn.setdefault(name, (path, codes))
        write_plot(self.out, draw(drawn))
        print(self.out)


@torch.no_grad()
def drive(policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """`DRIVEN` paths (n, T, 2) of the mean action, and their codes (n,), which a policy without codes ignores."""
    env, codes = CirclesEnvironment(DRIVEN), torch.arange(DRIVEN) % STYLES
    observations, path = env.reset(), []
    for _ in range(HORIZON):
        step = env.step(policy(policy.inputs(observations, codes)).mode())
        observations = step.observations
        path.append(step.final_observations[:, :2])
    return torch.stack(path, 1).numpy(), codes.numpy()


def draw(drawn: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """One panel for each of the named paths (n, T, 2) and their codes or styles (n,)."""
    figure = Figure(figsize=(3.0 * len(drawn), 3.4), dpi=150, layout="constrained")
    for axes, (name, (paths, codes)) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
        for path, code in zip(paths[:60], codes[:60], strict=True):
            paint = code_colour(int(code)) if name == "InfoGAIL" else DEMONSTRATION
            axes.plot(*np.vstack(([0.0, 0.0], path)).T, color=paint, lw=0.8, alpha=0.6)
        axes.plot(0.0, 0.0, "ko", ms=4)
        axes.set(title=name, aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 4.6), xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    tyro.cli(Circles).run()
