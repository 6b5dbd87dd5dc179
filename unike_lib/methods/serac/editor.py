"""SERAC (Mitchell et al. 2022): edits stay in a memory; a small model answers the questions that they concern.

A scope classifier embeds questions and stored edits; exp(-|u - v|^2) says how surely a question is in an edit's scope.
A small counterfactual language model reads the best matching edit and the question, and answers. Both see text only:
the same question about another picture is in scope for them. `serac_training` trains them;
`counterfactual` mixes the answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DistilBertConfig, DistilBertModel, GPT2Config, GPT2Model

from unike_lib.backbones.backbone import Backbone
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult
from unike_lib.editing.patch import Patch
from unike_lib.methods.serac.counterfactual import CounterfactualMix, Mixture, Positions
from unike_lib.methods.serac.settings import SeracMethod
from unike_lib.types import EditRequest, InputError, Query

SCOPE, COUNTERFACTUAL = "scope", "counterfactual"
CLASSIFIER_TOKENS = 512  # of a text that the classifier reads; what is longer loses its beginning
REACH = 128  # positions on either side of the mark where an answer starts
Head = tuple[list[int], list[int]]
Reads = Any  # what a classifier reads of a question: its text; or more, as its models say (`SeracModels.reads`)


class ScopeEncoder(nn.Module):
    """A small DistilBERT: texts to vectors, the mean of its last states through a linear map."""

    def __init__(self, vocabulary: int, settings: SeracMethod) -> None:
        super().__init__()
        width = settings.width
        config = DistilBertConfig(
            vocab_size=vocabulary,
            dim=width,
            hidden_dim=2 * width,
            n_layers=settings.scope_layers,
            n_heads=settings.heads,
            max_position_embeddings=CLASSIFIER_TOKENS,
            initializer_range=width**-0.5,
            dropout=0.0,
            attention_dropout=0.0,
        )
        self.model: Any = DistilBertModel(config)
        self.out = nn.Linear(width, width)

    def forward(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Return vectors [text, width] of token ids."""
        rows = [torch.tensor(list(text)[-CLASSIFIER_TOKENS:], device=self.out.weight.device) for text in texts]
        ids = pad_sequence(rows, batch_first=True)
        real = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        states = self.model(input_ids=ids, attention_mask=real).last_hidden_state
        mean = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return self.out(mean)


