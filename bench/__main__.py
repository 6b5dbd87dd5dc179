"""Run the benchmarks: python -m bench [names] [--stages results/stages] [--rounds 3] [--out results/bench.md].

Each prints its lines as it ends; the file has all of them. Edits on blip2-nano need it in --stages (`make bench` sees
to that). One thread.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from bench import edit_loop, flops, memory_search, pipeline, scaling, scoring, start_up, states, subjects, timing
from unike_lib.editing.registry import EditorSources, build_editor
from unike_lib.io import atomic_path
from unike_lib.methods import resolve_method

NANO, EDITS, SESSIONS = "blip2-nano", 32, 16
SMOKE = ("--configfile", str(subjects.ROOT / "presets" / "smoke.yaml"))
TARGET = "results/table1.csv"


def edits(options: argparse.Namespace) -> Iterator[str]:
    deep, nano = subjects.random(32, 256, SESSIONS), subjects.trained(NANO, options.stages, EDITS)
    unike = resolve_method(subjects.default_config().methods, "unike")
    sources = EditorSources(options.stages / "knowledge" / NANO)
    rows = edit_loop.measure(nano, edit_loop.t_patcher(nano), "T-Patcher", SESSIONS, options.rounds, ">= 8x")
    rows += edit_loop.measure(
        nano, lambda one: build_editor(unike, one, sources, 0), "UniKE", SESSIONS, options.rounds, ">= 8x"
    )
    rows += edit_loop.measure(deep, edit_loop.t_patcher(deep), "T-Patcher", SESSIONS, options.rounds, ">= 5x")
    evaluation = subjects.default_config().evaluation
    rows += scoring.measure(nano, edit_loop.t_patcher(nano), SESSIONS, options.rounds, evaluation)
    yield timing.markdown(rows)
    yield flops.measure(nano, SESSIONS, options.rounds)
    yield flops.measure(deep, SESSIONS, options.rounds)


def knowledge(options: argparse.Namespace) -> Iterator[str]:
    nano, wide = subjects.trained(NANO, options.stages, EDITS), subjects.random(12, 256, EDITS)
    rows = states.measure(nano, 512, options.rounds) + states.measure(wide, 256, options.rounds)
    for entries in (15_000, 1_000_000):
        rows += memory_search.measure(entries, options.rounds)
    yield timing.markdown(rows)


def run(options: argparse.Namespace) -> Iterator[str]:
    yield timing.markdown(start_up.measure(options.rounds))
    yield pipeline.shown(pipeline.measure(TARGET, *SMOKE), f"{TARGET}, preset smoke")


def growth(options: argparse.Namespace) -> Iterator[str]:
    small, counts = subjects.random(6, 64, 64, words=200), (1_000, 3_000, 10_000, 30_000, 100_000)
    measured = {
        "edits a session": scaling.over_k(small, (1, 2, 5, 10, 20, 50, 100, 200), sessions=4),
        "sessions side by side": scaling.over_sessions(small, (1, 2, 4, 8, 16, 32, 64), options.rounds),
        "triplets, states": scaling.over_triplets(small, counts, rounds=1),
        "triplets, search": scaling.over_memory(counts, 64, options.rounds),
    }
    scaling.draw(measured, options.out.with_name("scaling.png"))
    for name, seconds in measured.items():
        shown = ", ".join(f"{n}: {value:.3g} s" for n, value in seconds.items())
        yield f"{name}: {shown}; exponent of the upper half {scaling.exponent(seconds):.2f}"


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    part.__name__: part for part in (edits, knowledge, run, growth)
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
