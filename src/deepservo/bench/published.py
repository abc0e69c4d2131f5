"""What the papers print: per cent converged and end error [mm] by set and method (benchmarks of
AEVS, MLVS and Siame-se(3)).
"""

from collections.abc import Mapping
from types import MappingProxyType

PUBLISHED: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {
        ("lookat", "dvs"): (59.0, 0.0004),
        ("lookat", "dct"): (82.4, 0.04),
        ("lookat", "pca"): (90.0, 0.03),
        ("lookat", "siamese-se3"): (100.0, 9.2),
        ("lookat", "aevs"): (93.2, 0.02),
        ("screw", "dvs"): (79.4, 0.0001),
        ("screw", "dct"): (86.2, 0.04),
        ("screw", "pca"): (87.4, 0.02),
        ("screw", "siamese-se3"): (87.0, 14.9),
        ("screw", "aevs"): (91.0, 0.06),
        ("lookat-rz", "dvs"): (9.8, 0.0),
        ("lookat-rz", "aevs"): (33.6, 0.01),
        ("lookat-rz", "cnn"): (75.6, 33.5),
        ("lookat-rz", "mlvs"): (100.0, 0.04),
        ("lookat-rz-perturbed", "cnn"): (36.8, 32.2),
        ("lookat-rz-perturbed", "mlvs"): (76.0, 19.3),
        ("gaussian", "dvs"): (34.8, 2.0),
        ("gaussian", "dct"): (38.6, 0.1),
        ("gaussian", "orb"): (43.4, 23.0),
        ("gaussian", "siamese-SE3"): (98.0, 11.2),
        ("gaussian", "siamese-se3"): (98.9, 10.0),
    }
)
