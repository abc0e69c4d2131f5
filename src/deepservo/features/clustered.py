"""The covariance of a least squares estimate whose errors are alike where they are near each other.

With residuals r, their derivatives J by the twist that is estimated, and weights w:

    H = sum w J^T J,    S = sum over the cells of g g^T + g_all g_all^T,    g = w J^T r
    C = H^-1 S H^-1 / steepness^2

It is the "sandwich" of clustered residuals (Liang & Zeger 1986). g_all is the sum over all cells:
not zero where the estimate is not that of least squares, and C then has the way to that one too.
steepness: how fast `w r` grows with r, over w, in the mean: less than 1 where the weights of large
residuals are low (Geman-McClure's: `4 sqrt(w) - 3`).
"""

import numpy as np
from jaxtyping import Float, Int

CELLS = 12  # along each side of a picture
LEAST_STEEPNESS = 0.2
LEAST_EIGENVALUE = 1e-10  # of normal equations whose diagonal is 1: rounding is 1e-16
MIN_CELLS = 7  # with residuals: of fewer, as many numbers explain nearly all


def cells(px: Float[np.ndarray, "n 2"], width: int, height: int) -> Int[np.ndarray, " n"]:
    """The number of the cell of a picture that each pixel is in."""
    column, row = (px * CELLS / [width, height]).astype(int).clip(0, CELLS - 1).T
    return row * CELLS + column


def covariance(
    J: Float[np.ndarray, "n *k 6"],
    r: Float[np.ndarray, "n *k"],
    w: Float[np.ndarray, " n"],
    cell: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "6 6"]:
    """C; not finite where there are too few cells, or they leave a direction free.

    w: Geman-McClure's weights, up to 1.
    """
    unknown, total = np.full((6, 6), np.inf), max(float(w.sum()), 1e-12)
    steepness = max(float((w * (4 * np.sqrt(w) - 3)).sum()) / total, LEAST_STEEPNESS)
    J, r = J.reshape(len(w), -1, 6), r.reshape(len(w), -1)
    weighted = J * w[:, None, None]
    pulls = (weighted * r[:, :, None]).sum(1)
    g = np.stack([np.bincount(cell, pull, CELLS * CELLS) for pull in pulls.T], 1)
    used = int((np.bincount(cell, w, CELLS * CELLS) > 0).sum())
    if used < MIN_CELLS:
        return unknown
    H, whole = weighted.reshape(-1, 6).T @ J.reshape(-1, 6), g.sum(0)
    inverse = inverse_of(H)
    # Six numbers were fitted to the residuals, which are that much smaller than the errors.
    S = g.T @ g * (used / (used - 6)) + np.outer(whole, whole)
    return unknown if inverse is None else inverse @ S @ inverse / steepness**2


def inverse_of(H: Float[np.ndarray, "6 6"]) -> Float[np.ndarray, "6 6"] | None:
    """Of normal equations, positive; None where they leave a direction free, but for rounding."""
    scale = np.sqrt(np.diag(H))
    if not np.isfinite(H).all() or scale.min() <= 0:
        return None
    values, vectors = np.linalg.eigh(H / np.outer(scale, scale))
    if values[0] < LEAST_EIGENVALUE:
        return None
    root = vectors / np.sqrt(values) / scale[:, None]
    return root @ root.T
