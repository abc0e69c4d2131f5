"""How long work takes: alone, or in turn with other work."""

import statistics
import time
from collections.abc import Callable

from benchmarks.common.rows import Row

MEASURED = 0.3  # [s] for which a rate is measured
# [s] Threads of torch spin for a while after their work, and would hold back what comes next.
REST = 0.05


def milliseconds(work: Callable[[], object]) -> float:
    """How long one call takes [ms]."""
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)


def latency(what: str, times_ms: list[float]) -> Row:
    """A row of a results file: median and 90th percentile of times [ms]."""
    return {
        "what": what,
        "n": len(times_ms),
        "ms_median": statistics.median(times_ms),
        "ms_p90": statistics.quantiles(times_ms, n=10)[-1],
    }


def rate(work: Callable[[], object], n: int = 1) -> float:
    """Pictures a second, n a call: called again and again for MEASURED seconds, after one call that
    wakes the threads up.
    """
    work()
    begin, calls = time.perf_counter(), 0
    while time.perf_counter() - begin < MEASURED:
        work()
        calls += 1
    return n * calls / (time.perf_counter() - begin)


def paired(ours: Callable[[], float], theirs: Callable[[], float], repeats: int) -> Row:
    """Two rates, measured in turn: the median of each, the median of their ratios and its range."""

    def rested(measure: Callable[[], float]) -> float:
        time.sleep(REST)
        return measure()

    pairs = [(rested(ours), rested(theirs)) for _ in range(repeats)]
    ratios = [a / b for a, b in pairs]
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "theirs": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }
