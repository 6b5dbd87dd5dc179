"""An edited model as a folder that others load without this project, with a card that says what it is.

Three forms. merged: a Hugging Face folder whose weights say what the edit says. peft: low-rank factors beside a base,
as `PeftModel.from_pretrained` reads them. loader: what no plain weights hold, with a small module that runs it. Which
one an edit gets is asked of its parts (`Part.in_weights`, `Part.standalone`), not of its method.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from unike_lib.backbones.checkpoint import whole_folder
from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.folder import find_file
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.in_weights import InWeights, write_into
from unike_lib.backbones.load import load_backbone, read_model
from unike_lib.family import Family, find_family
from unike_lib.front.cli import FORMS
from unike_lib.front.loader_folder import write_loader
from unike_lib.front.model_card import Card, base_of
from unike_lib.front.peft_folder import write_peft
from unike_lib.io import check_new
from unike_lib.types import InputError

if TYPE_CHECKING:
    from unike_lib.front.edit import Edit

# What a model's folder holds beside weights and config.json, as far as it does.
BESIDE = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
    *("vocab.json", "merges.txt", "vocab.txt", "spiece.model", "chat_template.json", "chat_template.jinja"),
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "generation_config.json"),
)
BASE = "base"  # the folder of a language model that an edit stands beside


def export_edit(
    edit: "Edit",
    folder: str | Path,
    form: str | None = None,
    language_model: bool = False,
    scores: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Write an edit as a folder, and return its form.

    Args:
        edit: not undone.
        folder: to make; there must be none of this name, or an empty one.
        form: one of FORMS; None: peft where all is low-rank, merged where weights can hold it, else loader.
        language_model: the language model alone, for texts and embeddings.
        scores: rows of records, for the card.

    Raises:
        InputError: there is nothing to export, the base or the form cannot hold the edit, or the folder is not empty;
            one sentence says what can be had instead.
    """
    out = Path(folder)
    check_new(out)
    if edit.patch.empty:
        raise InputError(f"edit: with method {edit.method!r} nothing was changed; expected an edit to export")
    weights = edit.patch.in_weights()
    form = _form_of(edit, weights, form)
    family = find_family(edit.model.section.family)
    _check_base(edit, family, language_model)
    with whole_folder(out) as made:
        difference = None
        if form == "merged":
            assert weights is not None
            _save(edit, _own_model(edit, family, weights), family, made, language_model)
            difference = _largest_difference(edit, made, family, language_model)
        else:
            _write_beside(edit, family, made, weights if form == "peft" else None, language_model)
        card = Card(edit, form, language_model, difference, scores)
        (made / "README.md").write_text(card.text, encoding="utf-8")
    return form


def _write_beside(edit: "Edit", family: Family, folder: Path, weights: InWeights | None, language_model: bool) -> None:
    """Write an edit that stands beside its base, as factors (None: as parts); a base that nobody else has, too."""
    if language_model:
        (folder / BASE).mkdir()
        _save(edit, _own_model(edit, family, InWeights()), family, folder / BASE, True)
    model, decoder = edit.model.backbone.model, edit.model.backbone.decoder
    below = "" if language_model else f"{family.decoder}."
    base = BASE if language_model else base_of(edit.model)
    if weights is not None:
        write_peft(folder, weights, decoder, below, base)
        return
    parts = [part.standalone() for part in edit.patch.parts if not part.empty]
    kind = "AutoModelForCausalLM" if language_model else type(model).__name__
    about = {"base": base, "inside": language_model, "class": kind, "dtype": edit.model.section.dtype}
    write_loader(folder, [part for part in parts if part is not None], decoder, below, about)


