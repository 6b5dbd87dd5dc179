"""LAVIS's own inputs and logits against those of its files, converted (`tools/lavis_reference.py` writes both)."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from unike_lib.backbones.convert import Geometry, convert_original
from unike_lib.backbones.load import load_backbone
from unike_lib.config.backbones import BackboneConfig, OriginalConfig
from unike_lib.io import read_json, read_tensors
from unike_lib.types import InputError, Query

TINY = Geometry(vision_layers=3, vision_heads=2, qformer_heads=2)  # of the reference
BOUND = 1.0e-5


@torch.no_grad()
def compare_lavis(reference: Path, converted: Path) -> pd.DataFrame:
    """Convert LAVIS's files and ask both models the same texts about the same pictures.

    LAVIS gets a text whole, prompt and answer, and writes a line's end behind it; ours gets them apart, as elsewhere.

    Args:
        reference: the folder that `tools/lavis_reference.py` wrote.
        converted: the folder to write.

    Returns:
        One row a text: `text`, `ids` (of its tokens, special ones included), `tokens` (visual ones included),
        `difference_1e6` (the largest of its logits, times 10^6), `spread` (their standard deviation).

    Raises:
        InputError: the token ids differ, or the logits by more than 1e-5.
    """
    files = {"qformer": "checkpoint_0.pth", "vision": "eva_vit_g.pth", "language_model": "language_model"}
    expected, texts = read_tensors(reference / "expected.safetensors"), read_json(reference / "texts.json")
    config = BackboneConfig(
        family="blip2",
        original=OriginalConfig.model_validate({name: str(reference / file) for name, file in files.items()}),
        image_size=expected["pixels"].shape[-1],
        vqa_prompt="{}",
    )
    convert_original(config, converted, TINY)

    def images(names: Sequence[str]) -> Tensor:
        seen: Tensor = backbone.model.get_image_features(
            expected["pixels"][[int(name) for name in names]]
        ).pooler_output
        return seen

    backbone = load_backbone(converted, config, images)
    batch = backbone.encode([Query(str(row), prompt, answer + "\n") for row, (prompt, answer) in enumerate(texts)])
    logits = backbone.forward(backbone.run_below(batch))
    table, visual = backbone.model.get_input_embeddings().weight, expected["mask"].shape[1] - expected["ids"].shape[1]
    rows = []
    for row, (mask, ids) in enumerate(zip(expected["mask"].bool(), expected["ids"], strict=True)):
        text, theirs, said = " ".join(texts[row]), ids[mask[visual:]].tolist(), expected["logits"][row, mask]
        found = read_ids(batch.embeddings[row, visual : int(batch.lengths[row])], table)
        if found != theirs:
            raise InputError(f"{reference}: {text!r}: token ids differ from LAVIS's: {found} instead of {theirs}")
        difference = float((logits[row, : len(said)] - said).abs().max())
        if difference > BOUND:
            raise InputError(f"{reference}: {text!r}: logits differ from LAVIS's by more than {BOUND}")
        names = {"text": text, "ids": " ".join(map(str, theirs)), "tokens": len(said)}
        rows.append(names | {"difference_1e6": difference * 1e6, "spread": float(said.std())})
    return pd.DataFrame(rows)


def read_ids(embeddings: Tensor, table: Tensor) -> list[int]:
    """Return the token ids whose embeddings these are, [token, d]; -1 where it is no token's."""
    same = (embeddings[:, None] == table).all(-1)
    return torch.where(same.any(-1), same.int().argmax(-1), -1).tolist()
