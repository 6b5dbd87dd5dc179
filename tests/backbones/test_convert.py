"""Original checkpoints against the originals: LAVIS's own files and logits, and a reference written from the papers."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import original_minigpt4
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_families import picture
from tiny_models import tiny_model, tiny_tokenizer
from transformers import AutoTokenizer

from unike_lib.backbones.convert import convert_original
from unike_lib.backbones.load import load_backbone, load_model, load_processor
from unike_lib.backbones.parity import TINY, compare_lavis
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig, OriginalConfig
from unike_lib.types import InputError, Query

LAVIS = Path(__file__).parent / "lavis"
SMALL = replace(TINY, wrapper_tokens=3)  # a word-level tokenizer: ###Human: <Img> </Img>


def lavis_config(**changes):
    files = {"qformer": "checkpoint_0.pth", "vision": "eva_vit_g.pth", "language_model": "language_model"} | changes
    original = OriginalConfig(**{name: str(LAVIS / path) for name, path in files.items()})
    return BackboneConfig(family="blip2", original=original, image_size=28, vqa_prompt="{}")


def seeing(backbone, pixels):
    """The backbone, with pictures [picture, 3, side, side] that are named by their numbers."""
    backbone.images = lambda names: backbone.model.get_image_features(pixels[list(map(int, names))]).pooler_output
    return backbone


@pytest.fixture(scope="module")
def lavis(tmp_path_factory):
    """LAVIS's files, converted."""
    out = tmp_path_factory.mktemp("converted") / "blip2"
    convert_original(lavis_config(), out, TINY)
    return out


def test_a_lavis_checkpoint_gives_the_inputs_and_the_logits_of_lavis(tmp_path):
    """The fixture was written by tools/lavis_reference.py in LAVIS's own environment."""
    table = compare_lavis(LAVIS, tmp_path / "converted")
    expected = load_file(LAVIS / "expected.safetensors")
    assert table["tokens"].tolist() == expected["mask"].sum(1).tolist()
    texts = [[int(token) for token in ids.split()] for ids in table["ids"]]
    for ids, theirs in zip(texts, expected["ids"].tolist(), strict=True):
        assert ids == [token for token in theirs if token != 1]  # <pad>
        assert ids[0] == 2 and ids.count(2) == 1  # LAVIS's tokenizer puts </s> in front of a text
    assert expected["mask"].shape[1] - expected["ids"].shape[1] == 4  # visual tokens before it
    assert table["difference_1e6"].max() <= 10 and table["spread"].min() > 0.5


def no_start(folder):
    """Take the start token from the tokenizer of saved files."""
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"add_bos_token": true', '"add_bos_token": false'))


def add(name, place, value):
    def change(folder):
        expected = load_file(folder / "expected.safetensors")
        expected[name][place] += value
        save_file(expected, folder / "expected.safetensors")

    return change


UNEQUAL = {
    "a logit": (add("logits", (1, 3, 2), 2e-5), r"cat on the left': logits differ from LAVIS's by more than 1e-05"),
    "a token": (add("ids", (0, 3), 1), r"hot dog': token ids differ from LAVIS's: \[2, .*\] instead of \[2, "),
    "a visual token less": (add("mask", (1, 0), -1), "logits differ from LAVIS's"),
    "no start token": (lambda folder: no_start(folder / "language_model"), "expected one that puts its start token"),
}


@pytest.mark.parametrize(("change", "message"), UNEQUAL.values(), ids=UNEQUAL)
def test_what_differs_from_lavis_is_refused(tmp_path, change, message):
    shutil.copytree(LAVIS, tmp_path / "lavis")
    change(tmp_path / "lavis")
    with pytest.raises(InputError, match=message):
        compare_lavis(tmp_path / "lavis", tmp_path / "converted")


def test_a_converted_folder_keeps_opts_tokenizer(lavis):
    """Read again, with no word of add_bos_token left, it still puts </s> in front; answers and stops have none."""
    files, converted = AutoTokenizer.from_pretrained(LAVIS / "language_model"), AutoTokenizer.from_pretrained(lavis)
    for text in ("", "hot dog", "Question: what is this? Short answer:"):
        assert converted(text)["input_ids"] == files(text)["input_ids"]
        assert converted(text)["input_ids"] == [2, *files(text, add_special_tokens=False)["input_ids"]]
    stops = json.loads((lavis / "generation_config.json").read_text())["eos_token_id"]
    assert stops == [2, *files("\n", add_special_tokens=False)["input_ids"]]  # LAVIS ends its answers with a newline


