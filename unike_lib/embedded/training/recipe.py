"""What an embedded backbone is trained from, and the trained parts that come with the library.

The library ships the trained part of the default run's backbones, so by default nothing is trained, and what training
takes (transformers, the tower) is not imported.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Generic, TypeVar

import pandas as pd
from torch import Tensor

from unike_lib.checksum import whole_digest
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.run import TeachingConfig
from unike_lib.io import read_table, read_tensors
from unike_lib.types import InputError

if TYPE_CHECKING:
    from unike_lib.embedded.training.tower_features import TowerFeatures

SHIPPED = Path(__file__).parent / "weights"
TOWER, LOG = "tower.", "log"  # names of a trained part's further tensors: the tower's maps, and the training log
RUN_ONLY = {"shipped", "checkpoint"}  # settings that do not shape the weights

SettingsType = TypeVar("SettingsType", bound=TeachingConfig)
logger = logging.getLogger(__name__)


def training_scenes(benchmark: Path) -> pd.DataFrame:
    """Return the rows of scenes.parquet that backbones are trained on, in file order.

    Raises:
        InputError: there are none.
    """
    scenes = read_table(benchmark / "scenes.parquet")
    kept = scenes[scenes["split"] == "training"].reset_index(drop=True)
    if kept.empty:
        raise InputError(f"{benchmark / 'scenes.parquet'}: expected rows with split 'training', found none")
    return kept


@dataclass(frozen=True)
class Recipe(Generic[SettingsType]):
    """What a trained part is made from: benchmark folder, tower features, language model, settings, seed.

    features: None: they are computed where something is trained. base: folder of the pretrained language model, or the
    file of the vocabulary that one is made from scratch for.
    """

    benchmark: Path
    features: Path | None
    base: Path
    backbone: BackboneConfig
    settings: SettingsType
    seed: int

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with anything the weights are trained from, and are alike on all machines.

        What counts: the content of training.parquet and of the training scenes, the base model's files or the
        vocabulary, family, question template, settings and seed. The tower's features do not: their last digits differ
        between machines.
        """
        lessons = read_table(self.benchmark / "training.parquet").to_json(orient="records")
        scenes = training_scenes(self.benchmark).to_json(orient="records")
        files = [self.base] if self.base.suffix else [self.base / n for n in ("model.safetensors", "tokenizer.json")]
        model = [whole_digest(file) for file in files]
        settings = self.settings.model_dump(mode="json", exclude=RUN_ONLY)
        choices = [self.backbone.family, self.backbone.vqa_prompt, settings, self.seed]
        return hashlib.sha256(json.dumps([lessons, scenes, model, choices], sort_keys=True).encode()).hexdigest()[:16]

    def tower_features(self) -> "TowerFeatures":
        """Return what the tower sees in the training pictures, computed here if no file was named.

        Raises:
            InputError: the file is missing, broken, or belongs to another benchmark.
        """
        from unike_lib.embedded.training.tower_features import extract_tower_features, read_tower_features

        if self.features is not None:
            return read_tower_features(self.features, self.benchmark)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "features.safetensors"
            extract_tower_features(self.benchmark, path)
            return read_tower_features(path, self.benchmark)

    def shipped_part(self, path: Path) -> dict[str, Tensor] | None:
        """Return the tensors of a shipped part if this very recipe made them; None: something is to be trained."""
        if not self.settings.shipped:
            return None
        try:
            tensors = read_tensors(path, self.fingerprint)
        except InputError as error:
            logger.info("training, because the library's weights do not fit: %s", error)
            return None
        logger.info("nothing to train: %s fits the benchmark and the settings", path.name)
        return tensors
