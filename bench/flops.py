"""The arithmetic that one T-Patcher step cannot do without, against what the machine does in the time of a step.

Counted are multiplications and additions of matrix products: the edited layers forward and back to the new neurons, the
head where an answer token is read, the neurons and their memory loss. Of the first edited layer only the neurons count
(nothing below them changes while they are trained), of the last layer's queries and FFN only the places that are read;
frozen weights need no gradient.
"""

import time

import torch

from bench.edit_loop import t_patcher
from bench.subjects import Subject
from unike_lib.backbones.batch import IGNORED, Prepared
from unike_lib.editing.editor import request_trunk
from unike_lib.editing.patch import Patch
from unike_lib.methods.shared.neuron_training import NeuronSource


def step_floor(subject: Subject, trunk: Prepared, neurons: int) -> float:
    """Return the floating-point operations of a step, over all rows of a trunk (OPT decoders, no padding)."""
    backbone, batch = subject.backbone, trunk.batch
    layer = backbone.decoder.layers[backbone.layers[0]]
    width, inner = backbone.width, int(layer.part(layer.names.up).out_features)
    vocabulary = int(backbone.decoder.head.out_features)
    lengths = batch.lengths.double()
    tokens, read = float(lengths.sum()), float((batch.targets != IGNORED).sum())
    rows, depth, states = len(lengths), len(backbone.layers), len(next(iter(subject.ffn_inputs.values())))
    pairs = float((lengths * (lengths + 1) / 2).sum())
    attention, ffn = 4 * pairs * width, 4 * width * inner
    whole = tokens * (8 * width**2 + ffn) + attention
    last = tokens * 4 * width**2 + read * (4 * width**2 + ffn) + attention
    layers = (depth - 2) * whole + last
    layers_back = layers + (depth - 1) * attention
    extra = tokens * 4 * width * neurons * depth
    memory = rows * states * 2 * width * neurons * depth
    head = 2 * read * width * vocabulary
    return layers + layers_back + 3 * extra + 2 * memory + 2 * head


def peak_rate(size: int = 1024) -> float:
    """Return the operations per second of a large matrix product on this machine, the best of five."""
    matrix = torch.randn(size, size)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def measure(subject: Subject, sessions: int, rounds: int) -> str:
    """Return a line: floor of a step, what the machine could do in its time, the share that is achieved."""
    trainer = t_patcher(subject)(subject.backbone).trainer
    requests = [case.request for case in subject.cases[:sessions]]
    trunk, previous = request_trunk(subject.backbone, requests), Patch(len(requests))
    source = NeuronSource(trainer.new_neurons(requests, trunk, previous))
    times, peaks = [], []
    for _ in range(rounds + 1):
        peaks.append(peak_rate())
        started = time.perf_counter()
        trainer.losses(trunk, previous, source()).sum().backward()
        times.append(time.perf_counter() - started)
    floor, step, peak = step_floor(subject, trunk, trainer.settings.neurons), min(times[1:]), max(peaks)
    return (
        f"A step of {len(requests)} edits, {subject.name}: {1000 * step:.3g} ms. It takes at least "
        f"{floor / 1e9:.3g} GFLOP, {1000 * floor / peak:.3g} ms at the {peak / 1e9:.3g} GFLOP/s of a large matrix "
        f"product: {floor / peak / step:.0%} achieved."
    )
