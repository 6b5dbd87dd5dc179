"""Questions behind a demonstration in their context, which only some layers let them see.

UniKE puts retrieved knowledge where a demonstration in the context would be, in the edited layers alone: whether those
layers read a real context is the upper bound of what hidden states of it can do there.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Batch, sees_pictures
from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.positions import check_lengths
from unike_lib.types import Query

SEPARATOR = ".\n"  # word-level tokenizers drop the newline, byte-level ones end the line as texts do
AnswerScores = dict[str, float]


def behind(backbone: Backbone, demonstrations: Sequence[Query], queries: Sequence[Query]) -> tuple[Batch, Tensor]:
    """Lay each query behind a demonstration: [demonstration, its answer, SEPARATOR, query, its answer].

    Either part may have an image of its own; both keep the family's input layout.

    Returns:
        The rows, with the queries' answers as the only targets, and the tokens [row] before each query.
    """
    first, second = backbone.encode(demonstrations), backbone.encode(queries)
    ids = backbone.tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]
    between = backbone.embed(torch.tensor(ids, dtype=torch.long, device=backbone.device))
    context = first.lengths + len(ids)
    rows, targets, positions = [], [], []
    for row, (start, end) in enumerate(zip(first.lengths.tolist(), second.lengths.tolist(), strict=True)):
        rows.append(torch.cat([first.embeddings[row, :start], between, second.embeddings[row, :end]]))
        nothing = second.targets.new_full((start + len(ids),), IGNORED)
        targets.append(torch.cat([nothing, second.targets[row, :end]]))
        if first.positions is not None and second.positions is not None:
            before, after = first.positions[:, row, :start], second.positions[:, row, :end]
            free = before.max() + 1 + torch.arange(len(ids) + 1, device=before.device)
            positions.append(torch.cat([before, free[:-1].expand(3, -1), after + free[-1]], 1).T)
    places = [int(each.max()) + 1 for each in positions] or (context + second.lengths).tolist()
    check_lengths(backbone.decoder.limit, queries, places)
    sees, width = None, max(map(len, rows))
    if backbone.both_ways and first.picture is not None and second.picture is not None:
        later = second.picture + torch.stack([context, torch.zeros_like(context)], 1)
        sees = sees_pictures(first.picture, width) | sees_pictures(later, width)
    pad = torch.nn.utils.rnn.pad_sequence
    batch = Batch(
        pad(rows, batch_first=True),
        pad(targets, batch_first=True, padding_value=IGNORED),
        context + second.last_prompt,
        context + second.lengths,
        pad(positions, batch_first=True).permute(2, 0, 1) if positions else None,
        sees=sees,
    )
    return batch, context


def without_context(batch: Batch, context: Tensor) -> Tensor:
    """Return which tokens each token sees, bool [row, token, token]: as in the batch, but no query its context."""
    positions = torch.arange(batch.embeddings.shape[1], device=context.device)
    in_context = positions < context[:, None]
    hidden = ~in_context[:, :, None] & in_context[:, None, :]
    return (positions <= positions[:, None] if batch.sees is None else batch.sees) & ~hidden


def run_visible(
    decoder: Decoder, batch: Batch, context: Tensor, visible: Mapping[str, Collection[int]]
) -> Iterator[tuple[str, Tensor]]:
    """Yield, for each named set of layers, the last layer's states when the context is visible in those layers alone.

    In other layers a query's tokens attend to the query only, at the positions that they have behind the context; the
    context itself is computed as usual. States below the lowest visible layer are shared.
    """
    blocked, depth = without_context(batch, context), len(decoder.layers)
    hidden, reached = decoder.start(batch.embeddings), 0
    for name, layers in sorted(visible.items(), key=lambda item: min(item[1], default=depth)):
        lowest = min(layers, default=depth)
        hidden, reached = decoder.run(hidden, range(reached, lowest), sees=blocked, positions=batch.positions), lowest
        states = hidden
        for layer in range(lowest, depth):
            sees = batch.sees if layer in layers else blocked
            states = decoder.run(states, [layer], sees=sees, positions=batch.positions)
        yield name, states


def answer_scores(backbone: Backbone, hidden: Tensor, batch: Batch) -> list[AnswerScores]:
    """Score each row's answer under teacher forcing, from the last layer's states [row, token, d].

    Returns:
        A row each: `token`, the share of answer tokens right; `exact`, 1 if all are; `log_probability`, the mean over
        the answer [nats per token].
    """
    where = batch.targets != IGNORED
    logits, targets = backbone.decoder.logits(backbone.decoder.finish(hidden[where])), batch.targets[where]
    right = (logits.argmax(-1) == targets).double()
    losses = cross_entropy(logits, targets, reduction="none").double()
    counts = where.sum(1).tolist()
    return [
        {"token": float(hits.mean()), "exact": float(hits.min()), "log_probability": -float(part.mean())}
        for hits, part in zip(right.split(counts), losses.split(counts), strict=True)
    ]
