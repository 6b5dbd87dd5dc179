"""Training of SERAC's models with a scope of text and picture: other pairs are out of scope than for texts alone."""

from collections.abc import Sequence
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.methods.serac.training import IN_SCOPE, ScopeLoss, seeded_models, train_models
from unike_lib.methods.serac_multimodal.editor import NO_PICTURE, SeeingModels, View, ViewEncoder
from unike_lib.methods.serac_multimodal.settings import SeracMultimodalMethod
from unike_lib.probe_kinds import LOCALITY
from unike_lib.types import EditCase


def train(
    settings: SeracMultimodalMethod, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train scope classifier and counterfactual model; all as of `serac.training.train_serac`.

    Of the backbone, its visual tokens are read, too; the model is not run.
    """
    models = seeded_models(SeeingModels, settings, backbone, seed)
    asked = [query for case in cases for query in case.queries((*SeeingScopeLoss.near, *LOCALITY))]
    pictures = sorted({query.image for query in asked if query.image})
    encoder = models.scope_encoder
    assert isinstance(encoder, ViewEncoder)
    if pictures:
        encoder.pictures.fit(torch.stack([models.feature(name) for name in pictures]))
    return train_models(models, SeeingScopeLoss, settings, cases, dev, seed)


class SeeingScopeLoss(ScopeLoss):
    """As for texts alone, with the edit's rephrased picture in scope, too.

    Out of scope are its locality questions; and, of the edit beside it in the batch, its question, that question on the
    edit's own picture, and the edit's question on that picture. Edits that share a fact are not held against each
    other. Reading: two views mean the same if their texts do and their pictures do (an edit's and its rephrased one).
    """

    near: ClassVar[tuple[str, ...]] = (*IN_SCOPE, "m_gen")

    def _link(self, case: EditCase) -> None:
        """Note that the texts of a case mean the same, and its pictures."""
        views = self._reads(case, self.near)
        self._unite((0, text) for text, _ in views)
        self._unite((1, picture) for _, picture in views if picture != NO_PICTURE)

    def _meaning(self, read: View) -> tuple[View, View]:
        """Return what stands for all texts, and for all pictures, that mean the same."""
        return self._root((0, read[0])), self._root((1, read[1]))

    def _far(self, cases: Sequence[EditCase]) -> list[tuple[View, View]]:
        """Return pairs of an edit's question and one that is out of its scope, if it means something else."""
        far = [(self._own(case), each) for case in cases for each in self._reads(case, LOCALITY)]
        for case, other in zip(cases, [*cases[1:], cases[0]], strict=True):
            if set(case.facts) & set(other.facts):
                continue
            (text, picture), beside = self._own(case), self._own(other)
            others = [beside, (beside[0], picture), (text, beside[1])]
            both = NO_PICTURE not in (picture, beside[1])
            far += [((text, picture), each) for each in (others if both else others[:1])]
        return far
