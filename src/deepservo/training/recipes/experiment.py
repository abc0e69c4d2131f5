"""What a recipe is made of: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scale:
    """How large the training of a network for any scene is; None or nothing: as for two cores."""

    net: Mapping[str, int] = field(default_factory=dict)
    """Of its `config()`."""
    batch: int | None = None
    rate: float | None = None
    """Of learning, at its highest."""
    stock: int = 0
    """Pictures that all cores draw beforehand, once; with none a new one is drawn each step."""


TWO_CORES = Scale()


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A training at full scale, and what it is measured on."""

    paper: str
    """What was published, and where."""
    method: str
    """What is trained."""
    steps: int
    """On one GPU of the H200's class, within ten minutes."""
    methods: tuple[str, ...]
    """What is measured with it,"""
    sets: Mapping[str, int]
    """on these sets, with so many runs of each part and scene."""
    scenes: tuple[str, ...] = ("coffee",)
    """The first is learned and measured on, those after it are learned by the same network; of one
    for any scene: all are measured on.
    """
    loss: str | None = None
    scale: Scale = TWO_CORES
