"""Edits that no weights hold, as folders with a loader: it says what the edit says, in Hugging Face's own forward.

The files of a part are a second text of what the part does, so each is compared with the part.
"""

import json
import re
import subprocess
import sys

import pytest
import torch
from exported import asked, changes, compare, drawn, edit_of, neurons, opened, shift

from unike_lib.knowledge.scope import ScopeSpace
from unike_lib.methods.fine_tune.weight_changes import WeightChanges, WeightChangesPerEdit
from unike_lib.methods.grace.codebook import Codebook
from unike_lib.methods.lora.factors import LoraFactors, LoraFactorsPerEdit
from unike_lib.methods.m_ore.pairs import Pairs
from unike_lib.methods.shared.low_rank import LowRank, LowRankChanges
from unike_lib.methods.shared.neurons import ExtraNeurons, Neurons
from unike_lib.methods.shared.semantic_scope import SemanticScope
from unike_lib.methods.unike.latent_shift import Slots
from unike_lib.methods.unike_scope.editor import EditEntries
from unike_lib.methods.wise.memories import SideMemories
from unike_lib.methods.wise.settings import WiseMethod
from unike_lib.types import Query


def own_slots(there):
    d = there.model.backbone.width
    live = torch.tensor([[True, False, True]])
    return {layer: Slots(drawn(1, 3, d, seed=layer + 1), drawn(1, 3, d, seed=layer + 2), live) for layer in (1, 3)}


SHIFTS = {
    "as the paper reads it": {},
    "printed, of attention": {"alpha_convention": "printed", "alpha_operands": "attention_outputs"},
    "fixed, raw, soft": {"alpha": 0.3, "attention_kind": "raw", "retrieval_temperature": 0.1},
    "rotated, with own entries": {"rotate_memory": True, "own": own_slots},
}


@pytest.mark.parametrize(("name", "settings"), [("llava", each) for each in SHIFTS] + [("gemma3", next(iter(SHIFTS)))])
def test_a_latent_shift_with_neurons(made, name, settings, tmp_path):
    there = made(name)
    chosen = {key: value(there) if callable(value) else value for key, value in SHIFTS[settings].items()}
    edit = edit_of(there, ExtraNeurons(neurons(there, 2, 3)), shift(there, **chosen))
    assert edit.export(tmp_path / "out") == "loader"
    loaded = opened(tmp_path / "out", there.root / "model")
    compare(there, edit, loaded, atol=1e-4)
    inputs, _ = asked(there, there.image)
    with torch.no_grad():
        loaded.edit.on = False
        plain = there.model.backbone.model(**inputs).logits
        torch.testing.assert_close(loaded(**inputs).logits, plain, atol=1e-5, rtol=0)


