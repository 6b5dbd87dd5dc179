"""What editing keeps in memory, as sums of terms, each counted from shapes: an estimate before any model is opened."""

from dataclasses import dataclass
from typing import Any

from unike_lib.methods.liveedit.settings import LiveEditMethod
from unike_lib.methods.lora.settings import LoraMethod
from unike_lib.methods.m_ore.settings import MoreMethod

HALF, SINGLE = 2, 4  # bytes of bfloat16 (the frozen model) and float32 (everything that an edit learns)
STEPPED = 4  # copies of what Adam trains: value, gradient, two moments
ESTIMATED = (
    *("fine-tune", "lora", "t-patcher", "unike", "unike-scope", "grace", "wise", "m-ore", "mend", "ke"),
    *("ike", "serac", "serac-multimodal", "liveedit"),
)
SHOWN, TASKS = 3, 2  # demonstrations of a training edit; whose questions the scope compares
CLASSIFIED, REACHED = 512, 256  # positions of SERAC's two models
FEATURES = 4  # queries of each of LiveEdit's features


@dataclass(frozen=True)
class Setting:
    """What the sum depends on besides the model: the defaults are those of presets/paper.yaml and MMEdit's questions.

    tokens: of a question with picture and answer; answer, picture: of these, answer tokens and visual ones; entries:
    of the memory; states: unrelated FFN inputs per layer; hidden, truth_width: of the encoders; rank, condition,
    reader: of MEND and KE; pairs_layers: with M-ORE's pairs; store: edits that IKE shows, 15% of MMEdit's 9,194; keys:
    the pool's questions per task that compete in the scope; small, scope_layers, answer_layers: width and layers of
    SERAC's models; live: width of LiveEdit's features.
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
    picture: int = 32
    store: int = 1379
    keys: int = 150
    small: int = 768
    scope_layers: int = 6
    answer_layers: int = 12
    live: int = LiveEditMethod(method="liveedit").width


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
    zetas = setting.edited * setting.truth_width * (width + 1) * SINGLE  # each with its map
    if method == "t-patcher":
        return inputs
    if method == "unike":
        # Enc_sem of three linear layers.
        encoder = 2 * width * setting.hidden + setting.hidden**2 + 2 * setting.hidden + width
        return inputs + zetas + setting.edited * (2 * setting.entries * width + encoder) * SINGLE
    if method == "unike-scope":  # the pool's questions, each with threshold and temperature
        return inputs + zetas + TASKS * setting.keys * (width + 2) * SINGLE
    if method == "ike":  # where the model's own embeddings find what is shown
        return SHOWN * setting.store * width * SINGLE
    if method in ("serac", "serac-multimodal", "liveedit"):
        return SINGLE * _networks(config, method, setting)
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


def _networks(config: Any, method: str, setting: Setting) -> int:
    """Numbers in the trained models of SERAC and LiveEdit."""
    width, _, vocabulary, _ = shape(config)
    if method == "liveedit":
        own, heads_of = setting.live, setting.live * (setting.live + 1)
        # Three attentions, their queries and two norms; both sides of an expert; prototype and the norm before experts.
        extractor = 3 * (heads_of + 2 * own * (width + 1)) + 2 * FEATURES * own + 4 * width
        rank = LiveEditMethod(method="liveedit").rank
        generator = heads_of + (own + width) * (width + 1) + rank * own + 2 * width
        return 2 * (extractor + generator) + setting.picture * width + 2 * width
    own = setting.small
    layer = 8 * own * own + 11 * own  # attention, an FFN twice as wide, two norms
    scope = (vocabulary + CLASSIFIED + 2) * own + setting.scope_layers * layer + own * (own + 1)
    answers = (vocabulary + 1 + REACHED + 2) * own + setting.answer_layers * layer
    # A map of the picture's feature, its centre and spread, and the vector of no picture.
    pictures = own * (width + 2) + 2 * width if method == "serac-multimodal" else 0
    return scope + answers + pictures


def learned(config: Any, method: str, setting: Setting) -> int:
    """Bytes of a session's own parameters while they are trained: Adam keeps four of each; or of factors, kept once."""
    width, inner, _, gated = shape(config)
    if method == "fine-tune":
        return STEPPED * SINGLE * 2 * width * inner
    if method in ("ike", "serac", "serac-multimodal"):
        return 0  # an edit is a text
    if method in ("t-patcher", "unike", "unike-scope"):
        neuron = (3 if gated else 2) * width + (2 if gated else 1)
        scale = 0 if method == "t-patcher" else 1
        # Behind the scope an edit is kept beside its neurons: as entries of the memory, and as the question that it is,
        # with its picture and without.
        entry = (setting.edited * width * HALF + 2 * (width + 1) * SINGLE) if method == "unike-scope" else 0
        return STEPPED * SINGLE * setting.edited * (setting.neurons * neuron + scale) + entry
    if method == "liveedit":  # made by a network: features and both sides of an expert
        return SINGLE * 2 * (FEATURES * setting.live + LiveEditMethod(method="liveedit").rank * width)
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
    if method in ("ike", "serac", "serac-multimodal", "liveedit"):
        return 0  # no backward pass
    of_method = {"fine-tune": 1, "m-ore": setting.pairs_layers}
    layers = {**of_method, **dict.fromkeys(("mend", "ke"), setting.matrices_layers)}.get(method, setting.edited)
    # LN, q, k, v, attention, W_o, sum, LN, FFN, sum; inner states of the FFN.
    layer = setting.tokens * (18 * width + (5 if gated else 3) * inner) * HALF
    logits = 3 * setting.answer * vocabulary * SINGLE
    total = layers * layer + logits
    if method in ("t-patcher", "unike", "unike-scope"):
        total += setting.edited * 6 * setting.states * setting.neurons * SINGLE  # the memory loss
    if method in ("unike", "unike-scope"):
        heads = config.text_config.num_attention_heads
        entries = setting.top_k if method == "unike" else 1  # of the memory, or the edit itself
        slots = entries * 6 * width * HALF + 4 * setting.tokens * entries * heads * SINGLE
        total += setting.edited * (slots + setting.tokens * 8 * width * HALF)
    return total
