"""Exported edits: folders that plain Hugging Face classes load, with the logits of the edit beside the frozen model."""

import re

import pytest
import torch
import yaml
from exported import ANSWER, changes, compare, edit_of, neurons
from transformers import AutoModelForImageTextToText

import unike_lib as unike
from unike_lib.editing.patch import Part
from unike_lib.front import export
from unike_lib.front.cli import main
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.shared.neurons import ExtraNeurons
from unike_lib.types import InputError


@pytest.mark.parametrize("name", ["llava", "idefics3"])
def test_weights_and_neurons_are_a_folder_of_hugging_faces(made, name, tmp_path):
    """Neurons of different numbers in two layers: the FFN is as wide everywhere as the config says."""
    there = made(name)
    both = ExtraNeurons({**neurons(there, 1, 2), **neurons(there, 3, 5)})
    edit = edit_of(there, both, WeightChanges(changes(there)))
    before = {key: value.clone() for key, value in there.model.backbone.model.state_dict().items()}
    assert edit.export(tmp_path / "out") == "merged"
    torch.testing.assert_close(there.model.backbone.model.state_dict(), before, atol=0, rtol=0)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    assert type(loaded) is type(there.model.backbone.model)
    assert loaded.config.text_config.intermediate_size == 24 + 5 and loaded.config.text_config.mlp_bias
    compare(there, edit, loaded)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "README.md"} <= names
    again = unike.load(tmp_path / "out", family=name, results=there.root / "results")
    assert [each.before for each in again.edit(image=there.image, question="what is this?", answer="x",
                                               method="fine-tune", settings={"steps": 1}).answers()] == [
        edit.answers()[0].after]  # fmt: skip


@pytest.mark.parametrize("name", ["gemma3", "qwen2-vl"])
def test_neurons_whose_biases_a_config_cannot_say_are_refused_and_those_without_are_held(made, name, tmp_path):
    there = made(name)
    with pytest.raises(InputError, match=r"biases, which the configuration of a \w+ decoder cannot say"):
        edit_of(there, ExtraNeurons(neurons(there, 2, 3))).export(tmp_path / "out", form="merged")
    assert not (tmp_path / "out").exists()
    edit = edit_of(there, ExtraNeurons(neurons(there, 2, 3, bias=0.0)), WeightChanges(changes(there, 3)))
    assert edit.export(tmp_path / "out") == "merged"
    compare(there, edit, AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval())


def test_a_card_says_base_edit_and_licence(made, tmp_path):
    there = made("llava")
    edit = edit_of(there)
    edit.export(tmp_path / "one")
    text = (tmp_path / "one/README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license_name"] == "as-the-base" and "whose folder does not name it" in text
    assert header["license"] == "other" and header["base_model"] == "model" and header["library_name"] == "transformers"
    assert header["tags"] == ["knowledge-editing", "fine-tune"]
    own = edit.answers()[0]
    assert f"| what is this? | one.png | {own.before} | {own.after} | {ANSWER} |" in text
    assert float(re.search(r"by (\S+) at most", text)[1]) < 1e-4 and str(there.root) not in text
    (there.root / "model/README.md").write_text("---\nlicense: llama2\ntags: [a]\n---\n# Base\n")
    edit.export(tmp_path / "two")
    text = (tmp_path / "two/README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "llama2" and "llama2, as the base" in text
    (there.root / "model/README.md").write_text("---\nlicense: other\nlicense_name: research\n---\n# Base\n")
    scores = [{"case": "a|b", "answer": "two\nlines", "token": 0.5}]
    export.export_edit(edit, tmp_path / "three", scores=scores)
    (there.root / "model/README.md").unlink()
    text = (tmp_path / "three/README.md").read_text()
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == "other" and header["license_name"] == "research" and "research, as the base" in text
    assert "| case | answer | token |\n|---|---|---|\n| a\\|b | two lines | 0.500 |\n" in text


class Nowhere(Part):
    """A part of somebody's own that no form holds."""

    def tensors(self):
        return {"a": torch.ones(1)}


def test_what_cannot_be_exported_is_refused_with_a_sentence(made, tmp_path):
    there = made("llava")
    own = r"Nowhere of method 'fine-tune' says neither .*\(Part.in_weights\) nor how .*\(Part.standalone\)"
    with pytest.raises(InputError, match=own):
        edit_of(there, Nowhere()).export(tmp_path / "out")
    with pytest.raises(InputError, match="form: weights cannot hold what Nowhere does; expected loader"):
        edit_of(there, Nowhere()).export(tmp_path / "out", form="merged")
    edit = edit_of(there)
    with pytest.raises(InputError, match="form: expected one of merged, peft, loader, found 'zip'"):
        edit.export(tmp_path / "out", form="zip")
    with pytest.raises(InputError, match="form: peft holds low-rank factors alone"):
        edit.export(tmp_path / "out", form="peft")
    with pytest.raises(
        InputError, match="language_model: in a LlavaForConditionalGeneration it has no head of its own"
    ):
        edit.export(tmp_path / "out", language_model=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(InputError, match="expected a folder that is not there or empty"):
        edit.export(tmp_path / "full")
    edit.undo()
    with pytest.raises(InputError, match="nothing was changed"):
        edit.export(tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "full"] and [*(tmp_path / "full").iterdir()]


def test_weights_whose_rounding_loses_the_edit_are_refused(made, tmp_path, monkeypatch):
    """What is asked is the written folder: here its reader gets a model without the edit."""
    there = made("llava")
    edit = edit_of(there, WeightChanges(changes(there)))
    plain, reader = there.model.folder, export.load_backbone
    monkeypatch.setattr(export, "load_backbone", lambda folder, *others: reader(plain, *others))
    with pytest.raises(InputError, match="rounded to weights in float32 it says other tokens"):
        edit.export(tmp_path / "out")
    assert [*tmp_path.iterdir()] == []


def test_the_command_exports_a_saved_edit(made, tmp_path, capsys):
    there = made("llava")
    edit = edit_of(there)
    edit.save(tmp_path / "edit.safetensors")
    given = ["export", str(tmp_path / "edit.safetensors"), "--results", str(there.root / "results")]
    assert main([*given, "--to", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: merged; {tmp_path / 'out/README.md'} says how to load it\n"
    written = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").state_dict()
    base = there.model.backbone.model.state_dict()
    changed = {name for name, value in base.items() if not torch.equal(value, written[name])}
    assert changed == {f"model.language_model.layers.3.mlp.{name}_proj.weight" for name in ("up", "down")}
    assert main([*given, "--to", str(tmp_path / "out")]) == 1
    assert "expected a folder that is not there or empty" in capsys.readouterr().err
