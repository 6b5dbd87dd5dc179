"""The doctor: prompts are Hugging Face's own token ids, families are recognised, and what is wrong is the reason."""

import json
import shutil

import pytest
import torch
from tiny_families import LAYERS, QWEN, SIDE, TEMPLATES, family_of, image_mark, processor_of, tiny_model, tokenizer_of
from tiny_models import FAMILIES, tiny_tokenizer
from tiny_models import tiny_model as tiny_blip2
from transformers import BlipImageProcessorPil

from unike_lib.backbones import own_forward
from unike_lib.front.cli import main
from unike_lib.front.doctor import QUESTION, as_text, examine
from unike_lib.front.family_guess import guess_family
from unike_lib.front.prompt_tokens import PICTURE
from unike_lib.method import methods
from unike_lib.methods.liveedit.network import LiveEditNetwork
from unike_lib.types import InputError

VISUAL = {"llava": 16, "smolvlm": None, "llava-chatml": 16, "llava-onevision": 17, "internvl": 4}
CHECKS = ["files", "family", "config.json", "weights", "tokenizer", "layout", "image processor", "prompt", "forward"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of a family by name, made once."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            if name in FAMILIES:
                parts = (tiny_blip2(name), tiny_tokenizer(), BlipImageProcessorPil(size={"height": 8, "width": 8}))
            else:
                tokenizer = tokenizer_of(name)
                tokenizer.chat_template = TEMPLATES.get(name)
                parts = (tiny_model(name, tokenizer), tokenizer, processor_of(name, tokenizer).image_processor)
            for part in parts:
                part.save_pretrained(made[name])
        return made[name]

    return folder


OWN_TEMPLATE = ["llava-chatml", "llava-onevision", "internvl"]  # theirs, whatever it is


@pytest.mark.parametrize("name", ["llava", "smolvlm", "idefics3", *QWEN, "blip2", "minigpt4", *OWN_TEMPLATE])
def test_a_familys_folder_is_recognised(folders, name):
    guess = guess_family(folders(name))
    assert guess.family == family_of(name) and guess.family not in guess.others
    assert ("smolvlm" in guess.others) is (name == "idefics3")


def test_without_a_chat_template_the_tokenizers_marks_decide(folders, tmp_path):
    folder = shutil.copytree(folders("smolvlm"), tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    assert guess_family(folder).family == "smolvlm"


def test_of_several_families_or_none_the_reason_says_what_could_be(folders, tmp_path):
    folder = shutil.copytree(folders("minigpt4"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = "mistral"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="fits several families; say which: family = one of blip2, minigpt4"):
        guess_family(folder)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "flamingo"}))
    with pytest.raises(InputError, match=r"no family for .flamingo.; known: .*llava"):
        guess_family(folder)
    assert list(examine(str(folder), results=tmp_path / "results").checks) == ["files", "family"]


