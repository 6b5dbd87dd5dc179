"""What the states that UniKE stores and mixes in carry: how much they vary, and whether answers can be read off."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part, Patch
from unike_lib.knowledge.encoder_training import fit_map
from unike_lib.methods.unike.latent_shift import LatentShift
from unike_lib.types import Query

FOLDS = 5
RIDGE = 0.01  # ridge strength of the linear probe, in units of a feature's mean squared deviation
PROBED = 4000  # states that the linear probe is fitted on, at most


@dataclass(frozen=True)
class Recorder(Part):
    """A part that changes nothing and keeps, at the last prompt tokens, a and (where the shift acts) h_know.

    attention_outputs, known: layer -> [row, d] of each batch.
    """

    shift: LatentShift
    attention_outputs: dict[int, list[Tensor]] = field(default_factory=dict)
    known: dict[int, list[Tensor]] = field(default_factory=dict)

    def attention(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return the attention output as it is."""
        rows = torch.arange(len(outputs), device=outputs.device)
        self.attention_outputs.setdefault(layer.index, []).append(outputs[rows, context.last_prompt])
        if self.shift.covers(layer.index):
            # With alpha = 1 the shifted output is h_know.
            known = replace(self.shift, alpha=1.0, alpha_convention="text").attention(layer, inputs, outputs, context)
            self.known.setdefault(layer.index, []).append(known[rows, context.last_prompt])
        return outputs


@torch.no_grad()
def readout_table(
    backbone: Backbone,
    batches: Sequence[Sequence[Query]],
    stored: dict[int, Tensor],
    shift: LatentShift,
    answers: Sequence[str],
) -> pd.DataFrame:
    """Return one row per layer: shares of variance, and the answer read from h_pos.

    Args:
        backbone: the unedited model.
        batches: the questions.
        stored: layer -> h_pos [question, d] of the same facts.
        shift: the latent shift over the general memory.
        answers: the true answer of each entry of that memory.

    Returns:
        `h_pos`, `attention`, `h_know`: share of variance over the questions (h_know and what follows in the edited
        layers only); `memory`: that of h_pos over the memory; `decoded`: accuracy of the linear probe on the memory,
        with `chance`, `answers` and `triplets` from `decode_answers`.
    """
    recorder, decoder = Recorder(shift), backbone.decoder
    for queries in batches:
        batch = backbone.encode(queries)
        layers, patch = range(len(decoder.layers)), Patch(1, (recorder,))
        context, hidden = batch.context(), decoder.start(batch.embeddings)
        decoder.run(hidden, layers, patch, context, batch.sees, batch.positions)
    labels = _first_tokens(backbone, answers)
    rows = []
    for layer, states in stored.items():
        row: dict[str, object] = {"layer": layer, "edited": shift.covers(layer), "items": len(states)}
        row |= {
            "h_pos": variance_share(states),
            "attention": variance_share(torch.cat(recorder.attention_outputs[layer])),
        }
        if shift.covers(layer):
            row |= {"h_know": variance_share(torch.cat(recorder.known[layer]))}
            memory = shift.memory.values[layer]
            row |= {"memory": variance_share(memory), **decode_answers(memory, labels)}
        rows.append(row)
    return pd.DataFrame(rows)


def variance_share(states: Tensor) -> float:
    """Return 1 - |mean|^2 / mean |x|^2 of states x [item, d]: 0 where all are the same."""
    states = states.double()
    return float(1 - states.mean(0).square().sum() / states.square().sum(1).mean())


def decode_answers(states: Tensor, labels: Tensor) -> dict[str, float]:
    """Return how often a linear probe reads an answer's first token from h_pos, cross-validated in FOLDS parts by case.

    The probe is a ridge regression onto one-hot labels.

    Args:
        states: h_pos [case, d].
        labels: the id of each answer's first token [case]; -1 for cases to leave out. Labels of fewer than FOLDS cases
            are left out too.

    Returns:
        `decoded` (share right), `chance` (share of the most frequent label), `answers` (labels), `triplets` (cases);
        the first two are NaN with fewer than two labels.
    """
    values, counts = labels[labels >= 0].unique(return_counts=True)
    kept = torch.isin(labels, values[counts >= FOLDS])
    chosen = kept.nonzero()[:: max(1, int(kept.sum()) // PROBED), 0]
    names, classes, counts = labels[chosen].unique(return_inverse=True, return_counts=True)
    sizes = {"answers": float(len(names)), "triplets": float(len(chosen))}
    if len(names) < 2:
        return {"decoded": float("nan"), "chance": float("nan"), **sizes}
    states, wanted = states[chosen].double().cpu(), one_hot(classes).double()
    fold = torch.arange(len(chosen)) % FOLDS
    right = [_fold_right(states, wanted, fold != number) for number in range(FOLDS)]
    return {"decoded": float(torch.cat(right).double().mean()), "chance": float(counts.max() / len(chosen)), **sizes}


def _fold_right(states: Tensor, wanted: Tensor, train: Tensor) -> Tensor:
    """Fit on the training cases; return whether each other case is read right."""
    centre, mean = states[train].mean(0), wanted[train].mean(0)
    inputs = states[train] - centre
    ridge = RIDGE * float(inputs.square().sum()) / inputs.shape[1]
    read = (states[~train] - centre) @ fit_map(inputs, wanted[train] - mean, max(ridge, 1e-9)) + mean
    return read.argmax(1) == wanted[~train].argmax(1)


def _first_tokens(backbone: Backbone, answers: Sequence[str]) -> Tensor:
    """Return the first token of each answer; -1 for answers of one token, which h_pos would name by itself."""
    ids = [backbone.answer_ids(answer) for answer in answers]
    return torch.tensor([each[0] if len(each) > 1 else -1 for each in ids])
