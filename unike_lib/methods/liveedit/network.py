"""What LiveEdit trains: extractors of features, generators of experts, and what routes questions to experts."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unike_lib.backbones.edit import PassContext

QUERIES = 4  # learned queries per feature
SCALE = 5.0  # experts are made smaller by this and by the root of their rank


@dataclass(frozen=True)
class Spans:
    """Where rows have what is read of them, bool [row, token]: picture, prompt behind it, answer behind both."""

    picture: Tensor
    prompt: Tensor
    answer: Tensor

    @classmethod
    def of(cls, context: PassContext, tokens: int, real: Tensor | None = None) -> "Spans":
        """Return those of the tokens under way; what stands before the picture is not read.

        real: which tokens are not padding, bool [row, token]; None: answers are not read.
        """
        assert context.picture is not None
        places = torch.arange(tokens, device=context.last_prompt.device)
        upto = context.within("prompt", tokens)
        prompt = upto & (places >= context.picture.sum(1, keepdim=True))
        answer = torch.zeros_like(upto) if real is None else real & ~upto
        return cls(context.within("picture", tokens), prompt, answer)

    def select(self, rows: slice) -> "Spans":
        """Return those of some of the rows."""
        return Spans(self.picture[rows], self.prompt[rows], self.answer[rows])


@dataclass(frozen=True)
class Features:
    """What rows, or edits, are routed by: vision and text, [row, query, width] each."""

    vision: Tensor
    text: Tensor


def learned(rows: int, width: int) -> nn.Parameter:
    """Return what is learned of so many rows, [row, width]; the variance at the start is 2 per number of entries."""
    return nn.Parameter(torch.nn.init.kaiming_normal_(torch.empty(1, rows, width))[0])


class CrossAttention(nn.Module):
    """Multi-head attention without an output map: queries of a width from one input, keys and values from another.

    values: how wide values are, and what is returned.
    """

    def __init__(self, width: int, asked: int, heads: int, values: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(asked, width), nn.Linear(asked, values)

    def forward(self, asking: Tensor, asked: Tensor, where: Tensor | None = None) -> Tensor:
        """Return [row, query, values].

        Args:
            asking: [row or 1, query, width].
            asked: [row, token, asked].
            where: which tokens are asked, bool [row, token]; a row without any gets numbers that mean nothing.
        """
        query, key, value = (
            map_(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for map_, states in ((self.query, asking), (self.key, asked), (self.value, asked))
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if where is not None:
            scores = scores.masked_fill(~where[:, None, None], torch.finfo(scores.dtype).min)
        return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class Extractor(nn.Module):
    """Features of states: what the prompt asks of the picture, and what the prompt says."""

    def __init__(self, states: int, width: int, heads: int) -> None:
        super().__init__()
        self.vision_queries, self.text_queries = learned(QUERIES, width), learned(QUERIES, width)
        self.vision_norm, self.text_norm = nn.LayerNorm(states), nn.LayerNorm(states)
        self.of_prompt = CrossAttention(width, states, heads, width)
        self.of_picture = CrossAttention(width, states, heads, width)
        self.of_text = CrossAttention(width, states, heads, width)

    def vision(self, states: Tensor, prompt: Tensor, picture: Tensor, where: Tensor | None) -> Tensor:
        """Return phi = Att2(Att1(E1, LN1 prompt), LN1 picture) [row, query, width].

        Args:
            states: [row, token, d].
            prompt: which of them are the prompt's, bool [row, token].
            picture: states [row, token, d], of which `where` says which are the picture's (None: all).
            where: bool [row, token].
        """
        asking = self.of_prompt(self.vision_queries[None], self.vision_norm(states), prompt)
        found: Tensor = self.of_picture(asking, self.vision_norm(picture), where)
        return found

    def forward(self, states: Tensor, spans: Spans) -> Features:
        """Return the features of states [row, token, d]."""
        text = self.of_text(self.text_queries[None], self.text_norm(states), spans.prompt)
        return Features(self.vision(states, spans.prompt, states, spans.picture), text)


class Generator(nn.Module):
    """One side of an expert, [row, rank, d], from an edit's picture, prompt and answer."""

    def __init__(self, states: int, width: int, heads: int, rank: int) -> None:
        super().__init__()
        self.queries = learned(rank, width)
        self.norm = nn.LayerNorm(states)
        self.attention = CrossAttention(width, states, heads, states)

    def forward(self, states: Tensor, spans: Spans) -> Tensor:
        """Return Att(Phi, LN z) / (5 sqrt(rank)) of states [row, token, d]."""
        read = spans.picture | spans.prompt | spans.answer
        found: Tensor = self.attention(self.queries[None], self.norm(states), read)
        return found / (SCALE * len(self.queries) ** 0.5)


class LiveEditNetwork(nn.Module):
    """Extractors of edits and of questions, the generators of both sides of an expert, and the norm before experts.

    The prototype is a learned picture, [token, d]: an expert is kept if its edit's picture is nearer than that.

    Reading: both extractors start alike, so that a picture is nearest to itself before any step: trainings are short
    here. In the original each starts with weights of its own.
    """

    def __init__(self, states: int, width: int, heads: int, rank: int, picture_tokens: int) -> None:
        super().__init__()
        self.of_edits = Extractor(states, width, heads)
        self.of_questions = copy.deepcopy(self.of_edits)
        self.prototype = learned(picture_tokens, states)
        self.inputs, self.outputs = (Generator(states, width, heads, rank) for _ in range(2))
        self.norm = nn.LayerNorm(states)

    def prototype_feature(self, states: Tensor, spans: Spans) -> Tensor:
        """Return phi0 [row, query, width]: the visual feature of questions, had they the prototype as their picture."""
        picture = self.prototype.expand(len(states), -1, -1)
        return self.of_questions.vision(states, spans.prompt, picture, None)

    def residual(self, states: Tensor, inputs: Tensor, outputs: Tensor, weights: Tensor) -> Tensor:
        """Return sum_e w_e V_e^T relu(U_e LN(h)).

        Args:
            states: h [session, row, token, d].
            inputs: U [session, edit, rank, d].
            outputs: V, of the same shape.
            weights: w [session, row, edit].
        """
        sessions, rows, tokens, _ = states.shape
        normed: Tensor = self.norm(states).flatten(1, 2)
        active = (normed @ inputs.flatten(1, 2).transpose(1, 2)).relu()
        shares = weights.repeat_interleave(inputs.shape[2], 2)[:, :, None]
        active = active.view(sessions, rows, tokens, -1) * shares
        return (active.flatten(1, 2) @ outputs.flatten(1, 2)).view_as(states)


def similarity(asked: Tensor, edits: Tensor) -> Tensor:
    """Return how near features are: the mean over queries of <a, b> / sqrt(width), [..., row, edit].

    Args:
        asked: [..., row, query, width].
        edits: [..., edit, query, width].
    """
    queries, width = asked.shape[-2:]
    return asked.flatten(-2) @ edits.flatten(-2).transpose(-1, -2) / (queries * width**0.5)


def soft_weights(text: Tensor, kept: Tensor) -> Tensor:
    """Return softmax(t) sigmoid(t) among the experts that are kept, 0 elsewhere; both [..., edit]."""
    lowest = torch.finfo(text.dtype).min
    return text.masked_fill(~kept, lowest).softmax(-1) * text.sigmoid() * kept
