"""What editing keeps in memory, as sums of terms, each counted from shapes: an estimate before any model is opened."""

from dataclasses import dataclass
from typing import Any

from unike_lib.methods.lora.settings import LoraMethod
from unike_lib.methods.m_ore.settings import MoreMethod

HALF, SINGLE = 2, 4  # bytes of bfloat16 (the frozen model) and float32 (everything that an edit learns)
STEPPED = 4  # copies of what Adam trains: value, gradient, two moments
ESTIMATED = ("fine-tune", "lora", "t-patcher", "unike", "grace", "wise", "m-ore", "mend", "ke")


@dataclass(frozen=True)
class Setting:
    """What the sum depends on besides the model: the defaults are those of presets/paper.yaml and MMEdit's questions.

    tokens: of a question with picture and answer; answer: of these, answer tokens; entries: of the memory; states:
    unrelated FFN inputs per layer; hidden, truth_width: of the encoders; rank, condition, reader: of MEND and KE;
    pairs_layers: with M-ORE's pairs.
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
    pairs_layers: int = MoreMethod(method="m-ore").layers


PAPER = Setting()


def shape(config: Any) -> tuple[int, int, int, bool]:
    """Return width d, inner width of the FFN, vocabulary, and whether the FFN has a gate."""
    text = config.text_config
    gated = text.model_type != "opt"
    return text.hidden_size, text.intermediate_size if gated else text.ffn_dim, text.vocab_size, gated


def knowledge(config: Any, method: str, setting: Setting) -> int:
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
    if method == "m-ore":  # A of both matrices
        return SINGLE * setting.pairs_layers * MoreMethod(method="m-ore").rank * (width + inner)
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


def learned(config: Any, method: str, setting: Setting) -> int:
    """Bytes of a session's own parameters while they are trained: Adam keeps four of each; or of factors, kept once."""
    width, inner, _, gated = shape(config)
    if method == "fine-tune":
        return STEPPED * SINGLE * 2 * width * inner
    if method in ("t-patcher", "unike"):
        neuron = (3 if gated else 2) * width + (2 if gated else 1)
        scale = 1 if method == "unike" else 0
        return STEPPED * SINGLE * setting.edited * (setting.neurons * neuron + scale)
    if method == "lora":
        lora = LoraMethod(method="lora")
        return STEPPED * SINGLE * setting.edited * len(lora.matrices) * lora.rank * (width + inner)
    if method == "grace":
        return STEPPED * SINGLE * width + SINGLE * inner
    if method == "wise":
        return STEPPED * SINGLE * width * inner
    if method == "m-ore":  # B, its gradient, the next B; I - P of both matrices
        rank = MoreMethod(method="m-ore").rank
        return SINGLE * setting.pairs_layers * rank * (3 * (width + inner) + 2 * rank)
    # One factor per token that feeds an answer token, of every matrix.
    ranks = setting.tokens + (1 if method == "ke" else 0)
    return SINGLE * 2 * setting.matrices_layers * ranks * (width + inner)


def graph(config: Any, method: str, setting: Setting) -> int:
    """Bytes that a session's pass keeps for its backward pass: an upper bound, all inputs of all operations counted."""
    width, inner, vocabulary, gated = shape(config)
    of_method = {"fine-tune": 1, "m-ore": setting.pairs_layers}
    layers = {**of_method, **dict.fromkeys(("mend", "ke"), setting.matrices_layers)}.get(method, setting.edited)
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