class CounterfactualModel(nn.Module):
    """A small GPT-2 over the backbone's vocabulary and one mark more, with tied embeddings.

    A row is [edit's prompt, mark, its target, end, query's prompt, mark, answer]: the mark says that an answer starts.
    Positions count from the mark of the part that a token is in, so an answer's tokens have those of the target's: what
    a pretrained model brings, copying, is then learned from few edits.
    """

    def __init__(self, vocabulary: int, settings: SeracMethod) -> None:
        super().__init__()
        width = settings.width
        config = GPT2Config(
            vocab_size=vocabulary + 1,
            n_positions=2 * REACH,
            n_embd=width,
            n_inner=2 * width,
            n_layer=settings.counterfactual_layers,
            n_head=settings.heads,
            initializer_range=width**-0.5,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.model: Any = GPT2Model(config)
        self.mark = vocabulary

    def forward(self, heads: Sequence[Head], answers: Sequence[Sequence[int]]) -> Tensor:
        """Return the logits after the last token of each head and after each token of its answer, row after row.

        Args:
            heads: the edit's part and the query's prompt with its mark, as token ids.
            answers: token ids that follow.

        Returns:
            [position, vocabulary].
        """
        rows = self.states(heads, answers)
        read = [states[len(states) - len(answer) - 1 :] for states, answer in zip(rows, answers, strict=True)]
        return self.logits(torch.cat(read))

    def logits(self, states: Tensor) -> Tensor:
        """Return the logits [position, vocabulary] of last states [position, width]; the mark is no answer."""
        return states @ self.model.wte.weight[: self.mark].T

    def states(self, heads: Sequence[Head], answers: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return the last states of each row's tokens, [token, width]."""
        parts = [(edit, [*asked, *answer]) for (edit, asked), answer in zip(heads, answers, strict=True)]
        device = self.model.wte.weight.device
        rows = [torch.tensor([*edit, *asked], device=device) for edit, asked in parts]
        places = [torch.tensor([*self._places(edit), *self._places(asked)]) for edit, asked in parts]
        ids = pad_sequence(rows, batch_first=True)
        states = self.model(
            input_ids=ids,
            position_ids=pad_sequence(places, batch_first=True).to(ids.device),
            attention_mask=torch.ones_like(ids),  # causal rows padded on the right: no real token sees padding
            use_cache=False,
        ).last_hidden_state
        return [states[index, : len(row)] for index, row in enumerate(rows)]

    def _places(self, part: Sequence[int]) -> list[int]:
        """Return positions that count from the part's mark, which has REACH; far tokens share the outermost ones."""
        start = REACH - list(part).index(self.mark)
        return [min(max(start + index, 0), 2 * REACH - 1) for index in range(len(part))]


@dataclass(frozen=True)
class SeracModels:
    """Both models with the backbone's tokenizer: the `Router` of a `CounterfactualMix`.

    A classifier that reads more than text has models of its own: `encoder`, `reads`, `stored` and `vectors` say what.
    """

    backbone: Backbone
    scope_encoder: nn.Module
    counterfactual: CounterfactualModel
    leak_answer: bool
    radius: float
    mixture: Mixture
    positions: Positions

    @classmethod
    def untrained(cls, backbone: Backbone, settings: SeracMethod) -> Self:
        """Return models with random weights, from torch's generator.

        Raises:
            InputError: the tokenizer has no end symbol, with which answers end.
        """
        if backbone.tokenizer.eos_token_id is None:
            raise InputError("serac: expected a tokenizer with an end symbol (eos_token), found none")
        vocabulary = int(backbone.decoder.head.get_parameter("weight").shape[0])
        scope, counterfactual = cls.encoder(backbone, vocabulary, settings), CounterfactualModel(vocabulary, settings)
        device = backbone.device
        say = settings.leak_answer, settings.scope_radius, settings.mixture, settings.positions
        return cls(backbone, scope.to(device), counterfactual.to(device), *say)

    @staticmethod
    def encoder(backbone: Backbone, vocabulary: int, settings: SeracMethod) -> nn.Module:
        """Return the scope classifier with random weights."""
        return ScopeEncoder(vocabulary, settings)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The two models by the names of their tensors."""
        return {SCOPE: self.scope_encoder, COUNTERFACTUAL: self.counterfactual}

    def tensors(self) -> dict[str, Tensor]:
        """Return a copy of all weights by name."""
        return {
            f"{part}.{name}": value.detach().clone()
            for part, model in self.parts.items()
            for name, value in model.state_dict().items()
        }

    def text(self, query: Query) -> str:
        """Return what the classifier reads of a question or of an edit."""
        return f"{query.prompt} {query.answer or ''}".strip() if self.leak_answer else query.prompt

    def reads(self, query: Query) -> Reads:
        """Return what the classifier compares of a question or of an edit: its text."""
        return self.text(query)

    def stored(self, query: Query) -> Query:
        """Return what is kept of an edit: all but its picture, which no model reads."""
        return replace(query, image=None)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of texts."""
        tokenizer = self.backbone.tokenizer
        return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def vectors(self, reads: Sequence[Reads]) -> Tensor:
        """Return the classifier's vectors of what it reads, texts, [text, width]."""
        found: Tensor = self.scope_encoder(self.token_ids(reads))
        return found

    def distances(self, first: Sequence[Reads], second: Sequence[Reads]) -> Tensor:
        """Return |u - v|^2 of what is read side by side, [pair]; exactly 0 where that is equal."""
        reads = sorted({*first, *second})
        place, vectors = {each: index for index, each in enumerate(reads)}, self.vectors(reads)
        u, v = (vectors[[place[each] for each in side]] for side in (first, second))
        return (u - v).square().sum(-1)

    @torch.no_grad()
    def scope(self, queries: Sequence[Query], edits: Sequence[Query]) -> Tensor:
        """Return exp(-|u - v|^2 / radius) of each query and the edit beside it, [pair]."""
        distances = self.distances([self.reads(query) for query in queries], [self.reads(edit) for edit in edits])
        return (-distances / self.radius).exp()

    @torch.no_grad()
    def answer(
        self,
        queries: Sequence[Query],
        edits: Sequence[Query],
        answers: Sequence[Sequence[int]],
        read: Sequence[int],
    ) -> Iterator[Tensor]:
        """Yield the counterfactual model's logits after the last tokens of each row, [position, vocabulary].

        The mark stands in the place of the last prompt token, which both models have, so that every token of the
        question meets itself in the backbone's row.
        """
        targets = [self.backbone.answer_ids(edit.answer or "") for edit in edits]
        heads = [self.head(edit, target, query) for edit, target, query in zip(edits, targets, queries, strict=True)]
        rows = self.counterfactual.states(heads, answers)
        for (edited, asked), states, count in zip(heads, rows, read, strict=True):
            last_prompt = len(edited) + len(asked) - 2
            shared = torch.cat([states[:last_prompt], states[last_prompt + 1 :]])
            yield self.counterfactual.logits(shared[max(0, len(shared) - count) :])

    def head(self, edit: Query, target: Sequence[int], query: Query) -> Head:
        """Return [edit's prompt, mark, target, end] and [query's prompt, mark] as token ids."""
        mark, end, prompt = self.counterfactual.mark, self.backbone.tokenizer.eos_token_id, self.backbone.prompt_ids
        return [*prompt(edit), mark, *target, end], [*prompt(query), mark]


def load_router(
    settings: SeracMethod, backbone: Backbone, tensors: Mapping[str, Tensor], kind: type[SeracModels] = SeracModels
) -> SeracModels:
    """Return trained models.

    Args:
        settings: those that the models were trained with.
        backbone: its tokenizer and vocabulary are theirs.
        tensors: from `SeracModels.tensors`.
        kind: of models.

    Raises:
        InputError: the tensors are not those of such models.
    """
    models = kind.untrained(backbone, settings)
    for part, model in models.parts.items():
        own = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
        try:
            model.load_state_dict(own)
        except RuntimeError as error:
            why = str(error).splitlines()[-1]
            raise InputError(f"{settings.method}: trained models do not fit the settings ({why})") from None
        model.eval().requires_grad_(False)
    return models


def build(settings: SeracMethod, backbone: Backbone, sources: EditorSources, seed: int) -> "Serac":
    """Return the editor with its two trained models."""
    return Serac(load_router(settings, backbone, sources.trained_tensors()))


@dataclass(frozen=True)
class Serac:
    """Editing is to remember: no optimiser, no change of the backbone."""

    models: SeracModels

    def start(self, sessions: int) -> Patch:
        """Return the patch of empty memories."""
        return Patch(sessions, (self._storing([()] * sessions),))

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Store one request per session."""
        edits = [(self.models.stored(request.query),) for request in requests]
        return EditResult(previous.append(self._storing(edits)), (None,) * len(requests))

    def _storing(self, edits: Sequence[tuple[Query, ...]]) -> CounterfactualMix:
        return CounterfactualMix(self.models, tuple(edits), self.models.mixture, self.models.positions)
