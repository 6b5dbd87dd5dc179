"""BLIP-2 with a choice of vision tower: Hugging Face's ViT, or a frozen EfficientNet over square tiles.

A tower sits at `model.vision_model` and returns what HF's ViT returns, so `Blip2ForConditionalGeneration.forward`,
`generate` and `get_image_features` run unchanged on either.

Example:
    >>> model = load_blip2("folder")                               # doctest: +SKIP
    >>> model.get_image_features(pixel_values).pooler_output.shape  # doctest: +SKIP
    torch.Size([1, 8, 128])
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from transformers import Blip2Config, Blip2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from unike_lib.backbones.checkpoint import load_whole
from unike_lib.io import read_json
from unike_lib.types import InputError

MIDDLE_WIDTH, LATE_WIDTH, POOLED_WIDTH = 112, 320, 1280  # channels of EfficientNet-Lite0 at stride 16, 32 and its head
RGB = 3
TILES_AT_ONCE = 8  # more at once only cost memory traffic on a CPU
CODEBOOK_TEMPERATURE = 0.05


@dataclass(frozen=True)
class TowerShape:
    """The sizes of a `TiledTower`, kept in the model's config.json as `vision_tower`.

    `tiles`: square tiles side by side; `grid`: patch tokens along one side of a tile; `patch_components`: kept
    principal components of a patch; `identity_components`: discriminants of a tile.
    """

    tiles: int = 2
    grid: int = 4
    patch_components: int = 16
    identity_components: int = 128

    @property
    def patch_width(self) -> int:
        """Channels a patch token fills: its principal components and mean RGB."""
        return self.patch_components + RGB

    @property
    def width(self) -> int:
        """Channels of a token: the patch part, the identity part, one for each slot."""
        return self.patch_width + self.identity_components + self.tiles

    @property
    def tokens(self) -> int:
        """Tokens per image: the patches and one identity token of each tile."""
        return self.tiles * (self.grid**2 + 1)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> "TowerShape":
        """Read the config.json entry.

        Raises:
            InputError: an unknown or missing field, or a value that is not a positive integer.
        """
        names = {field.name for field in fields(cls)}
        if set(entry) != names:
            raise InputError(
                f"config.json: field 'vision_tower': expected the keys {sorted(names)}, found {sorted(entry)}"
            )
        for name, value in entry.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(
                    f"config.json: field 'vision_tower.{name}': expected a positive integer, found {value!r}"
                )
        return cls(**entry)


class TiledTower(nn.Module):
    """EfficientNet-Lite0 (Tan and Le 2019, Lite variant) run on each tile of an image, then fixed linear maps.

    A tile gives grid x grid patch tokens, `[(f - patch_mean) P, mean RGB]` with f the stride-16 and stride-32 features
    averaged over the patch and P whitened principal components, and one identity token `(g - identity_mean) D` scaled
    to length sqrt(components), with g the pooled head features and D linear discriminants. The parts fill channels of
    their own; the last channels mark the slot (a one-hot, which the Q-Former's key and value maps turn into a slot
    embedding). Nothing here is trained by gradient.
    """

    patch_mean: Tensor
    patch_basis: Tensor
    identity_mean: Tensor
    identity_basis: Tensor

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.shape = shape
        self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network._fc = nn.Identity()  # the ImageNet classifier is not used: keep it out of the saved weights
        raw = MIDDLE_WIDTH + LATE_WIDTH
        self.register_buffer("patch_mean", torch.zeros(raw))
        self.register_buffer("patch_basis", torch.zeros(raw, shape.patch_components))
        self.register_buffer("identity_mean", torch.zeros(POOLED_WIDTH))
        self.register_buffer("identity_basis", torch.zeros(POOLED_WIDTH, shape.identity_components))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "TiledTower":
        """Stay in evaluation mode: the tower is frozen, its batch statistics too."""
        return super().train(False)

    def split_tiles(self, pixel_values: Tensor) -> Tensor:
        """Cut pixel values [batch, 3, side, tiles * side] into tiles [batch, tiles, 3, side, side].

        Raises:
            InputError: the image is not `tiles` square tiles side by side.
        """
        height, width = pixel_values.shape[2:]
        if width != self.shape.tiles * height:
            raise InputError(
                f"pixel_values: expected {self.shape.tiles} square tiles side by side, found {width} x {height}"
            )
        return torch.stack(pixel_values.split(height, dim=3), dim=1)

    def raw_features(self, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the network on tiles [n, 3, side, side], before any linear map.

        Returns:
            Patch features [n, grid^2, 432], mean RGB [n, grid^2, 3], pooled features [n, 1280].
        """
        network = self.network
        tiles = tiles.contiguous(memory_format=torch.channels_last)  # a third faster on CPUs
        hidden = network._swish(network._bn0(network._conv_stem(tiles)))
        middle = hidden
        for block in network._blocks:
            hidden = block(hidden)
            middle = hidden if hidden.shape[1] == MIDDLE_WIDTH else middle
        pooled = network._swish(network._bn1(network._conv_head(hidden))).mean(dim=(2, 3))
        return torch.cat([self._patches(middle), self._patches(hidden)], dim=-1), self._patches(tiles), pooled

    def _patches(self, maps: Tensor) -> Tensor:
        """Average maps [n, c, h, w] over the patches of a tile -> [n, grid^2, c]."""
        return F.adaptive_avg_pool2d(maps, self.shape.grid).flatten(2).transpose(1, 2)

    def reduce(self, patches: Tensor, colours: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the fixed maps to raw features -> patch parts [n, grid^2, patch_width], identity parts [n, n_d]."""
        part = torch.cat([(patches - self.patch_mean) @ self.patch_basis, colours], dim=-1)
        identity = (pooled - self.identity_mean) @ self.identity_basis
        return part, F.normalize(identity, dim=-1) * self.shape.identity_components**0.5

    def tokens(self, patch_part: Tensor, identity_part: Tensor) -> Tensor:
        """Lay reduced features [batch, tile, ...] out as tokens [batch, tiles * (grid^2 + 1), width].

        Tile by tile, the patches and then the identity.
        """
        batch, tiles = identity_part.shape[:2]
        out = identity_part.new_zeros(batch, tiles, self.shape.grid**2 + 1, self.shape.width)
        patch_end, slot_start = self.shape.patch_width, self.shape.width - tiles
        out[:, :, :-1, :patch_end] = patch_part
        out[:, :, -1, patch_end:slot_start] = identity_part
        out[..., slot_start:] = torch.eye(tiles, device=out.device, dtype=out.dtype)[:, None, :]
        return out.flatten(1, 2)

    def forward(
        self, pixel_values: Tensor, interpolate_pos_encoding: bool = False, **_: Any
    ) -> BaseModelOutputWithPooling:
        """Encode pixel values [batch, 3, side, tiles * side] -> last_hidden_state [batch, tokens, width].

        `pooler_output` is the mean token. The other arguments of HF's ViT are accepted and have no meaning here.
        """
        tiles = self.split_tiles(pixel_values.to(self.patch_mean.dtype))
        kept, index = _without_repeated_plain(tiles.flatten(0, 1))
        raw = [self.raw_features(part) for part in kept.split(TILES_AT_ONCE)]
        parts = self.reduce(*(torch.cat(part)[index] for part in zip(*raw, strict=True)))
        tokens = self.tokens(*(part.unflatten(0, tiles.shape[:2]) for part in parts))
        return BaseModelOutputWithPooling(last_hidden_state=tokens, pooler_output=tokens.mean(dim=1))


def _without_repeated_plain(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Keep one of the tiles of a single colour, which empty slots share; also return where each tile went."""
    corner = tiles[:, :, :1, :1]
    plain = (tiles == corner).flatten(1).all(1)
    same_colour = (corner.flatten(1)[:, None] == corner.flatten(1)).all(2)
    alike = (same_colour & plain[:, None] & plain) | torch.eye(len(tiles), dtype=torch.bool, device=tiles.device)
    kept, index = alike.int().argmax(1).unique(return_inverse=True)
    return tiles[kept], index


class Codebook(nn.Module):
    """Projects a query output o [..., d] to a convex mix of words: softmax(cos(o, codes) / temperature) words.

    A familiar thing drawn in an unfamiliar way becomes nearly the same visual token as the familiar drawing.
    """

    def __init__(self, classes: int, width: int, outward: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.zeros(classes, width))
        self.words = nn.Parameter(torch.zeros(classes, outward))

    def forward(self, outputs: Tensor) -> Tensor:
        """Return visual tokens [..., outward] of query outputs [..., d]."""
        cosines = F.normalize(outputs, dim=-1) @ F.normalize(self.codes, dim=-1).T
        return (cosines / CODEBOOK_TEMPERATURE).softmax(-1) @ self.words


class Blip2WithTower(Blip2ForConditionalGeneration):
    """BLIP-2 whose config has an entry `vision_tower`: a `TiledTower` takes the place of the ViT.

    With an entry `codebook`, a `Codebook` of that many classes takes the place of the linear language projection.
    """

    def __init__(self, config: Any) -> None:
        shape = TowerShape.from_dict(config.vision_tower)
        if config.vision_config.hidden_size != shape.width:
            raise InputError(
                f"config.json: field 'vision_config.hidden_size': expected the tower's width {shape.width}"
            )
        super().__init__(config)
        self.vision_model = TiledTower(shape)
        if classes := getattr(config, "codebook", 0):
            widths = config.qformer_config.hidden_size, config.text_config.hidden_size
            codebook: Any = Codebook(classes, *widths)
            self.language_projection = codebook


def tower_config(shape: TowerShape, qformer: dict[str, Any], text: dict[str, Any], **entries: Any) -> Blip2Config:
    """Return the config of a `Blip2WithTower`; `entries` go to `Blip2Config` (query tokens, image token)."""
    vision = {"hidden_size": shape.width, "num_hidden_layers": 0, "intermediate_size": 1, "num_attention_heads": 1}
    entries |= {"vision_config": vision, "qformer_config": qformer, "text_config": text, "vision_tower": asdict(shape)}
    return Blip2Config(**entries)


def blip2_class(config: Mapping[str, Any]) -> type[Blip2ForConditionalGeneration]:
    """Return the class of a model whose config.json this is: with the tiled tower if it names one, else HF's."""
    return Blip2WithTower if "vision_tower" in config else Blip2ForConditionalGeneration


def load_blip2(folder: str | Path, dtype: torch.dtype = torch.float32, **placing: Any) -> Blip2ForConditionalGeneration:
    """Load a `save_pretrained` folder or hub id: with the tiled tower if its config.json names one, else HF's class.

    Originals give the norm behind the ViT an epsilon of its own, which HF's class has no field for: an entry
    `post_layernorm_eps` of `vision_config`, written by `convert`. `placing` goes on to HF's loader.

    Raises:
        InputError: the folder has no readable config.json.
    """
    folder = Path(folder) if Path(folder).exists() else folder
    written = read_json(folder / "config.json") if isinstance(folder, Path) else {}
    model = load_whole(blip2_class(written), folder, dtype=dtype, **placing).eval()
    if eps := getattr(model.config.vision_config, "post_layernorm_eps", None):
        model.vision_model.post_layernorm.eps = eps
    return model
