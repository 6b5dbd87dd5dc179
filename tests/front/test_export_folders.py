"""Folders with a loader: parts of somebody's own, several folders in one process, rows padded in front."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from exported import asked, compare, edit_of, neurons, opened, shift

from unike_lib.editing.patch import Part
from unike_lib.editing.standalone import Standalone
from unike_lib.methods.shared.neurons import ExtraNeurons


class Loud(Part):
    """A part of somebody's own, whose file lies beside it."""

    name = "Loud"

    def tensors(self):
        return {"bias": torch.ones(1, 1)}

    def ffn(self, layer, inputs, outputs, context):
        return outputs + 0.5 if layer.index == 3 else outputs

    def standalone(self):
        return Standalone((Path(__file__).with_name("own_part.py"),), self.name, {"bias": torch.ones(1)}, {"layer": 3})


def test_an_own_part_brings_its_own_file(made, tmp_path):
    there = made("llava")
    edit = edit_of(there, Loud())
    assert edit.export(tmp_path / "out") == "loader"
    compare(there, edit, opened(tmp_path / "out", there.root / "model"))


def test_folders_whose_files_differ_are_loaded_side_by_side(made, tmp_path):
    """Another state of an own part, under the same name, that adds nothing."""
    there = made("llava")
    edit = edit_of(there, Loud())
    edit.export(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    file = tmp_path / "other/own_part.py"
    file.write_text(file.read_text().replace("0.5 *", "0.0 *"))
    known = dict(sys.modules)
    one, other = (opened(tmp_path / name, there.root / "model") for name in ("one", "other"))
    assert sys.modules.get("own_part") is known.get("own_part")
    compare(there, edit, one)
    inputs, _ = asked(there, there.image)
    with torch.no_grad():
        plain = there.model.backbone.model(**inputs).logits
        torch.testing.assert_close(other(**inputs).logits, plain, atol=1e-5, rtol=0)


class Mean(Loud):
    """A part that reads all of a prompt."""

    name = "Mean"


@pytest.mark.parametrize("own", [True, False])
def test_rows_that_are_padded_in_front_say_what_they_say_alone(made, own, tmp_path):
    there = made("llava")
    edit = edit_of(there, *((Mean(),) if own else (shift(there), ExtraNeurons(neurons(there, 2, 3)))))
    assert edit.export(tmp_path / "out") == "loader"
    loaded = opened(tmp_path / "out", there.root / "model")
    tokenizer = there.model.backbone.tokenizer
    texts = "what is this?", "what is this? what is a photo of a cat?"
    rows = [torch.tensor([tokenizer(text)["input_ids"]]) for text in texts]
    short = rows[1].shape[1] - rows[0].shape[1]
    assert short > 2
    ids = torch.cat([torch.nn.functional.pad(rows[0], (short, 0)), rows[1]])
    mask = torch.ones_like(ids)
    mask[0, :short] = 0
    several = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    with torch.no_grad():
        found = loaded(input_ids=ids, attention_mask=mask).logits
        said = loaded.generate(input_ids=ids, attention_mask=mask, **several)[:, ids.shape[1] :]
        for number, row in enumerate(rows):
            alone = loaded(input_ids=row).logits[0]
            torch.testing.assert_close(found[number, -row.shape[1] :], alone, atol=1e-4, rtol=0)
            assert said[number].tolist() == loaded.generate(input_ids=row, **several)[0, row.shape[1] :].tolist()
