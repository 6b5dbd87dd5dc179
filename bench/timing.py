"""Ways measured in turn, so that a slow minute of the machine slows all of them; ratios are taken round by round."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A line of the table: `ratio` is how many times `baseline` takes the seconds of `ours`."""

    what: str
    baseline: str
    ours: str
    baseline_seconds: float
    seconds: float
    ratio: float
    spread: tuple[float, float]
    aim: str = ""


def seconds_of(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way in each round, after one round that is not counted."""
    for work in ways.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            times[name].append(seconds_of(work))
    return times


def compare(what: str, times: Mapping[str, Sequence[float]], aim: str = "", units: int = 1) -> Row:
    """Compare the first way with the last: medians over rounds, seconds a unit of work."""
    (baseline, theirs), *_, (ours, mine) = times.items()
    ratios = [a / b for a, b in zip(theirs, mine, strict=True)]
    median = statistics.median
    spread = min(ratios), max(ratios)
    return Row(what, baseline, ours, median(theirs) / units, median(mine) / units, median(ratios), spread, aim)


def markdown(rows: Sequence[Row]) -> str:
    lines = ["| What | Baseline | Ours | Baseline, s | Ours, s | Ratio (range over rounds) | Aim |", "|---" * 7 + "|"]
    for row in rows:
        low, high = row.spread
        lines.append(
            f"| {row.what} | {row.baseline} | {row.ours} | {row.baseline_seconds:.3g} | {row.seconds:.3g} "
            f"| {row.ratio:.2f}x ({low:.2f} to {high:.2f}) | {row.aim} |"
        )
    return "\n".join(lines)
