"""Editing at full size on a GPU: seconds an edit and peak memory of every method, states, search, against a floor.

    python bench/gpu.py                              # both of the paper's backbones, random, bf16; under 9 minutes
    python bench/gpu.py --tiny --device cpu          # the same on a tiny geometry: does it run?
    python bench/gpu.py --write docs/performance.md  # put the tables into the document, under the GPU's name

Weights, pictures and knowledge are random: times and memory do not depend on them. Every method edits B sessions at
once; the naive twin edits one at a time and, in every step, encodes the picture again and runs all layers. The floor of
an edit is what its arithmetic takes at the rate of a large matrix product on this device, or what reading the weights
takes at the rate of a large copy, whichever is longer. What does not fit the time is said, not left out.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from unike_lib.backbones.base import IGNORED, Backbone, Trunk
from unike_lib.backbones.decoder import Trace
from unike_lib.backbones.load import FAMILIES, input_form
from unike_lib.backbones.random_models import byte_tokenizer, geometry, random_model
from unike_lib.backbones.replies import reply
from unike_lib.backbones.visual import embed_images
from unike_lib.editing.editor import Editor
from unike_lib.editing.fine_tune import FineTune
from unike_lib.editing.hypernetwork import NetworkEditor
from unike_lib.editing.ike import Ike
from unike_lib.editing.ke import build_ke
from unike_lib.editing.latent import LatentShift
from unike_lib.editing.mend import build_mend
from unike_lib.editing.neurons import NeuronTrainer
from unike_lib.editing.serac import Serac, SeracModels
from unike_lib.editing.tpatcher import TPatcher
from unike_lib.editing.unike import Unike
from unike_lib.knowledge.encoders import Encoder
from unike_lib.knowledge.flat_index import TensorIndex
from unike_lib.knowledge.memory import Memory
from unike_lib.methods import (
    FineTuneMethod,
    IkeMethod,
    KeMethod,
    MendMethod,
    SeracMethod,
    TPatcherMethod,
    UnikeMethod,
)
from unike_lib.reporting.markdown import markdown_table
from unike_lib.types import EditCase, EditRequest, Probe, Query

BACKBONES = {"blip2-opt-2.7b": "blip2", "minigpt4-vicuna-7b": "minigpt4"}
SESSIONS = (1, 8, 32)
QUESTION, ANSWER = "How many tennis balls number {} are lying in the picture?", "tennis ball {}"
TEXTS = [QUESTION.format(i) + " Question: Short answer: " + ANSWER.format(i) + " a photo of" for i in range(64)]
MARKS = ("<!-- gpu: begin -->", "<!-- gpu: end -->")


@dataclass(frozen=True)
class Scale:
    """How much of everything: at full size, the values of presets/paper.yaml."""

    entries: int = 20000
    states: int = 40000
    steps: int = 10
    rank: int = 1920
    layers: tuple[int, int] = (6, 12)
    width: int = 768
    demonstrations: int = 8  # 32 of them do not fit OPT's 2,048 positions beside B rows
    questions: int = 64
    matrix: int = 8192


FULL = Scale()
SMALL = Scale(200, 100, 2, 4, (1, 1), 24, 2, 8, 256)


class NaiveBackbone(Backbone):
    """The twin: nothing is kept between steps. A trunk is only a promise to run everything again."""

    queries: Sequence[Query] = ()

    def encode(self, queries, answers=None):
        self.queries = list(queries)
        return super().encode(queries, answers)

    def head(self, trunk, patch=None, where=None, trace=None):
        fresh = Trunk(super().trunk(super().encode(self.queries)).hidden, trunk.batch, trunk.first)
        return super().head(fresh, patch, where, trace)


@dataclass(frozen=True)
class Stage:
    """A backbone, its naive twin, edits to make, and the size of everything."""

    name: str
    backbone: Backbone
    naive: NaiveBackbone
    cases: Sequence[EditCase]
    scale: Scale

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.backbone.device


def build_stage(name: str, tiny: bool, device: str) -> Stage:
    """Make a random backbone on the device, and its twin that sees pixels."""
    config: Any = geometry(name, tiny)
    model = random_model(config, torch.bfloat16, device)
    tokenizer = byte_tokenizer(TEXTS, config.text_config.vocab_size)
    side = config.vision_config.image_size
    processor = BlipImageProcessorPil(size={"height": side, "width": side})
    picture = Image.effect_noise((320, 240), 60).convert("RGB")

    def from_pixels(names: Sequence[str]) -> Tensor:
        return embed_images(model, processor, [picture] * len(names)).clone()

    kept = from_pixels(["one"])

    def from_store(names: Sequence[str]) -> Tensor:
        return kept.expand(len(names), -1, -1)

    family = replace(FAMILIES[BACKBONES[name]], form=input_form(BACKBONES[name], tokenizer))
    question = "Question: {} Short answer:"
    made = [kind(model, tokenizer, family, images, None, question)
            for kind, images in ((Backbone, from_store), (NaiveBackbone, from_pixels))]  # fmt: skip
    cases = [made_up_case(number) for number in range(max(SESSIONS))]
    return Stage(name, made[0], made[1], cases, SMALL if tiny else FULL)


def made_up_case(number: int) -> EditCase:
    """Return an edit with every probe."""
    request = EditRequest(f"vqa-{number}", "vqa", f"{number}.png", QUESTION.format(number), ANSWER.format(number))
    others = [Query(request.image, f"Which number is {number}?", request.target), request.query]
    local = [Query(None, "who wrote the book", "nobody"), Query("near.png", "Which sport is it?", "motocross")]
    kinds = ("rel", "t_gen", "m_gen", "t_loc", "m_loc")
    probes = zip(kinds, [request.query, *others, *local], strict=True)
    return EditCase(request, tuple(Probe(kind, query) for kind, query in probes), (f"fact {number}",))


def random_memory(stage: Stage) -> Memory:
    """Return a memory of random entries at the edited layers, on the device."""
    width, entries = stage.backbone.width, stage.scale.entries
    keys = {layer: torch.randn(entries, width, device=stage.device) for layer in stage.backbone.layers}
    return Memory(keys, keys)


def editors(stage: Stage) -> dict[str, Callable[[Backbone], Editor]]:
    """Return a maker of every method's editor, for the backbone or for its twin."""
    scale, width, device = stage.scale, stage.backbone.width, stage.device

    def ffn_inputs() -> dict[int, Tensor]:
        return {layer: torch.randn(scale.states, width, device=device) for layer in stage.backbone.layers}

    def unike(backbone: Backbone) -> Editor:
        settings = UnikeMethod(method="unike", steps=scale.steps)
        encoders = {layer: Encoder(width, 1024, width, 3).to(device).requires_grad_(False) for layer in backbone.layers}
        shift = LatentShift(random_memory(stage), encoders)
        zetas = {layer: (torch.randn(256, device=device), torch.randn(256, width, device=device) / width)
                 for layer in backbone.layers}  # fmt: skip
        return Unike(NeuronTrainer(backbone, settings, ffn_inputs(), 0), settings, shift, zetas)

    def t_patcher(backbone: Backbone) -> Editor:
        return TPatcher(NeuronTrainer(backbone, TPatcherMethod(method="t-patcher", steps=scale.steps), ffn_inputs(), 0))

    def serac(backbone: Backbone) -> Editor:
        parts = {"scope_layers": scale.layers[0], "counterfactual_layers": scale.layers[1]}
        return Serac(SeracModels.untrained(backbone, SeracMethod(method="serac", width=scale.width, heads=12, **parts)))

    return {
        "fine-tune": lambda b: FineTune(b, FineTuneMethod(method="fine-tune", steps=scale.steps)),
        "ke": lambda b: NetworkEditor(b, build_ke(b, KeMethod(method="ke"), 0).requires_grad_(False)),
        "t-patcher": t_patcher,
        "mend": lambda b: NetworkEditor(
            b, build_mend(b, MendMethod(method="mend", rank=scale.rank), 0).requires_grad_(False)
        ),
        "ike": lambda b: Ike.from_cases(b, IkeMethod(method="ike", demonstrations=scale.demonstrations), stage.cases),
        "serac": serac,
        "unike": unike,
    }


