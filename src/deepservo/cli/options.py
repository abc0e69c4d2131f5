"""Types of options that several commands have: what may be left away, and how the help shows it."""

from pathlib import Path
from typing import Annotated

import tyro

# The help shows no default for these: each option's own words say what holds without it.
OptionalPath = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
OptionalText = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
OptionalNumber = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
OptionalDepth = Annotated[str | None, tyro.conf.arg(metavar="PATH|FLOAT", help_behavior_hint="")]
OptionalCount = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
FirstPath = tyro.conf.Positional[
    Annotated[Path | None, tyro.conf.arg(metavar="[PATH]", help_behavior_hint="")]
]
FirstName = tyro.conf.Positional[
    Annotated[str | None, tyro.conf.arg(metavar="[NAME]", help_behavior_hint="")]
]