def _form_of(edit: "Edit", weights: InWeights | None, form: str | None) -> str:
    """Return the form that an edit gets; raise InputError if it cannot have the wanted one."""
    if form not in (None, *FORMS):
        raise InputError(f"form: expected one of {', '.join(FORMS)}, found {form!r}")
    parts = [part for part in edit.patch.parts if not part.empty]
    if weights is None and form in ("merged", "peft"):
        names = ", ".join(type(part).__name__ for part in parts if part.in_weights() is None)
        raise InputError(f"form: weights cannot hold what {names} does; expected loader")
    if form == "peft" and weights is not None and not weights.low_rank:
        raise InputError(f"form: peft holds low-rank factors alone, and this edit with {edit.method!r} has others")
    if form is None and weights is not None:
        return "peft" if weights.low_rank else "merged"
    if form in (None, "loader") and (left := [part for part in parts if part.standalone() is None]):
        names = ", ".join(type(part).__name__ for part in left)
        raise InputError(
            f"edit: {names} of method {edit.method!r} says neither what it is in weights (Part.in_weights) nor how it "
            "runs without this project (Part.standalone); its file, which Edit.save writes, is what can be had"
        )
    return form or "loader"


def _check_base(edit: "Edit", family: Family, language_model: bool) -> None:
    """Raise InputError if the model that would be written is no plain class of Hugging Face's."""
    model = edit.model.backbone.model
    whole = family.head.startswith(f"{family.decoder}.")  # the language model has its own head
    if language_model and not whole:
        raise InputError(
            f"language_model: in a {type(model).__name__} it has no head of its own; expected the whole model"
        )
    if not language_model and not _is_plain(model):
        instead = type(model.get_submodule(family.decoder)).__name__
        raise InputError(
            f"{edit.model.name}: its picture tower is this project's own, so no plain Hugging Face class holds the "
            f"whole model; its edited language model can be had as a {instead}: --language-model (language_model=True)"
        )


def _is_plain(model: nn.Module) -> bool:
    return type(model).__module__.startswith("transformers.")


def _own_model(edit: "Edit", family: Family, weights: InWeights) -> Any:
    """Return a model of its own with an edit in its weights."""
    model = read_model(edit.model.folder, edit.model.section)
    language = model.get_submodule(family.decoder)
    decoder = Decoder(language, model.get_submodule(family.head), family.decoders)
    configs = {id(each): each for each in (language.config, model.config.text_config, decoder.stack.config)}
    write_into(decoder, weights, list(configs.values()))
    return model


def _save(edit: "Edit", model: Any, family: Family, folder: Path, language_model: bool) -> None:
    """Write a model, or its language model alone, and what stands beside weights."""
    (model.get_submodule(family.decoder) if language_model else model).save_pretrained(folder)
    if language_model:
        edit.model.backbone.tokenizer.save_pretrained(folder)
        return
    for name in BESIDE:
        file = find_file(edit.model.folder, name)
        if file is not None:
            shutil.copyfile(file, folder / name)


@torch.no_grad()
def _largest_difference(edit: "Edit", folder: Path, family: Family, language_model: bool) -> float:
    """Load what was written and return how far its logits lie from those of the edit, at its own questions.

    Raises:
        InputError: it says other tokens than the edit: weights were rounded.
    """
    queries = [request.query for request in edit.requests]
    ours = answer_logits(edit.model.backbone, queries, edit.patch)
    wanted = ours.logits.split(ours.where.sum(1).tolist())
    if language_model:
        found = _asked_of_language_model(edit, folder, ours.batch.embeddings, ours.where)
    else:
        written = load_backbone(folder, edit.model.section, edit.model.pictures)
        theirs = answer_logits(written, queries)
        found = theirs.logits.split(theirs.where.sum(1).tolist())
    far = 0.0
    for one, other in zip(wanted, found, strict=True):
        if not torch.equal(one.argmax(-1), other.argmax(-1)):
            raise InputError(
                f"edit: rounded to weights in {edit.model.section.dtype} it says other tokens than beside them; "
                "expected a backbone with dtype float32, or the form 'loader'"
            )
        far = max(far, float((one - other.to(one)).abs().max()))
    return far


def _asked_of_language_model(edit: "Edit", folder: Path, embeddings: Tensor, where: Tensor) -> Sequence[Tensor]:
    """Return the logits of rows at the positions read, given what enters the language model."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=embeddings.dtype).eval().to(embeddings.device)
    return [
        model(inputs_embeds=row[None, : int(read.nonzero().max()) + 1]).logits[0, read[: int(read.nonzero().max()) + 1]]
        for row, read in zip(embeddings, where, strict=True)
    ]