@contextmanager
def timed(device: torch.device) -> Iterator[list[float]]:
    """Yield a list that receives the seconds of the block and the peak memory in it, in GB (CPU: not a number)."""
    cuda, found = device.type == "cuda", []
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    yield found
    if cuda:
        torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if cuda else float("nan")
    found += [time.perf_counter() - started, peak]


def edit_and_ask(stage: Stage, editor: Editor, backbone: Backbone, count: int) -> tuple[float, float, float]:
    """Edit `count` sessions, ask each its own question; return seconds an edit, seconds a question, peak GB."""
    requests = [case.request for case in stage.cases[:count]]
    with timed(stage.device) as edit:
        patch = editor.edit(requests, editor.start(count)).patch
    with torch.no_grad(), timed(stage.device) as ask:
        reply(backbone, [request.query for request in requests], patch)
    return edit[0] / count, ask[0] / count, max(edit[1], ask[1])


def floor_seconds(stage: Stage, method: str, count: int, rates: tuple[float, float]) -> float:
    """Return the least seconds of an edit at the device's rates of operations and of bytes; steps of a gradient method.

    A step takes the edited layers forward and, by their inputs, backward; the head where an answer token is read. The
    trunk is run once. Bytes are those of the weights, read once for all sessions in each pass.
    """
    backbone, steps = stage.backbone, stage.scale.steps
    edited = {"fine-tune": 1, "ke": 3, "mend": 3}.get(method, len(backbone.layers))
    passes = 1 if method in ("ke", "mend") else steps
    layer = sum(parameter.numel() for parameter in backbone.decoder.layers[0].module.parameters())
    head = backbone.decoder.head.weight.numel()
    batch = backbone.encode([case.request.query for case in stage.cases[:count]])
    tokens, read = int(batch.lengths.sum()), int((batch.targets != IGNORED).sum())
    below = len(backbone.decoder.layers) - edited
    trainable = 2 if method == "fine-tune" else 1  # its gradient by the weights costs as much as that by the inputs
    work = 2 * tokens * layer * below + passes * (2 * (1 + trainable) * tokens * layer * edited + 4 * read * head)
    read_bytes = 2 * (layer * below + passes * 2 * (layer * edited + head))
    return max(work / rates[0], read_bytes / rates[1]) / count