@pytest.fixture(scope="module")
def minigpt4(tmp_path_factory):
    """The four files that MiniGPT-4's users have, tiny and random, and their tensors."""
    folder, generator = tmp_path_factory.mktemp("minigpt4"), torch.Generator().manual_seed(0)
    llama = tiny_model("minigpt4").language_model
    files = SimpleNamespace(
        folder=folder,
        llama=llama,
        eva=original_minigpt4.eva_file(generator),
        bridge=original_minigpt4.qformer_file(generator),
        projection=original_minigpt4.projection_file(generator, llama.config.hidden_size),
    )
    torch.save(files.eva, folder / "eva_vit_g.pth")
    torch.save({"model": files.bridge}, folder / "blip2_pretrained_flant5xxl.pth")
    torch.save({"model": files.projection, "epoch": 4}, folder / "pretrained_minigpt4_7b.pth")
    llama.save_pretrained(folder / "vicuna")
    tiny_tokenizer().save_pretrained(folder / "vicuna")
    return files


def minigpt4_config(folder, **changes):
    files = {
        "vision": folder / "eva_vit_g.pth",
        "qformer": folder / "blip2_pretrained_flant5xxl.pth",
        "projection": folder / "pretrained_minigpt4_7b.pth",
        "language_model": folder / "vicuna",
    } | changes
    original = OriginalConfig(**{name: value and str(value) for name, value in files.items()})
    return BackboneConfig(family="minigpt4", original=original, vqa_prompt="question : {} short answer :")