def test_what_is_read_of_a_prompt_holds_while_an_answer_is_written(made, tmp_path):
    there = made("llava")
    edit = edit_of(there, shift(there), ExtraNeurons(neurons(there, 3, 4)))
    edit.export(tmp_path / "out")
    loaded = opened(tmp_path / "out", there.root / "model")
    for image in (there.image, None):
        inputs, read = asked(there, image)
        prompt = {name: value[:, : 1 - read] if name != "pixel_values" else value for name, value in inputs.items()}
        said = loaded.generate(**prompt, max_new_tokens=6, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        (ours,) = there.model.ask([Query(image, "what is this?")], edit.patch)
        assert there.model.backbone.text(said.tolist()) == ours != there.model.ask([Query(image, "what is this?")])[0]


def prompt_state(there, layer, image):
    """s at the last prompt token of the question, of the unedited model."""
    backbone = there.model.backbone
    prepared = backbone.prepare([Query(image, "what is this?")], layer)
    return backbone.attention_input(layer, prepared.hidden[0, prepared.batch.last_prompt[0]])


def per_edit(there):
    """Parts whose three edits stand apart."""
    d = there.model.backbone.width
    gated = {"up": drawn(1, d, 6, seed=1), "up_bias": drawn(1, 6, seed=2)}
    group = Neurons(drawn(1, d, 6, seed=3), drawn(1, 6, seed=4), drawn(1, 6, d, seed=5), **gated)
    factors = LowRank(drawn(1, 3, 2, d, seed=6), drawn(1, 3, 2, 24, seed=7))
    whole = WeightChangesPerEdit({3: {"mlp.up_proj": drawn(1, 3, 24, d, seed=8)}})
    entries = EditEntries(0.7, {3: drawn(1, 3, d, seed=9)}, torch.tensor([[True, True, False]]))
    return ExtraNeurons({2: group}, size=2), LoraFactorsPerEdit.of({(3, "mlp.down_proj"): factors}), whole, entries


@pytest.mark.parametrize(
    ("gate", "pool", "spaces", "text"), [(False, True, 1, False), (True, False, 1, True), (False, False, 2, False)]
)
def test_a_scope_lets_each_edit_act_as_far_as_the_question_means_it(made, gate, pool, spaces, text, tmp_path):
    """The second edit's own question is asked; what the unedited model makes of it decides.

    text: its question without the picture competes.
    """
    there = made("llava")
    layers, d = (1, 2)[:spaces], there.model.backbone.width
    states = torch.stack([torch.stack([prompt_state(there, at, image) for image in (there.image, None)]).mean(0)
                          for at in layers])  # fmt: skip
    mapped = drawn(d, 6, seed=4) if pool else None
    rivals = torch.nn.functional.normalize(drawn(4, 6 if pool else d, seed=9), dim=-1)
    found = [ScopeSpace(at, rivals, torch.zeros(4), torch.ones(4), {"vqa": (0.2, 0.3)}, mapped) for at in layers]
    keys = torch.stack([found[0].project(torch.randn(spaces, d, generator=torch.Generator().manual_seed(n)))
                        for n in range(3)])  # fmt: skip
    keys[1] = torch.stack([space.project(state) for space, state in zip(found, states, strict=True)])
    values = torch.full((1, 3, spaces), 0.2), torch.full((1, 3, spaces), 0.3)
    live = torch.tensor([[True, True, False]])
    acts = (None,) if spaces == 1 else (2, 3)
    texts = torch.stack([found[0].project(drawn(spaces, d, seed=20 + n)) for n in range(3)])
    texts[1] = torch.stack([space.project(prompt_state(there, space.layer, None)) for space in found])
    scope = SemanticScope(tuple(found), acts, gate, pool, text, keys[None], texts[None], *values, live)
    edit = edit_of(there, scope, *per_edit(there))
    assert edit.export(tmp_path / "out") == "loader"
    compare(there, edit, opened(tmp_path / "out", there.root / "model"), atol=1e-4, silent=text)


def test_parts_of_several_edits_without_a_scope(made, tmp_path):
    there = made("llava")
    edit = edit_of(there, *per_edit(there))
    assert edit.export(tmp_path / "out") == "loader"
    compare(there, edit, opened(tmp_path / "out", there.root / "model"), atol=1e-4)


@pytest.mark.parametrize("replaces", ["last", "prompt", "all"])
def test_a_codebook(made, replaces, tmp_path):
    """One key lies near the question with the picture, a nearer one is dead, one far; the question alone has none."""
    there, layer = made("llava"), 2
    backbone = there.model.backbone
    state = entering_down(there, layer)
    keys = torch.stack([state, state + 0.01, state + 100])[None]
    values = drawn(1, 3, backbone.width, seed=3) * 4
    radii, slack = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([[0.0, 0.2, 0.0]])
    book = Codebook(
        layer, "mlp.down_proj", replaces, keys, values, radii, slack, torch.tensor([[0, 1, 2]]),
        torch.tensor([[False, True, True]]),
    )  # fmt: skip
    edit = edit_of(there, book, WeightChanges(changes(there, 3)))  # else nothing of the question alone differs
    assert edit.export(tmp_path / "out") == "loader"
    loaded = opened(tmp_path / "out", there.root / "model")
    compare(there, edit, loaded)
    dead = book.with_tensors(book.tensors() | {"live": torch.zeros(1, 3, dtype=torch.bool)})
    silent = edit_of(there, dead, WeightChanges(changes(there, 3)))
    silent.export(tmp_path / "dead")
    compare(there, silent, opened(tmp_path / "dead", there.root / "model"))


def entering_down(there, layer):
    """What enters a layer's down-projection at the last prompt token of the question with the picture."""
    backbone, seen = there.model.backbone, []
    batch = backbone.encode([Query(there.image, "what is this?")])
    part = backbone.decoder.layers[layer].part("mlp.down_proj")
    handle = part.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    backbone.forward(backbone.run_below(batch, 0))
    handle.remove()
    return seen[-1][0, batch.last_prompt[0]].float()


@pytest.mark.parametrize("retrieve", [True, False])
def test_side_memories(made, retrieve, tmp_path):
    """Three memories, two of them full, and merged ones; no distance is above the least of any but for the ratio."""
    there = made("llava")
    layer = there.model.backbone.decoder.layers[2]
    size = layer.part("mlp.down_proj").weight.numel()
    settings = WiseMethod(method="wise", save_every=1, merge_every=2, retrieve=retrieve, density=0.5, act_ratio=1e-3)
    memories = SideMemories(layer, settings, (), torch.zeros(1, 0), torch.zeros(1, dtype=torch.long))
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        memories = memories.with_memory(torch.randperm(size, generator=generator)[: size // 2].sort().values)
    values = {str(n): drawn(1, size // 2, seed=n) * 3 for n in range(3)}
    own = {"smallest": torch.tensor([[400.0, 200.0, 100.0]]), "counts": torch.tensor([2])}
    edit = edit_of(there, memories.with_tensors(own | values))
    assert edit.export(tmp_path / "out") == "loader" and (tmp_path / "out/formulas.py").is_file()
    compare(there, edit, opened(tmp_path / "out", there.root / "model"))


def test_what_weights_hold_runs_beside_them_too(made, tmp_path):
    """Where weights are wanted as they are: all kinds at once, in attention as well."""
    there = made("qwen2-vl")
    d = there.model.backbone.width
    factors = LowRankChanges.of({(1, "mlp.up_proj"): LowRank(drawn(1, 2, 24, seed=1), drawn(1, 2, d, seed=2))})
    lora = LoraFactors.of({(2, "self_attn.q_proj"): LowRank(drawn(1, 2, d, seed=5), drawn(1, 2, d, seed=6))})
    place = (3, "mlp.down_proj")
    pairs = Pairs({place: drawn(2, 24, seed=3)}, 0.5, {place: drawn(1, d, 2, seed=4)}, {place: torch.zeros(1, 2, 2)})
    edit = edit_of(there, ExtraNeurons(neurons(there, 2, 3)), WeightChanges(changes(there)), factors, lora, pairs)
    assert edit.export(tmp_path / "out", form="loader") == "loader"
    compare(there, edit, opened(tmp_path / "out", there.root / "model"), atol=1e-4)


def test_a_folder_needs_nothing_of_this_project(made, tmp_path):
    """Its files import torch, transformers and safetensors alone; loaded in a process that cannot see the project."""
    there = made("llava")
    edit_of(there, shift(there), *per_edit(there)[:1]).export(tmp_path / "out")
    for file in (tmp_path / "out").glob("*.py"):
        assert "import unike" not in file.read_text() and "from unike" not in file.read_text()
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"load.py", "beside_shift.py", "beside_neurons.py", "edit.json", "edit.safetensors", "README.md",
                     "checksums.sha256"}  # fmt: skip
    code = (
        "import sys; sys.modules['unike_lib'] = None\nfrom load import load\nmodel = load(sys.argv[1])\n"
        "print([type(part).__name__ for part in model.edit.parts])"
    )
    command = [sys.executable, "-c", code, str(there.root / "model")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "out", check=True)
    assert done.stdout == "['Shift', 'Neurons']\n"
    about = json.loads((tmp_path / "out/edit.json").read_text())
    assert about["base"] == "model" and not about["inside"]
    assert re.search(
        r"library_name: transformers[\s\S]*from load import load", (tmp_path / "out/README.md").read_text()
    )
