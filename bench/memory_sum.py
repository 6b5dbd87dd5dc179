"""What editing keeps in a GPU's memory: a sum of terms, each counted from shapes; no model is made.

    .venv/bin/python -m bench.memory_sum        # the tables of docs/performance.md

`tests/test_memory_sum.py` compares the terms with the tensors of a tiny model, and the tables with the document.
"""

import json
from dataclasses import dataclass
from functools import cache

import torch
from transformers import Blip2Config, Blip2ForConditionalGeneration

from tools.random_models import geometry
from unike_lib.methods.fine_tune.editor import OPTIMISER_BYTES
from unike_lib.reporting.markdown import markdown_table

HALF, SINGLE = 2, 4  # bytes of bfloat16 (the frozen model) and float32 (everything that an edit learns)
STEPPED = 4  # copies of what Adam trains: value, gradient, two moments
GB = 1e9
SESSIONS = (1, 8, 32)
METHODS = ("fine-tune", "ke", "t-patcher", "mend", "unike")


@dataclass(frozen=True)
class Setting:
    """What the sum depends on besides the model: the defaults are those of presets/paper.yaml and MMEdit's questions.

    tokens: of a question with picture and answer; answer: of these, answer tokens; entries: of the memory; states:
    unrelated FFN inputs per layer; hidden, truth_width: of the encoders; rank, condition, reader: of MEND and KE.
    """

    tokens: int = 60
    answer: int = 6
    entries: int = 20000
    states: int = 40000
    neurons: int = 10
    top_k: int = 40
    edited: int = 4
    matrices_layers: int = 3
    hidden: int = 1024
    truth_width: int = 256
    rank: int = 1920
    condition: int = 1024
    reader: int = 128


PAPER = Setting()


def shape(config: Blip2Config) -> tuple[int, int, int, bool]:
    """Return width d, inner width of the FFN, vocabulary, and whether the FFN has a gate."""
    text = config.text_config
    gated = text.model_type != "opt"
    return text.hidden_size, text.intermediate_size if gated else text.ffn_dim, text.vocab_size, gated


def weights(config: Blip2Config) -> int:
    """Bytes of the frozen model in bfloat16, vision included."""
    return _weights(config.to_json_string())


@cache
def _weights(config: str) -> int:
    """As `weights`; making a model takes a while, even without memory for it."""
    with torch.device("meta"):
        model = Blip2ForConditionalGeneration(Blip2Config.from_dict(json.loads(config)))
    return HALF * sum(parameter.numel() for parameter in model.parameters())


def knowledge(config: Blip2Config, method: str, setting: Setting) -> int:
    """Bytes of what a method reads, shared by all sessions: memory, encoders and maps, FFN inputs; trained editors."""
    width, inner, _, _ = shape(config)
    inputs = setting.edited * setting.states * width * SINGLE
    if method == "t-patcher":
        return inputs
    if method == "unike":
        # Enc_sem of three linear layers; zeta and its map.
        encoder = 2 * width * setting.hidden + setting.hidden**2 + 2 * setting.hidden + width
        zeta = setting.truth_width * (width + 1)
        return inputs + setting.edited * (2 * setting.entries * width + encoder + zeta) * SINGLE
    shapes, matrices = ((inner, width), (width, inner)), 2 * setting.matrices_layers
    if method == "mend":
        joint = width + inner
        layer = 2 * joint * min(setting.rank, joint) + joint + 2 * setting.matrices_layers * joint
        return SINGLE * (len(shapes) * (2 * layer + 2 * joint) + matrices)
    if method == "ke":
        reader, width_in = setting.reader, width
        lstm = 2 * (4 * reader * (width_in + reader) + 8 * reader)
        made = lstm + 2 * reader * setting.condition + setting.condition
        outs = 2 * (inner + width) + 1
        each = (setting.condition + 2) * reader + (reader + 2) * outs  # weights, biases, weight norms
        return SINGLE * (made + matrices * each)
    return 0


def learned(config: Blip2Config, method: str, setting: Setting) -> int:
    """Bytes of a session's own parameters while they are trained: Adam keeps four of each; or of factors, kept once."""
    width, inner, _, gated = shape(config)
    if method == "fine-tune":
        return STEPPED * SINGLE * 2 * width * inner
    if method in ("t-patcher", "unike"):
        neuron = (3 if gated else 2) * width + (2 if gated else 1)
        scale = 1 if method == "unike" else 0
        return STEPPED * SINGLE * setting.edited * (setting.neurons * neuron + scale)
    # One factor per token that feeds an answer token, of every matrix.
    ranks = setting.tokens + (1 if method == "ke" else 0)
    return SINGLE * 2 * setting.matrices_layers * ranks * (width + inner)


def graph(config: Blip2Config, method: str, setting: Setting) -> int:
    """Bytes that a session's pass keeps for its backward pass: an upper bound, all inputs of all operations counted."""
    width, inner, vocabulary, gated = shape(config)
    layers = {"fine-tune": 1, "t-patcher": setting.edited, "unike": setting.edited}.get(method, setting.matrices_layers)
    # LN, q, k, v, attention, W_o, sum, LN, FFN, sum; inner states of the FFN.
    layer = setting.tokens * (18 * width + (5 if gated else 3) * inner) * HALF
    logits = 3 * setting.answer * vocabulary * SINGLE
    total = layers * layer + logits
    if method in ("t-patcher", "unike"):
        total += setting.edited * 6 * setting.states * setting.neurons * SINGLE  # the memory loss
    if method == "unike":
        heads = config.text_config.num_attention_heads
        slots = setting.top_k * 6 * width * HALF + 4 * setting.tokens * setting.top_k * heads * SINGLE
        total += setting.edited * (slots + setting.tokens * 8 * width * HALF)
    return total


def total(config: Blip2Config, method: str, sessions: int, setting: Setting = PAPER) -> int:
    """Bytes at the peak of an edit of so many sessions."""
    own = learned(config, method, setting)
    if method == "fine-tune":
        # Few sessions are trained at once, beside the changes of those before; at the end there are 2.5 of all changes:
        # as trained, as kept, and zeros in the place of one of two matrices.
        at_once = min(sessions, max(1, OPTIMISER_BYTES // own))
        training = at_once * (own + graph(config, method, setting)) + (sessions - at_once) * own // STEPPED
        return weights(config) + max(training, int(2.5 * sessions * own / STEPPED))
    return weights(config) + knowledge(config, method, setting) + sessions * (own + graph(config, method, setting))


def table(name: str) -> str:
    """Return the sum for one of the paper's backbones as Markdown, in GB."""
    config, rows = geometry(name), []
    frozen = weights(config)
    for method in METHODS:
        terms = [term(config, method, PAPER) for term in (knowledge, learned, graph)]
        sums = [total(config, method, count) for count in SESSIONS]
        rows.append([method, *(f"{value / GB:.2f}" for value in (frozen, *terms)), *(f"{s / GB:.1f}" for s in sums)])
    header = ["method", "model", "knowledge", "learned, a session", "graph, a session"]
    return markdown_table([*header, *(f"B = {count}" for count in SESSIONS)], rows)


if __name__ == "__main__":
    for backbone in ("blip2-opt-2.7b", "minigpt4-vicuna-7b"):
        print(f"### {backbone}\n\n{table(backbone)}\n")
