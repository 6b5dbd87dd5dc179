"""Seconds an edit: the naive twin against trunk / head, one session at a time and batched, on one model and edits.

    .venv/bin/python bench/edit_speed.py                     # after `make results/table1.csv`
    .venv/bin/python bench/edit_speed.py --backbone minigpt4-nano --edits 16 --method unike

(a) naive: every step encodes the image again and runs all layers, one edit at a time; (b) trunk / head, one at a time;
(c) trunk / head, sessions batched. The three are run in turn `--rounds` times in one process and the medians compared;
the largest difference between their final losses is printed, because a faster edit that differs is no faster edit.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from unike_lib.backbones.base import Backbone, Trunk
from unike_lib.backbones.load import FAMILIES, load_backbone, load_model, load_processor
from unike_lib.backbones.visual import embed_images
from unike_lib.benchmark.mmedit import load_image, read_cases
from unike_lib.config import load_config
from unike_lib.editing.editor import Editor, edit_loss, request_trunk
from unike_lib.editing.registry import EditorSources, build_editor
from unike_lib.methods import resolve_method
from unike_lib.types import EditRequest

STAGES = Path("results/stages")


class NaiveBackbone(Backbone):
    """The twin: nothing is kept between steps. A trunk is only a promise to run everything again."""

    queries: list = []

    def encode(self, queries, answers=None):
        self.queries = list(queries)
        return super().encode(queries, answers)

    def head(self, trunk, patch=None, where=None, trace=None):
        fresh = Trunk(super().trunk(super().encode(self.queries)).hidden, trunk.batch, trunk.first)
        return super().head(fresh, patch, where, trace)


def run(editor: Editor, requests: list[EditRequest], size: int) -> tuple[float, torch.Tensor]:
    """Return seconds an edit and the final loss of every edit."""
    losses = []
    started = time.perf_counter()
    patches = []
    for start in range(0, len(requests), size):
        part = requests[start : start + size]
        patches.append((part, editor.edit(part, editor.start(len(part))).patch))
    seconds = (time.perf_counter() - started) / len(requests)
    backbone = editor.trainer.backbone
    for part, patch in patches:
        with torch.no_grad():
            losses.append(edit_loss(backbone, request_trunk(backbone, part), patch))
    return seconds, torch.cat(losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="blip2-nano")
    parser.add_argument("--method", default="t-patcher")
    parser.add_argument("--edits", type=int, default=32)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(yaml.safe_load(Path("config.yaml").read_text()))
    folder, settings = STAGES / "backbones" / options.backbone, config.backbones[options.backbone]
    model, processor = load_model(folder, settings), load_processor(folder, settings)

    def from_pixels(names):
        return embed_images(model, processor, [load_image([STAGES / "benchmark"], name) for name in names]).clone()

    split = load_backbone(folder, settings, from_pixels)
    family = replace(FAMILIES[settings.family], form=split.form)
    naive = NaiveBackbone(model, split.tokenizer, family, from_pixels, split.layers, settings.vqa_prompt)
    method = resolve_method(config.methods, options.method)
    sources = EditorSources(STAGES / "knowledge" / options.backbone)
    cases = read_cases(STAGES / "benchmark" / "dev_vqa.json")[: options.edits]
    requests = [case.request for case in cases]
    ways = {
        "a naive": (build_editor(method, naive, sources, 0), 1),
        "b trunk/head": (build_editor(method, split, sources, 0), 1),
        "c batched": (build_editor(method, split, sources, 0), options.sessions),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    losses = {}
    for _ in range(options.rounds):
        for name, (editor, size) in ways.items():
            seconds, losses[name] = run(editor, requests, size)
            times[name].append(seconds)
    naive_median = statistics.median(times["a naive"])
    print(f"{options.backbone}, {options.method}: {len(requests)} edits x {method.steps} steps, one thread")
    for name, values in times.items():
        median = statistics.median(values)
        spread = f"{min(values):.3f} .. {max(values):.3f}"
        apart = float((losses[name] - losses["a naive"]).abs().max())
        print(
            f"({name:<13}) {median:.3f} s an edit ({spread})  {naive_median / median:5.1f}x  "
            f"loss differs <= {apart:.1e}"
        )


if __name__ == "__main__":
    main()
