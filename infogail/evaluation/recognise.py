"""`infogail recognise`: which methods find the styles in demonstrations? The analogue of InfoGAIL's table 1.

All methods are fitted on the training demonstrations and scored on the held-out ones, per (s, a) pair and per
trajectory. Unsupervised methods see neither styles nor codes: their clusters are matched to styles on the training
demonstrations. The supervised methods serve as a ceiling.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from infogail.envs.data.recording import Recording, num_training_episodes
from infogail.envs.environment import NO_STYLE
from infogail.envs.errors import BadInput
from infogail.evaluation.codes import read_codes, read_step_codes
from infogail.evaluation.metrics import matched_accuracy
from infogail.evaluation.statistics import interquartile_mean, interval
from infogail.learning.networks import adam, mlp
from infogail.parallel.terminal import print_table as print_rows
from infogail.runs.driver import load
from infogail.runs.folder import DEMONSTRATIONS

COMPONENTS = 2  # dimensions of PCA and of the VAE's latent space
VAE_STEPS, VAE_BATCH, VAE_BETA = 2000, 128, 0.1
SUPERVISED_ROWS = 4000  # an SVM's time grows with their square

Clusters = Callable[[np.ndarray, int, int], np.ndarray]
"""(rows (N, D), number of leading rows to fit, seed) → the cluster of each row (N,)."""


def recognise(
    run: Path, seed: int = 0, progress: Callable[[str], None] = lambda message: None
) -> dict[str, dict[str, float | None]]:
    """Accuracy on held-out demonstrations by method, each {"pair": …, "trajectory": …}.

    Args:
        seed: for the peers.
        progress: called with a message when fitting begins.

    Raises:
        InvalidRun, InvalidDemonstrations: `run` is not a finished run.
        BadInput: it learned from people, whose styles are unknown; or from too few demonstrations whose style is known.
    """
    driver = load(run)
    if driver.scenario.recorded:
        advice = f"'infogail evaluate {quote(str(run))}'"
        raise BadInput(f"{run}: the styles of its people are unknown; {advice} shows what the codes mean")
    recording, trained = _of_known_style(run, Recording.load(Path(run) / DEMONSTRATIONS, driver.scenario))
    progress(f"{run}: fitting the peers")
    seed %= 2**32  # scikit-learn's limit
    demonstrations = recording.demonstrations
    lengths = np.diff(demonstrations.episode_bounds)
    pairs = demonstrations.pairs()
    steps = int(lengths.min())  # trajectories as rows must have equal lengths
    trajectories = np.stack([pairs[start : start + steps].ravel() for start in demonstrations.episode_bounds[:-1]])
    rows = {"pair": pairs, "trajectory": trajectories}
    styles = {"pair": np.repeat(recording.judged_styles, lengths), "trajectory": recording.judged_styles}
    fitted = {"pair": int(lengths[:trained].sum()), "trajectory": trained}
    num_styles = len(driver.scenario.styles)
    results: dict[str, dict[str, float | None]] = {
        "chance": {kind: commonest_style(styles[kind], fitted[kind], num_styles) for kind in rows}
    }

    def matched(labels: np.ndarray, kind: str) -> float | None:
        return matched_accuracy(labels, styles[kind], scored=np.arange(len(labels)) >= fitted[kind])

    for name, clusters in unsupervised(num_styles).items():
        results[name] = {
            kind: matched(clusters(standardised(x, fitted[kind]), fitted[kind], seed), kind) for kind, x in rows.items()
        }
    by_pair = read_step_codes(driver, demonstrations.observations, demonstrations.actions)
    by_trajectory = read_codes(driver, demonstrations)
    if by_pair is not None and by_trajectory is not None:
        results["posterior"] = {"pair": matched(by_pair, "pair"), "trajectory": matched(by_trajectory, "trajectory")}
    results |= {
        name: {kind: fit(standardised(x, fitted[kind]), styles[kind], fitted[kind], seed) for kind, x in rows.items()}
        for name, fit in (("SVM (supervised)", _svm), ("MLP (supervised)", _mlp))
    }
    return results


def _of_known_style(run: Path, recording: Recording) -> tuple[Recording, int]:
    """The demonstrations whose style is known, and how many of them are for training."""
    styles = recording.judged_styles
    known = np.flatnonzero(styles != NO_STYLE)
    trained = int((known < num_training_episodes(len(styles))).sum())
    if len(np.unique(styles[known[:trained]])) < 2 or trained == len(known):
        raise BadInput(
            f"{run}: recognising takes labelled demonstrations, of two styles for training and one held out; "
            "train on a file that has them"
        )
    return recording.episodes(known), trained


def print_table(results: Sequence[dict[str, dict[str, float | None]]]) -> None:
    """Print interquartile means of the results of `recognise` over runs, with 95 % intervals if there are several."""
    rows = [
        [name, *(_over_runs([result[name][kind] for result in results]) for kind in kinds)]
        for name, kinds in results[0].items()
    ]
    print_rows("accuracy on held-out demonstrations", ["", "(s, a) pair", "trajectory"], rows)


def _over_runs(accuracies: Sequence[float | None]) -> str:
    known = np.array([value for value in accuracies if value is not None])
    if len(known) < 2:
        return f"{known[0]:.3f}" if len(known) else "–"
    low, high = interval([known])
    return f"{interquartile_mean(known):.3f} [{low:.3f}, {high:.3f}]"


def commonest_style(styles: np.ndarray, fitted: int, num_styles: int) -> float:
    """Accuracy of always predicting the commonest style of the first `fitted` rows."""
    return float((styles[fitted:] == np.bincount(styles[:fitted], minlength=num_styles).argmax()).mean())


def standardised(x: np.ndarray, fitted: int) -> np.ndarray:
    """x (N, D), standardised by the mean and standard deviation of its first `fitted` rows."""
    return (x - x[:fitted].mean(0)) / np.maximum(x[:fitted].std(0), 1e-3)


def unsupervised(clusters: int) -> dict[str, Clusters]:
    """Methods that find a given number of `clusters`, by name."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    def k_means(x: np.ndarray, fitted: int, seed: int) -> np.ndarray:
        return KMeans(clusters, n_init=10, random_state=seed).fit(x[:fitted]).predict(x)

    def pca(x: np.ndarray, fitted: int, seed: int) -> np.ndarray:
        return k_means(PCA(COMPONENTS, random_state=seed).fit(x[:fitted]).transform(x), fitted, seed)

    def vae(x: np.ndarray, fitted: int, seed: int) -> np.ndarray:
        return k_means(vae_means(x, fitted, seed), fitted, seed)

    return {"k-means": k_means, "PCA + k-means": pca, "VAE + k-means": vae}


