"""How cost grows: edits per session (K), triplets, sessions side by side. Near-linear, or it is a fault."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from matplotlib import style

from bench.edit_loop import edit_all, t_patcher
from bench.states import make_triplets
from bench.subjects import Subject
from unike_lib.io import write_table
from unike_lib.knowledge.extraction import extract_states
from unike_lib.knowledge.memory import Memory
from unike_lib.reporting.plotting import STYLE, make_panels, save_figure

STEPS = 5
Seconds = dict[int, float]


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Return the least seconds of some rounds: what else the machine does only adds to a time."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def over_k(subject: Subject, ks: Sequence[int], sessions: int) -> Seconds:
    """Seconds until K edits in sequence are made, in sessions side by side; every edit keeps all earlier ones."""
    editor = t_patcher(subject, STEPS)(subject.backbone)
    patch, done, spent = editor.start(sessions), {}, 0.0
    for position in range(1, max(ks) + 1):
        cases = [subject.cases[(position + session) % len(subject.cases)] for session in range(sessions)]
        started = time.perf_counter()
        patch = editor.edit([case.request for case in cases], patch).patch
        spent += time.perf_counter() - started
        if position in ks:
            done[position] = spent
    return done


def over_triplets(subject: Subject, counts: Iterable[int], rounds: int) -> Seconds:
    """Seconds of extracting the states of n triplets."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "triplets.parquet"), Path(folder, "states.parquet")
        for count in counts:
            rows = pd.DataFrame([asdict(triplet) for triplet in make_triplets(subject, count)])
            write_table(source, rows, "")
            found[count] = fastest(lambda: extract_states(subject.backbone, source, out, ""), rounds)
    return found


def over_memory(counts: Iterable[int], width: int, rounds: int) -> Seconds:
    """Seconds of 100 searches of 16 questions each in a memory of n entries."""
    generator = torch.Generator().manual_seed(0)
    queries, found = torch.randn(16, width, generator=generator), {}
    for count in counts:
        memory = Memory({0: torch.randn(count, width, generator=generator)}, {})
        found[count] = fastest(lambda: [memory.search(0, queries, 40) for _ in range(100)], rounds)  # noqa: B023
    return found


def over_sessions(subject: Subject, sizes: Iterable[int], rounds: int) -> Seconds:
    """Seconds of one edit in each of n sessions side by side."""
    editor = t_patcher(subject, STEPS)(subject.backbone)
    found = {}
    for size in sizes:
        part = Subject(subject.name, subject.backbone, subject.naive, subject.cases[:size], subject.ffn_inputs)
        edit_all(editor, part, size)
        found[size] = fastest(lambda: edit_all(editor, part, size), rounds)  # noqa: B023
    return found


def exponent(seconds: Seconds) -> float:
    """Return p of seconds ~ n^p over the upper half of the range: 1 is linear."""
    points = sorted(seconds.items())
    (low, before), (high, after) = points[len(points) // 2 - (len(points) == 2)], points[-1]
    return math.log(after / before) / math.log(high / low)


def draw(measured: dict[str, Seconds], out: Path) -> None:
    """Draw one panel per quantity: seconds against n, both logarithmic, and a straight line through the last point."""
    with style.context(STYLE):
        figure, panels = make_panels(1, len(measured), shared=False)
        for panel, (name, seconds) in zip(panels[0], measured.items(), strict=True):
            counts = list(seconds)
            panel.loglog(counts, list(seconds.values()), marker="o")
            panel.loglog(counts, [seconds[counts[-1]] * n / counts[-1] for n in counts], ":", color="0.5")
            panel.set_xlabel(name)
        panels[0][0].set_ylabel("seconds (dotted: linear)")
        rows = [
            {"quantity": name, "n": n, "seconds": value}
            for name, seconds in measured.items()
            for n, value in seconds.items()
        ]
        save_figure(figure, pd.DataFrame(rows), {"png": out, "csv": out.with_suffix(".csv")})
