"""Which side of a triangle is the outside: mended where a mesh is closed, and where it is open both
sides are there to be seen.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components


def outward(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]
) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Which faces must be turned over, so that closed bodies are seen from outside; and which
    belong to no closed body.

    Corners at the same place are one, whatever their numbers.
    """
    merged = _merged(vertices)[faces]
    edges = merged[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    owner = np.arange(len(faces)).repeat(3)
    forward = edges[:, 0] < edges[:, 1]
    low, high = np.sort(edges, 1).T
    _, edge, count = np.unique(low * len(vertices) + high, return_inverse=True, return_counts=True)
    pairs = np.argsort(edge, kind="stable")[
        np.isin(np.sort(edge), np.flatnonzero(count == 2))
    ].reshape(-1, 2)
    a, b = owner[pairs[:, 0]], owner[pairs[:, 1]]
    against = (
        forward[pairs[:, 0]] == forward[pairs[:, 1]]
    )  # neighbours that are wound alike go along their edge in opposite ways
    n = len(faces)
    body = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (n, n)), directed=False)[1]
    closed = np.ones(body.max() + 1, bool)
    closed[body[owner[count[edge] != 2]]] = False
    flip = _agreed(a, b, against, body, n)
    closed[body[a[(flip[a] ^ flip[b]) != against]]] = False  # such as a Moebius band
    volume = np.bincount(body, (1 - 2.0 * flip) * _volumes(vertices[faces]))
    return (flip ^ (volume < 0)[body]) & closed[body], ~closed[body]


def _merged(vertices: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
    """A number for each place, the same for vertices that share it."""
    order = np.lexsort(vertices.T)
    new = np.ones(len(vertices), bool)
    new[1:] = (vertices[order][1:] != vertices[order][:-1]).any(1)
    found = np.empty(len(vertices), np.int64)
    found[order] = new.cumsum() - 1
    return found


def _agreed(
    a: np.ndarray, b: np.ndarray, against: np.ndarray, body: np.ndarray, n: int
) -> np.ndarray:
    """Which faces must be turned so that each agrees with the first of its body."""
    both = coo_matrix(
        (
            1.0 + np.concatenate([against, against]),
            (np.concatenate([a, b]), np.concatenate([b, a])),
        ),
        (n, n),
    ).tocsr()
    flip = np.zeros(n, bool)
    if not against.any():
        return flip
    says = dict(zip(zip(a.tolist(), b.tolist(), strict=True), against.tolist(), strict=True))
    for first in np.unique(body[a[against]]):
        order, before = breadth_first_order(both, np.flatnonzero(body == first)[0], directed=False)
        for face in order[1:].tolist():
            parent = int(before[face])
            flip[face] = flip[parent] ^ says.get((face, parent), says.get((parent, face), False))
    return flip


def _volumes(corners: np.ndarray) -> np.ndarray:
    """Of the tetrahedra from the middle of all, signed: positive where a face is seen from
    outside.
    """
    centred = corners - corners.mean((0, 1))
    return np.einsum("mi,mi->m", centred[:, 0], np.cross(centred[:, 1], centred[:, 2])) / 6