@pytest.mark.parametrize("name", ["llava", "smolvlm", *OWN_TEMPLATE])
def test_a_prompt_is_what_their_processor_makes_of_the_chat(folders, tmp_path, name):
    found = examine(str(folders(name)), results=tmp_path / "results")
    assert found.problem is None and found.template and found.visual == VISUAL[name]
    tokenizer = tokenizer_of(name)
    processor, mark = processor_of(name, tokenizer), tokenizer.convert_tokens_to_ids(image_mark(name))
    for shown, image in (("with a picture", True), ("without", False)):
        content = [{"type": "image"}] * image + [{"type": "text", "text": f"Question: {QUESTION} Short answer:"}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        pixels = {"images": [torch.zeros(3, SIDE, SIDE)]} if image else {}
        theirs = processor(text=text, return_tensors="pt", **pixels)["input_ids"][0].tolist()
        once = [id for place, id in enumerate(theirs) if id != mark or theirs[place - 1] != mark]
        own = [token for token in found.prompts[shown] if not token.answered]
        assert [mark if token.id == PICTURE else token.id for token in own] == once
        assert "".join(token.text for token in found.prompts[shown] if token.answered).strip(" ▁") == "lynx"


def test_what_is_said_of_a_folder_is_so(folders, tmp_path, capsys):
    folder = folders("llava")
    found = examine(str(folder), results=tmp_path / "results")
    assert list(found.checks) == CHECKS and {*found.checks.values()} == {None, ""} and found.template
    assert found.checks["forward"] == "" and "--open looks" in as_text(found)
    assert found.layers == LAYERS and found.edited == (0, 1, 2, 3)
    model = tiny_model("llava", tokenizer_of("llava"))
    assert found.weights == sum(4 * parameter.numel() for parameter in model.parameters())
    assert found.visual == (SIDE // 4) ** 2
    assert examine(str(folders("minigpt4")), results=tmp_path / "results").visual == 3
    matrices = 2 * 4 * 16 * 24  # both FFN matrices of a layer, float32: with gradient and Adam's moments four times
    assert found.memory["fine-tune"][0] == 0 and found.memory["fine-tune"][1] > 4 * matrices
    assert {*found.memory, "base"} == {*methods()}
    network = LiveEditNetwork(16, 256, 8, 4, found.visual)  # its prototype has as many tokens as a picture
    assert found.memory["liveedit"][0] == sum(4 * parameter.numel() for parameter in network.parameters())
    assert main(["doctor", str(folder), "--results", str(tmp_path / "results")]) == 0
    text = capsys.readouterr().out
    assert text.rstrip() == as_text(found) and len(text.splitlines()) < 50
    for said in ("can be edited", "family: llava", "layers: 4; each of 0 to 3", "<16 visual tokens>", "fine-tune"):
        assert said in text


def _widen(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] += 8
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "check", "reason"),
    [
        (lambda folder: (folder / "config.json").unlink(), "files", r"config\.json: no such file"),
        (lambda folder: (folder / "model.safetensors").unlink(), "weights", "no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer", r"tokenizer\.json"),
        (
            lambda folder: (folder / "preprocessor_config.json").unlink(),
            "image processor",
            r"preprocessor_config\.json",
        ),
        (_widen, "weights", "field 'text_config.intermediate_size': 32, but the weights have"),
    ],
)
def test_what_is_wrong_is_the_reason_and_other_checks_still_run(folders, tmp_path, capsys, spoil, check, reason):
    folder = shutil.copytree(folders("llava"), tmp_path / "model")
    spoil(folder)
    assert main(["doctor", str(folder), "--results", str(tmp_path / "results")]) == 1
    title, why, *_ = capsys.readouterr().out.splitlines()
    found = examine(str(folder), results=tmp_path / "results")
    assert title.endswith("CANNOT be edited") and why == f"reason: {found.problem}" and "\n" not in found.problem
    failed = [name for name, wrong in found.checks.items() if wrong]
    assert failed[0] == check and found.checks[check] == found.problem
    with pytest.raises(InputError, match=reason):
        raise InputError(found.problem)
    if check not in ("files", "tokenizer"):
        assert found.checks["files"] is None and found.checks["tokenizer"] is None and not found.prompts


def test_a_backbone_of_the_configuration_has_its_own_layers(folders, tmp_path):
    (tmp_path / "config.yaml").write_text(
        json.dumps({"backbones": {"mine": {"family": "llava", "folder": str(folders("llava")), "layers": [1, 2]}}})
    )
    found = examine("mine", results=tmp_path / "results")
    assert found.edited == (1, 2) and found.guess.why == "as given"
    over = {"backbones": {"mine": {"layers": [3, 4]}}}
    assert "not all within this model's 4 layers" in examine("mine", None, tmp_path / "results", [over]).problem
    with pytest.raises(InputError, match="'minigpt4-nano' is not built yet"):
        examine("minigpt4-nano", results=tmp_path / "results")


def test_opened_the_models_own_forward_is_compared(folders, tmp_path, capsys, monkeypatch):
    folder = str(folders("llava"))
    assert main(["doctor", folder, "--open", "--results", str(tmp_path / "results")]) == 0
    assert "prompt passed, forward passed" in capsys.readouterr().out
    compared = own_forward._our_states
    monkeypatch.setattr(own_forward, "_our_states", lambda *given: [2 * states for states in compared(*given)])
    assert main(["doctor", folder, "--open", "--results", str(tmp_path / "results")]) == 1
    title, why, *_ = capsys.readouterr().out.splitlines()
    assert title.endswith("CANNOT be edited") and "own forward from the embeddings on, by 1 of" in why
