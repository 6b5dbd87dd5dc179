"""LAVIS's own logits against those of its files after conversion (`tools/lavis_reference.py` writes both)."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from unike_lib.backbone_config import BackboneConfig, OriginalConfig
from unike_lib.backbones.convert import Geometry, convert_original
from unike_lib.backbones.load import load_backbone
from unike_lib.io import read_json, read_tensors
from unike_lib.types import InputError, Query

TINY = Geometry(vision_layers=3, vision_heads=2, qformer_heads=2)  # of the reference
BOUND = 1.0e-5


@torch.no_grad()
def compare_lavis(reference: Path, converted: Path) -> pd.DataFrame:
    """Convert LAVIS's files and ask both models the same texts about the same pictures.

    Args:
        reference: the folder that `tools/lavis_reference.py` wrote.
        converted: the folder to write.

    Returns:
        One row a text: `text`, `tokens`, `difference_1e6` (the largest of its logits, times 10^6), `spread` (their
        standard deviation).

    Raises:
        InputError: the logits differ by more than 1e-5.
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
    batch = backbone.encode([Query(str(row), text) for row, text in enumerate(texts)])
    logits = backbone.head(backbone.trunk(batch))
    rows = []
    for row, (text, tokens) in enumerate(zip(texts, expected["lengths"].tolist(), strict=True)):
        ours, theirs = logits[row, :tokens], expected["logits"][row, :tokens]
        if int(batch.lengths[row]) != tokens or (ours - theirs).abs().max() > BOUND:
            raise InputError(f"{reference}: {text!r}: logits differ from LAVIS's by more than {BOUND}")
        difference = float((ours - theirs).abs().max()) * 1e6
        rows.append({"text": text, "tokens": tokens, "difference_1e6": difference, "spread": float(theirs.std())})
    return pd.DataFrame(rows)