def device_rates(device: torch.device, size: int) -> tuple[float, float]:
    """Return operations a second of a large bf16 product and bytes a second of a large copy, the best of five."""
    matrix = torch.randn(size, size, device=device).to(torch.bfloat16)
    best = [float("inf"), float("inf")]
    for _ in range(5):
        for place, work in enumerate((lambda: matrix @ matrix, matrix.clone)):
            with timed(device) as found:
                work()
            best[place] = min(best[place], found[0])
    return 2 * size**3 / best[0], 2 * 2 * size**2 / best[1]


def method_rows(stage: Stage, rates: tuple[float, float], deadline: float) -> list[list[str]]:
    """Return a row a method and number of sessions, and one for the naive twin."""
    rows = []
    for method, make in editors(stage).items():
        gradient = method not in ("ike", "serac")
        for label, backbone, count in [
            *((f"B = {count}", stage.backbone, count) for count in SESSIONS),
            ("naive", stage.naive, 1),
        ]:
            if time.monotonic() > deadline:
                rows.append([f"{method}, {label}", *["no time left"] * 4])
                continue
            try:
                editor = make(backbone)
                edit_and_ask(stage, editor, backbone, min(count, 2))  # warm
                edit, ask, peak = edit_and_ask(stage, editor, backbone, count)
                share = floor_seconds(stage, method, count, rates) / edit if gradient else float("nan")
                shown = [f"{edit:.3g}", f"{ask:.3g}", "-" if peak != peak else f"{peak:.1f}"]
                rows.append([f"{method}, {label}", *shown, "-" if share != share else f"{share:.0%}"])
            except torch.OutOfMemoryError:
                rows.append([f"{method}, {label}", *["out of memory"] * 4])
            editor = None
            gc.collect()
            if stage.device.type == "cuda":
                torch.cuda.empty_cache()
    return rows


