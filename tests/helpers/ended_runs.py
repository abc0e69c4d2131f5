"""Ends of runs whose methods tell nothing."""

from deepservo.loop import End, Ending
from deepservo.methods.status import Phase, Reason, Status


def rested(reason: str) -> End:
    """Of a run that came to rest."""
    status = Status(Phase.APPROACHING, Reason.NO_POSE, "")
    return End(Ending.STOPPED, reason, status)
