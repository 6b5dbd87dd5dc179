"""Editing at full size on a GPU: edits per second and peak memory of every method, against a naive loop and a floor.

    python -m bench.gpu                              # both of the paper's backbones, random, bf16; under 9 minutes
    python -m bench.gpu --tiny --device cpu          # the same on a tiny geometry: does it run?
    python -m bench.gpu --write docs/performance.md  # put the tables into the document, under the GPU's name

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
from pathlib import Path

import faiss
import torch
from torch.nn.functional import normalize

from bench.gpu_stage import BACKBONES, FULL, MOST, SMALL, Stage, build_stage, editors, random_memory, settings_of
from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.edit import Trace
from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.editor import Editor
from unike_lib.knowledge.exact_search import by_product
from unike_lib.method import methods
from unike_lib.reporting.markdown import markdown_table

Make = Callable[[Backbone], Editor]
MARKS = ("<!-- gpu: begin -->", "<!-- gpu: end -->")


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
    """Edit `count` sessions, ask each its own question; return seconds per edit, seconds per question, peak GB."""
    requests = [case.request for case in stage.cases[:count]]
    with timed(stage.device) as edit:
        patch = editor.edit(requests, editor.start(count)).patch
    with torch.no_grad(), timed(stage.device) as ask:
        answer_logits(backbone, [request.query for request in requests], patch)
    return edit[0] / count, ask[0] / count, max(edit[1], ask[1])


def floor_seconds(stage: Stage, method: str, count: int, rates: tuple[float, float]) -> float:
    """Return the least seconds of an edit at the device's rates of operations and of bytes; steps of a gradient method.

    A step takes the edited layers forward and, by their inputs, backward; the head where an answer token is read. The
    trunk is run once. Bytes are those of the weights, read once for all sessions in each pass.
    """
    backbone, steps = stage.backbone, stage.scale.steps
    manifest, settings = methods()[method], settings_of(stage, method)
    first = manifest.first_layer(settings)
    edited = len(backbone.layers) if first is None else min(-first, len(backbone.decoder.layers))
    passes = 1 if manifest.train else steps
    layer = sum(parameter.numel() for parameter in backbone.decoder.layers[0].module.parameters())
    head = backbone.decoder.head.weight.numel()
    batch = backbone.encode([case.request.query for case in stage.cases[:count]])
    tokens, read = int(batch.lengths.sum()), int((batch.targets != IGNORED).sum())
    below = len(backbone.decoder.layers) - edited
    trainable = (
        2 if manifest.kind == "fine-tuning" else 1
    )  # its gradient by the weights costs as much as that by the inputs
    work = 2 * tokens * layer * below + passes * (2 * (1 + trainable) * tokens * layer * edited + 4 * read * head)
    read_bytes = 2 * (layer * below + passes * 2 * (layer * edited + head))
    return max(work / rates[0], read_bytes / rates[1]) / count


def device_rates(device: torch.device, size: int) -> tuple[float, float]:
    """Return operations per second of a large bf16 product and bytes per second of a large copy, the best of five."""
    matrix = torch.randn(size, size, device=device).to(torch.bfloat16)
    best = [float("inf"), float("inf")]
    for _ in range(5):
        for place, work in enumerate((lambda: matrix @ matrix, matrix.clone)):
            with timed(device) as found:
                work()
            best[place] = min(best[place], found[0])
    return 2 * size**3 / best[0], 2 * 2 * size**2 / best[1]


def measured(stage: Stage, make: Make, backbone: Backbone, count: int) -> tuple[float, float, float] | str:
    """Return what `edit_and_ask` gives the second time, or why there is nothing."""
    try:
        editor = make(backbone)
        edit_and_ask(stage, editor, backbone, min(count, 2))  # warm
        return edit_and_ask(stage, editor, backbone, count)
    except torch.OutOfMemoryError:
        return "out of memory"
    finally:
        editor = None
        gc.collect()
        if stage.device.type == "cuda":
            torch.cuda.empty_cache()


def method_rows(stage: Stage, rates: tuple[float, float], deadline: float, sessions: Sequence[int]) -> list[list[str]]:
    """Return a row a method and number of sessions, and one for the naive loop, which the last column compares with."""
    rows = []
    for method, make in editors(stage).items():
        gradient = methods()[method].first_layer(settings_of(stage, method)) != 0
        runs = [("naive", stage.naive, 1), *((f"B = {count}", stage.backbone, count) for count in sessions)]
        alone = float("nan")
        for label, backbone, count in runs:
            late = time.monotonic() > deadline
            found = "no time left" if late else measured(stage, make, backbone, count)
            if isinstance(found, str):
                rows.append([f"{method}, {label}", *[found] * 5])
                continue
            edit, ask, peak = found
            alone = edit if label == "naive" else alone
            share = floor_seconds(stage, method, count, rates) / edit if gradient else float("nan")
            shown = [f"{1 / edit:.3g}", f"{ask:.3g}", "-" if peak != peak else f"{peak:.1f}"]
            ends = ["-" if share != share else f"{share:.0%}", "-" if alone != alone else f"{alone / edit:.1f}x"]
            rows.append([f"{method}, {label}", *shown, *ends])
    return rows


def states_line(stage: Stage, rates: tuple[float, float]) -> str:
    """Say how fast states are extracted: tokens per second, and the share of the arithmetic's floor."""
    backbone, count = stage.backbone, stage.scale.questions
    queries = [stage.cases[number % len(stage.cases)].request.query for number in range(count)]

    @torch.no_grad()
    def extract() -> int:
        batch = backbone.encode(queries)
        nowhere = torch.zeros_like(batch.mask)
        backbone.forward(backbone.run_below(batch), where=nowhere, trace=Trace())
        return int(batch.lengths.sum())

    extract()
    with timed(stage.device) as found:
        tokens = extract()
    layer = sum(parameter.numel() for parameter in backbone.decoder.layers[0].module.parameters())
    floor = 2 * tokens * layer * len(backbone.decoder.layers) / rates[0]
    return f"State extraction: {tokens / found[0]:,.0f} tokens per second, {floor / found[0]:.0%} of the floor."