def states_line(stage: Stage, rates: tuple[float, float]) -> str:
    """Say how fast states are extracted: tokens a second, and the share of the arithmetic's floor."""
    backbone, count = stage.backbone, stage.scale.questions
    queries = [stage.cases[number % len(stage.cases)].request.query for number in range(count)]

    @torch.no_grad()
    def extract() -> int:
        batch = backbone.encode(queries)
        nowhere = torch.zeros_like(batch.real)
        backbone.head(backbone.trunk(batch), where=nowhere, trace=Trace())
        return int(batch.lengths.sum())

    extract()
    with timed(stage.device) as found:
        tokens = extract()
    layer = sum(parameter.numel() for parameter in backbone.decoder.layers[0].module.parameters())
    floor = 2 * tokens * layer * len(backbone.decoder.layers) / rates[0]
    return f"State extraction: {tokens / found[0]:,.0f} tokens a second, {floor / found[0]:.0%} of the floor."


def search_line(stage: Stage) -> str:
    """Say how fast the memory is searched on the device, and that ids are those of one matrix product."""
    memory, layer = random_memory(stage), stage.backbone.layers[0]
    queries = torch.randn(32, stage.backbone.width, device=stage.device)
    found, _ = memory.search(layer, queries, 40)
    exact, _ = TensorIndex(memory.keys(layer)).search(normalize(queries, dim=-1), min(40, len(memory)))
    with timed(stage.device) as seconds:
        memory.search(layer, queries, 40)
    same = float((found == exact).float().mean())
    kind = type(memory._indexes[layer]).__name__
    return f"Search, {kind}, 32 queries among {len(memory):,}: {1000 * seconds[0]:.2f} ms; {same:.2%} of ids as exact."


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or that of the CPU's instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({torch.backends.cpu.get_cpu_capability()})"


def report(options: argparse.Namespace) -> str:
    """Run everything that the time allows; return the tables as Markdown."""
    deadline, device = time.monotonic() + 60 * options.minutes, torch.device(options.device)
    scale = SMALL if options.tiny else FULL
    rates = device_rates(device, scale.matrix)
    parts = [
        f"### {device_name(device)}{', tiny geometry' if options.tiny else ''}",
        f"A large bf16 product reaches {rates[0] / 1e12:.3g} TFLOP/s, a large copy {rates[1] / 1e9:.3g} GB/s. "
        f"torch {torch.__version__}.",
    ]
    header = ["method", "seconds an edit", "seconds a question", "peak GB", "of the floor"]
    for place, name in enumerate(options.backbones):
        # Each backbone has its share of what is left.
        share = time.monotonic() + (deadline - time.monotonic()) / (len(options.backbones) - place)
        stage = build_stage(name, options.tiny, options.device)
        parts += [f"#### {name}, bf16, random weights", f"{states_line(stage, rates)} {search_line(stage)}"]
        parts.append(markdown_table(header, method_rows(stage, rates, share)))
        del stage
        gc.collect()
    return "\n\n".join(parts)


def write_between(path: Path, text: str) -> None:
    """Put the tables between the marks of a document."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise SystemExit(f"{path}: expected the lines {MARKS[0]} and {MARKS[1]}")
    path.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--write", type=Path, help="a document with the marks, such as docs/performance.md")
    options = parser.parse_args()
    text = report(options)
    print(text)
    if options.write is not None:
        write_between(options.write, text)


if __name__ == "__main__":
    main()
