"""What a target teaches, by hand: each of its tokens, and behind the last one that a stop token follows."""

import torch
from torch.nn.functional import cross_entropy

STOPS = [2]  # of the tiny models: </s>


def taught_losses(logits, answer, teach_end=True):
    """The losses of one row: logits [token, vocabulary] of a row that ends with its answer, as token ids."""
    start = len(logits) - len(answer) - 1
    losses = [cross_entropy(logits[start + place], torch.tensor(token)) for place, token in enumerate(answer)]
    return torch.stack([*losses, -logits[-1].softmax(-1)[STOPS].sum().log()] if teach_end else losses)