def search_line(stage: Stage) -> str:
    """Say how fast the memory is searched on the device, and that ids are those of one matrix product."""
    memory, layer = random_memory(stage), stage.backbone.layers[0]
    queries = torch.randn(32, stage.backbone.width, device=stage.device)
    found, _ = memory.search(layer, queries, 40)
    exact, _ = by_product(memory.keys[layer], normalize(queries, dim=-1), min(40, len(memory)))
    with timed(stage.device) as seconds:
        memory.search(layer, queries, 40)
    same = float((found == exact).float().mean())
    kind = "FAISS" if hasattr(faiss, "StandardGpuResources") else "matrix product"
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
    header = ["method", "edits per second", "seconds per question", "peak GB", "of the floor", "to the naive loop"]
    for place, name in enumerate(options.backbones):
        # Each backbone has its share of what is left.
        share = time.monotonic() + (deadline - time.monotonic()) / (len(options.backbones) - place)
        stage = build_stage(name, options.tiny, options.device)
        parts += [f"#### {name}, bf16, random weights", f"{states_line(stage, rates)} {search_line(stage)}"]
        parts.append(markdown_table(header, method_rows(stage, rates, share, options.sessions)))
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--sessions", nargs="+", type=int, choices=range(1, MOST + 1), metavar="B", default=[1, 8, 32])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--write", type=Path, help="a document with the marks, such as docs/performance.md")
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no GPU here; --tiny --device cpu shows that it runs")
    if options.device == "cpu" and not options.tiny:
        parser.error("expected --tiny with --device cpu: models of full size are for a GPU")
    text = report(options)
    print(text)
    if options.write is not None:
        write_between(options.write, text)


if __name__ == "__main__":
    main()
