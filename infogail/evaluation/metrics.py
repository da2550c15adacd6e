"""Driving metrics: pure functions on arrays, one for each number in `metrics.json`.

Styles are indices into the scenario's `styles`, or `NO_STYLE` for an episode that failed. A failed episode is a style
of its own and counts as an error everywhere: conditioning on success would hide a collapse. Undefined metrics (no other
vehicle, no episode left to score) are None.

scikit-learn and SciPy are imported where they are used, since each takes a second to import.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infogail.envs.scenarios.styles import NO_STYLE

HARD_BRAKE = -3.0  # [m/s²]
HALVINGS = 10  # random splits of the people into halves, over which a floor is averaged
NAMING_SHARE = 0.8  # minimum share of a code's episodes with one style for it to be called after the style
REALISED_SHARE = 0.05  # minimum share of the episodes for a style to count as covered
MAX_TIME_TO_COLLISION = 10.0  # [s], beyond which it no longer matters
KERNEL_PAIRS = 1000  # (s, a) pairs per sample in `occupancy_mmd`


def style_ami(codes: np.ndarray, styles: np.ndarray) -> float:
    """Mutual information of codes (E,) and styles (E,), adjusted for chance (Vinh et al. 2010); scikit-learn's.

    For codes inferred by a posterior, it is the metric that Burn-InfoGAIL (arXiv 1710.05090) reports.
    """
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(styles, codes)) if _both_vary(codes, styles) else 0.0


def style_ari(codes: np.ndarray, styles: np.ndarray) -> float:
    """Rand index of codes (E,) and styles (E,), adjusted for chance (Hubert & Arabie 1985); scikit-learn's."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(styles, codes)) if _both_vary(codes, styles) else 0.0


def _both_vary(codes: np.ndarray, styles: np.ndarray) -> bool:
    return len(np.unique(codes)) > 1 and len(np.unique(styles)) > 1


def style_accuracy(codes: np.ndarray, styles: np.ndarray) -> float | None:
    """Share of episodes whose style (E,) is the one matched to their code (E,); see `matched_accuracy`."""
    return matched_accuracy(codes, styles, scored=every_other(codes))


def matched_accuracy(codes: np.ndarray, styles: np.ndarray, scored: np.ndarray) -> float | None:
    """Accuracy of codes → styles under the best one-to-one matching.

    Args:
        codes, styles: (n,); the style `NO_STYLE` always counts as an error.
        scored: (n,) bool. The matching is computed where it is False, the accuracy where it is True.
    """
    if scored.all() or not scored.any():
        return None
    matched = _matching(codes, styles, ~scored & (styles != NO_STYLE))
    return float(((matched[codes] == styles) & (styles != NO_STYLE))[scored].mean())


def styles_of_codes(codes: np.ndarray, styles: np.ndarray, num_codes: int) -> list[int]:
    """The style of each of K codes under the best one-to-one matching, if at least `NAMING_SHARE` of its episodes have
    it, else `NO_STYLE`; for codes (E,) and styles (E,)."""
    matched, sure = _matching(codes, styles, styles != NO_STYLE), [NO_STYLE] * num_codes
    for code in np.unique(codes).tolist():
        if matched[code] != NO_STYLE and (styles[codes == code] == matched[code]).mean() >= NAMING_SHARE:
            sure[code] = int(matched[code])
    return sure


