"""Which side of a mesh's triangles is the outside.

The winding of closed bodies is repaired; open surfaces are found, to be drawn from both sides.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components


def outward(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]
) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
    """Which faces must be flipped, and which belong to no closed body.

    Flipped, closed bodies are seen from outside. Corners at the same place are one corner, whatever
    their numbers.
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
    # Neighbours that are wound alike pass along their common edge in opposite directions.
    against = forward[pairs[:, 0]] == forward[pairs[:, 1]]
    n = len(faces)
    body = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (n, n)), directed=False)[1]
    closed = np.ones(body.max() + 1, bool)
    closed[body[owner[count[edge] != 2]]] = False
    flip = _agreed(a, b, against, body, n)
    closed[body[a[(flip[a] ^ flip[b]) != against]]] = False  # a Moebius band, for example
    volume = np.bincount(body, (1 - 2.0 * flip) * _volumes(vertices[faces]))
    return (flip ^ (volume < 0)[body]) & closed[body], ~closed[body]


def _merged(vertices: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
    """A number for each vertex, the same for vertices at the same place."""
    order = np.lexsort(vertices.T)
    new = np.ones(len(vertices), bool)
    new[1:] = (vertices[order][1:] != vertices[order][:-1]).any(1)
    found = np.empty(len(vertices), np.int64)
    found[order] = new.cumsum() - 1
    return found


def _agreed(
    a: np.ndarray, b: np.ndarray, against: np.ndarray, body: np.ndarray, n: int
) -> np.ndarray:
    """Which faces must be flipped so that each is wound as the first of its body.

    a, b: pairs of neighbouring faces. against: whether they are wound against each other. body: of
    each of the n faces.
    """
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
    opposed = dict(zip(zip(a.tolist(), b.tolist(), strict=True), against.tolist(), strict=True))
    for first in np.unique(body[a[against]]):
        order, before = breadth_first_order(both, np.flatnonzero(body == first)[0], directed=False)
        for face in order[1:].tolist():
            parent = int(before[face])
            pair = opposed.get((face, parent), opposed.get((parent, face), False))
            flip[face] = flip[parent] ^ pair
    return flip


def _volumes(corners: np.ndarray) -> np.ndarray:
    """Signed volumes of the tetrahedra between each face and the middle of all faces.

    They are positive where the face is seen from outside.
    """
    centred = corners - corners.mean((0, 1))
    return np.einsum("mi,mi->m", centred[:, 0], np.cross(centred[:, 1], centred[:, 2])) / 6
