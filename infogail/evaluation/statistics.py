"""Aggregate metrics over seeds with uncertainty, as Agarwal et al. 2021 (arXiv 2108.13264) recommend, using SciPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half along `axis`: robust to outliers, with less variance than the median."""
    from scipy.stats import trim_mean

    return trim_mean(values, 0.25, axis)


def interval(strata: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the interquartile mean of all values in `strata`, each (seeds,).

    Percentile method, resampled within each stratum (scenario), so that each keeps its weight.
    """
    return _bootstrap(strata, lambda *samples, axis: interquartile_mean(np.concatenate(samples, axis), axis), seed)


def probability_of_improvement(ours: Sequence[np.ndarray], baseline: Sequence[np.ndarray]) -> float:
    """P(a seed of ours has a higher value than one of the baseline); ties count half; averaged over the strata."""
    return float(np.mean([_wins(a, b, axis=-1) for a, b in zip(ours, baseline, strict=True)]))


def improvement_interval(
    ours: Sequence[np.ndarray], baseline: Sequence[np.ndarray], seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of `probability_of_improvement`."""
    strata = len(ours)

    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        return np.mean([_wins(a, b, axis) for a, b in zip(samples[:strata], samples[strata:], strict=True)], 0)

    return _bootstrap([*ours, *baseline], statistic, seed)


def _wins(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Fraction of pairs in which a is larger; ties count half."""
    a, b = np.moveaxis(a, axis, -1)[..., :, None], np.moveaxis(b, axis, -1)[..., None, :]
    return ((a > b) + 0.5 * (a == b)).mean((-2, -1))


def _bootstrap(samples: Sequence[np.ndarray], statistic, seed: int) -> tuple[float, float]:  # type: ignore[no-untyped-def] # SciPy calls it with arrays and axis
    from scipy.stats import bootstrap

    if all(np.ptp(sample) == 0 for sample in samples):  # also covers a single seed, which cannot be resampled
        value = float(statistic(*(np.asarray(sample) for sample in samples), axis=-1))
        return value, value
    bounds = bootstrap(
        [np.asarray(sample) for sample in samples],
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(bounds.low), float(bounds.high)