def vae_means(x: np.ndarray, fitted: int, seed: int) -> np.ndarray:
    """Means (N, 2) of the latent variables of x (N, D), by a variational autoencoder (Kingma & Welling 2013)."""
    torch.manual_seed(seed)
    rows = torch.as_tensor(x, dtype=torch.float32)
    encoder, decoder = mlp(x.shape[1], 64, 2 * COMPONENTS), mlp(COMPONENTS, 64, x.shape[1])
    optimiser = adam([encoder, decoder], 1e-3, 1e-3)
    for _ in range(VAE_STEPS):
        batch = rows[torch.randint(fitted, (VAE_BATCH,))]
        mean, log_variance = encoder(batch).chunk(2, -1)
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        loss = mse_loss(decoder(latent), batch) + VAE_BETA * kl_to_normal(mean, log_variance) / x.shape[1]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 10.0)  # log-variances may be extreme at first
        optimiser.step()
    with torch.no_grad():
        return encoder(rows).chunk(2, -1)[0].numpy()


def kl_to_normal(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Mean KL divergence [nats] from Gaussians (n, D) to the standard normal: Σ (σ² + μ² - 1 - log σ²) / 2."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(-1).mean()


def _svm(x: np.ndarray, styles: np.ndarray, fitted: int, seed: int) -> float:
    from sklearn.svm import SVC

    return _score(SVC(random_state=seed), x, styles, fitted, seed)


def _mlp(x: np.ndarray, styles: np.ndarray, fitted: int, seed: int) -> float:
    from sklearn.neural_network import MLPClassifier

    return _score(MLPClassifier((64, 64), max_iter=300, random_state=seed), x, styles, fitted, seed)


def _score(model, x: np.ndarray, styles: np.ndarray, fitted: int, seed: int) -> float:  # type: ignore[no-untyped-def] # scikit-learn's
    from sklearn.exceptions import ConvergenceWarning

    rows = np.random.default_rng(seed).permutation(fitted)[:SUPERVISED_ROWS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 passes are enough for a ceiling
        return float(model.fit(x[rows], styles[rows]).score(x[fitted:], styles[fitted:]))