def _matching(codes: np.ndarray, styles: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The style of each code under the best one-to-one matching of the `counted` episodes (Hungarian, SciPy's)."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((codes.max() + 1, max(styles.max() + 1, 1)), dtype=np.int64)
    np.add.at(table, (codes[counted], styles[counted]), 1)
    matched = np.full(len(table), NO_STYLE)  # remains for surplus codes
    rows, columns = linear_sum_assignment(table, maximize=True)
    matched[rows] = columns
    return matched


def merged_accuracy(codes: np.ndarray, styles: np.ndarray) -> float | None:
    """Like `style_accuracy`, but each code is matched to its commonest style, so several codes may share one."""
    scored = every_other(codes)
    if not scored.any():
        return None
    correct = np.zeros(len(codes), dtype=bool)
    for code in np.unique(codes):
        known = styles[(codes == code) & ~scored & (styles != NO_STYLE)]
        correct |= (codes == code) & (styles == (np.bincount(known).argmax() if len(known) else NO_STYLE))
    return float((correct & (styles != NO_STYLE))[scored].mean())


def rank_correlation(codes: np.ndarray, values: np.ndarray, styles: np.ndarray) -> float | None:
    """Absolute Spearman rank correlation of graded codes (E,) with `values` (E,), the quantity they control; SciPy's.

    An episode without a style (E,) counts as if it had done the opposite of what its code demands.
    """
    from scipy.stats import spearmanr

    done = styles != NO_STYLE
    if not (_both_vary(codes[done], values[done]) and done.sum() > 2):
        return 0.0 if len(codes) > 1 else None
    sign = np.sign(spearmanr(codes[done], values[done]).statistic)
    ranks = np.searchsorted(np.sort(values), values).astype(float)
    ranks[~done] = np.where(sign * (codes[~done] - codes.mean()) > 0, -1.0, len(values))
    return abs(float(spearmanr(codes, ranks).statistic))


def every_other(labels: np.ndarray) -> np.ndarray:
    """(n,) bool, True for every second occurrence of each label in `labels` (n,): a stratified split into halves."""
    half = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        half[np.flatnonzero(labels == label)[1::2]] = True
    return half


def style_coverage(styles: np.ndarray, demonstrated: np.ndarray) -> float | None:
    """Demonstrated styles that at least 5 % of the episodes realise ÷ demonstrated styles; styles (E,) and (M,)."""
    known = np.unique(demonstrated[demonstrated != NO_STYLE])
    return float(np.mean([(styles == style).mean() >= REALISED_SHARE for style in known])) if len(known) else None


def as_common_as(prior: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(E,) bool: the largest subset of episodes whose `codes` (E,) follow `prior` (K,). For metrics that depend on the
    mix of styles, since every code is driven equally often."""
    counts = np.bincount(codes, minlength=len(prior))
    wanted = np.floor(prior * np.min(counts[counts > 0] / prior[counts > 0]) + 1e-6)
    seen = np.zeros(len(codes), dtype=np.int64)
    for code in np.unique(codes):
        seen[codes == code] = np.arange(counts[code])
    return seen < np.maximum(wanted, 1)[codes]


def style_kl(styles: np.ndarray, demonstrated: np.ndarray, num_styles: int) -> float | None:
    """KL(style mix of the policy ‖ style mix of the demonstrations) [nats], from styles (E,) and (M,).

    Failure counts as one more style. No demonstration fails, and a style may be missing, which would make the
    divergence infinite; so half an episode is added to each count of both mixes (Krichevsky & Trofimov 1981).
    Unlabelled demonstrations do not count; None if all are.
    """
    demonstrated = demonstrated[demonstrated != NO_STYLE]
    if not len(demonstrated):
        return None

    def mix(styles: np.ndarray) -> np.ndarray:
        counts = np.bincount(styles + 1, minlength=num_styles + 1) + 0.5
        return counts / counts.sum()

    p, q = mix(styles), mix(demonstrated)
    return float((p * np.log(p / q)).sum())


def posterior_accuracy(codes: np.ndarray, styles: np.ndarray) -> float | None:
    """Matched accuracy of the codes (E,) that the posterior infers from demonstrations of known styles (E,)."""
    return matched_accuracy(codes, styles, scored=every_other(styles))


def posterior_accuracy_step(codes: np.ndarray, lengths: np.ndarray, styles: np.ndarray) -> float | None:
    """Like `posterior_accuracy`, with one code per (s, a) pair; 0.819 in table 1 of InfoGAIL (arXiv 1703.08840).

    Args:
        codes: (N,), inferred by the posterior from each step alone.
        lengths: (E,), the number of steps of each episode, N in total.
        styles: (E,)
    """
    scored = np.repeat(every_other(styles), lengths)  # whole episodes: steps of one are never in both halves
    return matched_accuracy(codes, np.repeat(styles, lengths), scored)


def success_rate(styles: np.ndarray) -> float:
    """Share of episodes with any style (E,): no crash, no road exit, manoeuvre completed."""
    return float((styles != NO_STYLE).mean())


def hard_brake_rate(accelerations: Sequence[np.ndarray]) -> float:
    """Share of episodes with a commanded acceleration below -3 m/s²; one array (T,) [m/s²] per episode."""
    return float(np.mean([(acceleration < HARD_BRAKE).any() for acceleration in accelerations]))


def distance_ratio(distances: np.ndarray, demonstrated: np.ndarray) -> float:
    """Mean distance driven per episode ÷ that of the demonstrations; (E,) and (M,) [m]."""
    return float(distances.mean() / demonstrated.mean())


def time_to_collision(
    gaps: np.ndarray, lateral_distances: np.ndarray, width: float | np.ndarray, dt: float
) -> np.ndarray:
    """Time until the ego would reach the car ahead if both kept their speed: gap ÷ closing speed.

    Only where the ego is behind another car, on a collision course (the bodies overlap laterally) and closing in.

    Args:
        gaps: (T + 1, V - 1) [m] along the road, from the ego's front to each other car's rear.
        lateral_distances: (T + 1, V - 1) [m] across the road, between centres.
        width: of a car [m]; if widths differ, (T, V - 1), the mean of the ego's and the other car's.
        dt: time between two of the T + 1 states [s].

    Returns:
        (n,) [s], n ≤ T, at most 10 s each.
    """
    closing = -np.diff(gaps, axis=0) / dt
    threat = (gaps[:-1] > 0) & (closing > 0) & (np.abs(lateral_distances[:-1]) < width)
    times = np.divide(gaps[:-1], closing, out=np.full(closing.shape, np.inf), where=threat)
    first = times[threat.any(axis=1)].min(axis=1, initial=np.inf)
    return np.minimum(first, MAX_TIME_TO_COLLISION)


def wasserstein(sample: np.ndarray, demonstrated: np.ndarray) -> float | None:
    """1-D Wasserstein distance between samples (n,) and (m,), in their unit; SciPy's. None if either is empty."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(sample, demonstrated)) if len(sample) and len(demonstrated) else None


def distance_between_people(samples: Sequence[np.ndarray], drivers: np.ndarray) -> float | None:
    """`wasserstein` between halves of the people, the mean over `HALVINGS` random splits: a floor for other drivers.

    Args:
        samples: (n,) of each of E drives.
        drivers: (E,) the person who drove each.
    """
    rng, distances = np.random.default_rng(0), []
    for _ in range(HALVINGS):
        first = np.isin(drivers, rng.permutation(np.unique(drivers))[::2])
        halves = [[sample for sample, here in zip(samples, half, strict=True) if here] for half in (first, ~first)]
        distances.append(wasserstein(*(np.concatenate([np.empty(0), *half]) for half in halves)))
    known = [distance for distance in distances if distance is not None]
    return float(np.mean(known)) if known else None


def root_mean_square(errors: np.ndarray) -> float:
    """Root mean square of all `errors`."""
    return float(np.sqrt(np.mean(errors**2)))


def occupancy_mmd(pairs: np.ndarray, demonstrated: np.ndarray) -> float | None:
    """Squared maximum mean discrepancy between (s, a) pairs (n, D) and demonstrated ones (m, D).

    Pairs are standardised by the demonstrations, and 1,000 are sampled from each side with a fixed seed. The bandwidth
    is the median distance within the demonstrations' sample alone, so the kernel, and thus the scale of the MMD, is the
    same for all drivers compared with the same demonstrations.
    """
    mean, scale = demonstrated.mean(0), np.maximum(demonstrated.std(0), 1e-3)
    rng = np.random.default_rng(0)
    x, y = (
        (rows[rng.choice(len(rows), min(KERNEL_PAIRS, len(rows)), replace=False)] - mean) / scale
        for rows in (pairs, demonstrated)
    )
    return squared_mmd(x, y, median_distance(y)) if min(len(x), len(y)) > 1 else None


def median_distance(x: np.ndarray) -> float:
    """Median pairwise distance of x (n, D): the usual bandwidth (Gretton et al. 2012, section 8)."""
    from scipy.spatial.distance import pdist

    return float(np.median(pdist(x)))


def squared_mmd(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    """Unbiased estimate of MMD² of x (n, D) and y (m, D), for the kernel exp(-‖a - b‖² / 2 bandwidth²).

    Gretton et al. 2012, "A kernel two-sample test", equation 3. For equal distributions its mean is 0 for any n and m,
    so it may be slightly negative.
    """
    from scipy.spatial.distance import cdist, pdist

    def kernel(squared_distance: np.ndarray) -> float:
        return float(np.exp(-squared_distance / (2 * bandwidth**2)).mean())

    within = sum(kernel(pdist(sample, "sqeuclidean")) for sample in (x, y))
    return within - 2 * kernel(cdist(x, y, "sqeuclidean"))
