"""The values that a recipe consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scale:
    """How large the training of a network for any scene is.

    A value that is not given is that of a training on two cores.
    """

    net: Mapping[str, int] = field(default_factory=dict)
    """Arguments of the network, of those in its `config()`."""
    batch: int | None = None
    rate: float | None = None
    """Learning rate at its highest."""
    stock: int = 0
    """Pictures that all cores draw beforehand; with 0 a new picture is drawn each step."""


TWO_CORES = Scale()


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A training at full scale, and what it is measured on."""

    paper: str
    """What was published, and where."""
    method: str
    """The method that is trained."""
    steps: int
    """On one GPU of the H200's class, within ten minutes."""
    methods: tuple[str, ...]
    """The methods that are measured with what was trained."""
    sets: Mapping[str, int]
    """The sets that are measured, and the number of runs of each part and scene."""
    scenes: tuple[str, ...] = ("coffee",)
    """Of a network of scenes: the first is learned and measured, the others are learned too. Of a
    network for any scene: all are measured.
    """
    loss: str | None = None
    scale: Scale = TWO_CORES
