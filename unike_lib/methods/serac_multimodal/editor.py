"""The models of SERAC with a scope of text and picture: what the classifier reads, and its vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn

from unike_lib.backbones.backbone import Backbone
from unike_lib.editing.building import EditorSources
from unike_lib.methods.serac.editor import ScopeEncoder, Serac, SeracModels, load_router
from unike_lib.methods.serac.settings import SeracMethod
from unike_lib.methods.serac_multimodal.settings import SeracMultimodalMethod
from unike_lib.types import Query

NO_PICTURE = ""
KEPT = 4096  # pictures whose feature is kept: a scope is asked at every token of an answer
LEAST_SPREAD = 0.1  # of a channel, in units of the mean over channels: what hardly varies is not blown up
View = tuple[str, str]  # text, picture


class PictureEncoder(nn.Module):
    """Features of pictures to vectors: a linear map of what stands out from the training pictures.

    Reading: without a picture the vector is one of its own, which is trained (MSCKE: that of an all-zero picture).
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.out = nn.Linear(features, width)
        self.none = nn.Parameter(torch.zeros(width))

    def fit(self, features: Tensor) -> None:
        """Take centre and spread of each channel from features [picture, d]; fewer than two say nothing of them."""
        if len(features) > 1:
            spread = features.std(0)
            self.centre.copy_(features.mean(0))
            self.spread.copy_(spread.clamp(min=max(LEAST_SPREAD * float(spread.mean()), 1.0e-6)))

    def forward(self, features: Sequence[Tensor | None]) -> Tensor:
        """Return vectors [picture, width] of features [d] each; None: no picture."""
        rows = [self.none if each is None else self.out((each - self.centre) / self.spread) for each in features]
        return torch.stack(rows)


class ViewEncoder(nn.Module):
    """Text encoder and picture encoder, side by side."""

    def __init__(self, texts: nn.Module, pictures: PictureEncoder) -> None:
        super().__init__()
        self.texts, self.pictures = texts, pictures


def features_of(backbone: Backbone) -> Callable[[str], Tensor]:
    """Return what gives a picture's feature [d]: the mean of its visual tokens, as the backbone reads them."""

    @lru_cache(KEPT)
    def feature(name: str) -> Tensor:
        return backbone.images([name])[0, :, : backbone.width].to(backbone.device, torch.float32).mean(0)

    return feature


@dataclass(frozen=True)
class SeeingModels(SeracModels):
    """SERAC's models with a scope that compares texts and pictures: e = [text; picture]."""

    feature: Callable[[str], Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "feature", features_of(self.backbone))

    @staticmethod
    def encoder(backbone: Backbone, vocabulary: int, settings: SeracMethod) -> nn.Module:
        """Return the scope classifier with random weights."""
        return ViewEncoder(ScopeEncoder(vocabulary, settings), PictureEncoder(backbone.width, settings.width))

    def reads(self, query: Query) -> View:
        """Return what the classifier compares of a question or of an edit: its text and its picture."""
        return self.text(query), query.image or NO_PICTURE

    def stored(self, query: Query) -> Query:
        """Return what is kept of an edit: all of it."""
        return query

    def vectors(self, reads: Sequence[View]) -> Tensor:
        """Return e = [text; picture] of views, [view, 2 width]; each text and each picture is encoded once."""
        texts, pictures = (sorted({each[half] for each in reads}) for half in (0, 1))
        encoder = self.scope_encoder
        assert isinstance(encoder, ViewEncoder)
        of_texts = encoder.texts(self.token_ids(texts))
        of_pictures = encoder.pictures([None if name == NO_PICTURE else self.feature(name) for name in pictures])
        places = [(texts.index(text), pictures.index(picture)) for text, picture in reads]
        which = torch.tensor(places, device=of_texts.device).T
        return torch.cat([of_texts[which[0]], of_pictures[which[1]]], 1)


def build(settings: SeracMultimodalMethod, backbone: Backbone, sources: EditorSources, seed: int) -> Serac:
    """Return the editor with its trained models."""
    return Serac(load_router(settings, backbone, sources.trained_tensors(), SeeingModels))