@torch.no_grad()
def test_minigpt4_files_give_the_logits_of_the_model_that_its_papers_describe(minigpt4, tmp_path):
    config = minigpt4_config(minigpt4.folder)
    convert_original(config, tmp_path / "converted", SMALL)
    side, generator = original_minigpt4.SIDE, torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, side, side, generator=generator)
    backbone = seeing(load_backbone(tmp_path / "converted", config, lambda names: None), pixels)
    seen = original_minigpt4.visual_tokens(minigpt4.eva, minigpt4.bridge, minigpt4.projection, pixels)
    torch.testing.assert_close(backbone.images(["0", "1"]), seen, atol=1e-5, rtol=0)
    assert (seen[0] - seen[1]).abs().max() > 1e-2
    # In double precision: the order of float32 sums differs between processors, by as much as the bound below.
    backbone.model.double()
    llama = copy.deepcopy(minigpt4.llama).double()
    backbone.images, seen = (lambda names: seen[[int(name) for name in names]]), seen.double()
    queries = [Query("0", "what is this ?", "hot dog"), Query(None, "what is a cat ?", "red")]
    queries.append(Query("1", "name it", "owl"))
    batch = backbone.encode(queries)
    logits = backbone.forward(backbone.run_below(batch))
    ids, embed = tiny_tokenizer(), llama.get_input_embeddings()
    for row, query in enumerate(queries):
        text = f"question : {query.prompt} short answer : {query.answer}"
        parts = [embed(torch.tensor(ids(text)["input_ids"]))]
        if query.image is not None:
            before, after = [1, *ids("###Human: <Img>")["input_ids"]], ids("</Img> ")["input_ids"]
            parts = [embed(torch.tensor(before)), seen[int(query.image)], embed(torch.tensor(after)), *parts]
        theirs = llama(inputs_embeds=torch.cat(parts)[None]).logits[0].float()
        assert int(batch.lengths[row]) == len(theirs)
        torch.testing.assert_close(logits[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


def test_what_does_not_fit_is_named_in_one_message(minigpt4, tmp_path):
    bridge = dict(minigpt4.bridge)
    gone = "Qformer.bert.encoder.layer.3.output_query.LayerNorm.bias"
    bridge["ln_vision.weight"] = bridge["ln_vision.weight"][:-1]
    bridge["opt_proj.weight"] = torch.zeros(2, 2)
    del bridge[gone]
    torch.save({"model": bridge}, tmp_path / "bridge.pth")
    with pytest.raises(InputError) as error:
        convert_original(minigpt4_config(minigpt4.folder, qformer=tmp_path / "bridge.pth"), tmp_path / "out", SMALL)
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'bridge.pth'}: ") and "\n" not in text
    assert f"1 entry missing: {gone}" in text
    assert "1 entry unexpected: opt_proj.weight" in text
    assert "1 entry of another shape: ln_vision.weight (23,) instead of (24,)" in text
    assert not (tmp_path / "out").exists()


def test_both_biases_of_evas_attention_are_needed(minigpt4, tmp_path):
    eva = {name: value for name, value in minigpt4.eva.items() if name != "blocks.1.attn.v_bias"}
    torch.save(eva, tmp_path / "eva.pth")
    with pytest.raises(InputError, match=r"missing: visual_encoder\.blocks\.1\.attn\.qkv\.bias \(q_bias and v_bias\)"):
        convert_original(minigpt4_config(minigpt4.folder, vision=tmp_path / "eva.pth"), tmp_path / "out", SMALL)


BROKEN = {
    "no file": ({"projection": "nowhere.pth"}, "nowhere.pth: not a readable checkpoint"),
    "code inside": ({"projection": "code.pth"}, "code.pth: not a readable checkpoint"),
    "no tensors": ({"projection": "empty.pth"}, "empty.pth: a checkpoint without tensors"),
    "no projection": ({"projection": None}, "2 entries missing: llama_proj.bias, llama_proj.weight"),
    "no vision": ({"vision": None}, "no entry 'visual_encoder.patch_embed.proj.weight'; expected original.vision"),
    "no model": ({"language_model": "empty"}, "empty/config.json: no such file"),
}


@pytest.mark.parametrize(("changes", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_original_is_named(minigpt4, tmp_path, changes, message):
    torch.save({"model": Path("x")}, tmp_path / "code.pth")
    torch.save({"model": {}}, tmp_path / "empty.pth")
    (tmp_path / "empty").mkdir()
    changes = {name: value and tmp_path / value for name, value in changes.items()}
    with pytest.raises(InputError) as error:
        convert_original(minigpt4_config(minigpt4.folder, **changes), tmp_path / "out", SMALL)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_tokenizer_that_splits_the_wrapper_otherwise_is_refused(minigpt4, tmp_path):
    with pytest.raises(InputError, match=r"vicuna: not the original's tokenizer: .* give 3 tokens, expected 10"):
        convert_original(minigpt4_config(minigpt4.folder), tmp_path / "out", TINY)


def test_another_familys_files_are_refused(minigpt4, tmp_path):
    config = lavis_config(language_model=minigpt4.folder / "vicuna")
    with pytest.raises(InputError, match=r"missing: llama_proj.*unexpected: .*opt_proj\.weight"):
        convert_original(config.model_copy(update={"family": "minigpt4"}), tmp_path / "out", SMALL)


@torch.no_grad()
def test_pictures_of_another_size_are_read_as_hugging_face_reads_them(lavis):
    config = lavis_config().model_copy(update={"image_size": 70})
    model, processor = load_model(lavis, config), load_processor(lavis, config)
    pictures = [picture("one"), picture("two")]
    seen = embed_images(model, processor, pictures)
    plain = load_model(lavis, lavis_config())
    pixels = processor(images=pictures, return_tensors="pt")["pixel_values"]
    assert pixels.shape[2:] == (70, 70)
    theirs = plain.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
    torch.testing.assert_close(seen, theirs, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"pictures of 70 x 70 pixels, but the model takes 28 x 28; set .*image_size"):
        embed_images(plain, processor, pictures)
    with pytest.raises(InputError, match=r"image_size: expected a multiple of the tower's patches of 14, found 60"):
        load_model(lavis, config.model_copy(update={"image_size": 60}))


def test_the_size_of_pictures_travels_with_the_folder(lavis):
    config = BackboneConfig(family="blip2", folder=str(lavis))
    seen = embed_images(load_model(lavis, config), load_processor(lavis, config), [picture("one")])
    assert seen.shape[1] == len(load_file(lavis / "model.safetensors")["query_tokens"][0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": "llava", "original": {"qformer": "a", "language_model": "b"}}, "original: expected null"),
        (
            {"family": "blip2", "folder": "x", "original": {"qformer": "a", "language_model": "b"}},
            "folder: expected null",
        ),
        ({"family": "blip2", "image_size": 364}, "image_size: expected null"),
        ({"family": "llava", "folder": "x", "image_size": 364}, "image_size: expected null"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        BackboneConfig(**values)
