"""Run the benchmarks: python -m bench [names] [--stages results/stages] [--rounds 3] [--out results/bench.md].

Each prints its lines as it ends; the file has all of them. Edits on blip2-nano need it in --stages (`make bench` sees
to that). One thread.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported

import torch

from bench import (
    edit_loop,
    flops,
    many_edits,
    memory_search,
    pipeline,
    scaling,
    scoring,
    start_up,
    states,
    subjects,
    timing,
)
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.io import atomic_path
from unike_lib.method import resolve_method

NANO, EDITS, SESSIONS = "blip2-nano", 16, 16
SMOKE = ("--configfile", str(subjects.ROOT / "presets" / "smoke.yaml"))
TARGET = "results/table1.csv"


def edits(options: argparse.Namespace) -> Iterator[str]:
    """Editing and scoring on a backbone of an earlier run."""
    nano = subjects.trained(NANO, options.stages, EDITS)
    t_patcher = edit_loop.t_patcher(nano)
    unike = resolve_method(subjects.default_config().methods, "unike")
    sources = EditorSources(options.stages / "knowledge" / NANO)
    yield flops.measure(nano, SESSIONS, options.rounds)
    evaluation = subjects.default_config().evaluation
    yield timing.markdown(scoring.measure(nano, t_patcher, SESSIONS, options.rounds, evaluation))
    for name, make in {"T-Patcher": t_patcher, "UniKE": lambda one: build_editor(unike, one, sources, 0)}.items():
        yield timing.markdown(edit_loop.measure(nano, make, name, SESSIONS, options.rounds, ">= 8x"))


def methods(options: argparse.Namespace) -> Iterator[str]:
    """Methods that nothing is trained for before an edit, on a backbone of an earlier run: sessions side by side."""
    nano, config = subjects.trained(NANO, options.stages, EDITS), subjects.default_config()
    shown = (options.stages / "benchmark" / "method_vqa.json",)
    sources, rows = EditorSources(options.stages / "knowledge" / NANO, shown), []
    for name in ("fine-tune", "lora", "m-ore", "wise", "grace", "unike-scope"):
        settings = resolve_method(config.methods, name)
        make = partial(build_editor, settings, sources=sources, seed=0)
        rows.append(edit_loop.measure_batches(nano, make, name, SESSIONS, options.rounds, ">= 4x"))
    yield timing.markdown(rows)


def deep(options: argparse.Namespace) -> Iterator[str]:
    """Editing and scoring on a deep model of random weights."""
    subject = subjects.random(32, 256, EDITS)
    yield flops.measure(subject, SESSIONS, options.rounds)
    make = edit_loop.t_patcher(subject)
    yield timing.markdown(edit_loop.measure(subject, make, "T-Patcher", SESSIONS, options.rounds, ">= 5x"))
    evaluation = subjects.default_config().evaluation
    for name, each in {"T-Patcher": make, "fine-tuning": edit_loop.fine_tune()}.items():
        yield timing.markdown(scoring.measure_kept(subject, each, name, SESSIONS, options.rounds, evaluation))


def knowledge(options: argparse.Namespace) -> Iterator[str]:
    """States and the memory."""
    nano, wide = subjects.trained(NANO, options.stages, EDITS), subjects.random(12, 256, EDITS)
    yield timing.markdown(states.measure(nano, 512, options.rounds) + states.measure(wide, 256, options.rounds))
    for entries in (15_000, 1_000_000):
        yield timing.markdown(memory_search.measure(entries, options.rounds))


def sessions(options: argparse.Namespace) -> Iterator[str]:
    """Many edits in one session behind the semantic scope."""
    yield from many_edits.measure(subjects.random(12, 256, 32), (1, 10, 100, 1000), options.rounds)


def run(options: argparse.Namespace) -> Iterator[str]:
    """The workflow."""
    yield timing.markdown(start_up.measure(options.rounds))
    yield pipeline.shown(pipeline.measure(TARGET, *SMOKE), f"{TARGET}, preset smoke")


def growth(options: argparse.Namespace) -> Iterator[str]:
    """How cost grows; also drawn, beside the file of results."""
    small, counts = subjects.random(6, 64, 64, words=200), (1_000, 3_000, 10_000, 30_000, 100_000)
    smallest = subjects.random(5, 32, 64, words=200)
    quantities: dict[str, Callable[[], scaling.Seconds]] = {
        "edits per session": lambda: scaling.over_k(small, (1, 2, 5, 10, 20, 50, 100, 200), sessions=2),
        "sessions side by side": lambda: scaling.over_sessions(small, (1, 2, 4, 8, 16, 32, 64), options.rounds),
        "entries, searches": lambda: scaling.over_memory(counts, 64, options.rounds),
        "triplets, states": lambda: scaling.over_triplets(smallest, counts, rounds=1),
    }
    measured = {}
    for name, measure in quantities.items():
        measured[name] = measure()
        shown = ", ".join(f"{n}: {value:.3g} s" for n, value in measured[name].items())
        yield f"{name}: {shown}; exponent of the upper half {scaling.exponent(measured[name]):.2f}"
        scaling.draw(measured, options.out.with_name("scaling.png"))


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    part.__name__: part for part in (edits, methods, deep, knowledge, sessions, run, growth)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help=", ".join(PARTS))
    parser.add_argument("--stages", type=Path, default=Path("results/stages"))
    parser.add_argument("--out", type=Path, default=Path("results/bench.md"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    texts = []
    for part in options.parts or PARTS:
        for text in PARTS[part](options):
            print(text, end="\n\n", flush=True)
            texts.append(text)
    with atomic_path(options.out) as temporary:
        temporary.write_text("\n\n".join(texts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
