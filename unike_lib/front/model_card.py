"""The card of an exported edit: README.md with the YAML header that model hubs read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from unike_lib import __version__
from unike_lib.front.yaml_text import parse_yaml
from unike_lib.types import InputError

if TYPE_CHECKING:
    from unike_lib.front.edit import Edit
    from unike_lib.front.model import Model

OURS = "apache-2.0"  # of the backbones that are trained here, and of what they are trained from
LOADED_BY = {
    "merged": """\
from transformers import {kind}

model = {kind}.from_pretrained("this folder")
""",
    "peft": """\
from peft import PeftModel
from transformers import {kind}

base = {kind}.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "this folder")
""",
    "loader": """\
from load import load  # load.py of this folder; it needs torch, transformers and safetensors

model = load()  # or load(base="folder or hub id of the base")
""",
}
LICENCE = ("license", "license_name")  # fields of a card's header
UNKNOWN = "as-the-base"
LIBRARY = {"merged": "transformers", "peft": "peft", "loader": "transformers"}
HOLDS = {
    "merged": "The weights themselves say what the edit says.",
    "peft": "Low-rank factors stand beside the base's weights.",
    "loader": "The edit runs beside the base's weights, which `load.py` arranges.",
}


@dataclass(frozen=True)
class Card:
    """What a card says.

    difference: the largest difference of logits between the edit and what was written, at the edit's own questions;
    None: not measured. scores: rows of records of this edit.
    """

    edit: "Edit"
    form: str
    language_model: bool
    difference: float | None
    scores: Sequence[Mapping[str, Any]] = ()

    @property
    def text(self) -> str:
        """The whole card."""
        header = yaml.safe_dump(self._header, sort_keys=False, allow_unicode=True)
        parts = [self._title, self._edits, self._scores, self._loading, self._method]
        return f"---\n{header}---\n\n" + "\n".join(parts)

    @property
    def base(self) -> str:
        """The base as a hub names it, or the name of its folder."""
        return base_of(self.edit.model)

    @property
    def _header(self) -> dict[str, Any]:
        return {
            **licence_of(self.edit.model),
            "base_model": self.base,
            "base_model_relation": "finetune" if self.form == "merged" else "adapter",
            "library_name": LIBRARY[self.form],
            "tags": ["knowledge-editing", self.edit.method],
        }

    @property
    def _title(self) -> str:
        part = "The language model of " if self.language_model else ""
        return f"# {part}{self.base}, edited\n\n{HOLDS[self.form]} Made by UniKE {__version__}.\n"

    @property
    def _edits(self) -> str:
        rows = ["| question | picture | before | after | asked for |", "|---|---|---|---|---|"]
        for request, answer in zip(self.edit.requests, self.edit.answers(), strict=True):
            picture = "-" if request.image is None else Path(request.image).name
            cells = (request.prompt, picture, answer.before, answer.after, request.target)
            rows.append(_row(cells))
        failed = [each for each in self.edit.failures if each is not None]
        return "## Edit\n\n" + "\n".join(rows) + "\n" + "".join(f"\nFailed: {each}.\n" for each in failed)

    @property
    def _scores(self) -> str:
        lines = ["## Scores\n"]
        if not self.scores:
            lines.append("None known but the answers above: other questions were not scored.\n")
        else:
            names = list(self.scores[0])
            lines += [_row(names), "|" + "---|" * len(names)]
            lines += [_row([row[name] for name in names]) for row in self.scores]
            lines.append("")
        if self.difference is not None:
            lines.append(
                f"This folder was loaded again: at the edit's own questions its logits differ from those of the edit "
                f"by {self.difference:.1e} at most.\n"
            )
        return "\n".join(lines)

    @property
    def _loading(self) -> str:
        model, part = self.edit.model.backbone.model, self.language_model
        kind = "AutoModelForCausalLM" if part else type(model).__name__
        base = "this folder/base" if part else self.base
        lines = f"## Loading\n\n```python\n{LOADED_BY[self.form].format(kind=kind, base=base)}```\n"
        section = self.edit.model.section
        lines += f"\nQuestions were asked as `{section.vqa_prompt}` in the layout of the family `{section.family}`.\n"
        if part:
            lines += "\nIt takes texts, or embeddings; the picture tower is not in this folder.\n"
        eps = getattr(getattr(model.config, "vision_config", None), "post_layernorm_eps", None)
        if eps is not None and not part:
            lines += f"\nThe norm behind the picture tower has eps {eps}, which Hugging Face's class does not read.\n"
        return lines

    @property
    def _method(self) -> str:
        edit = self.edit
        settings = "".join(f", {name} = {value}" for name, value in edit.settings.items())
        return (
            f"## Method\n\n`{edit.method}`, seed {edit.seed}{settings}; backbone `{edit.model.name}` in "
            f"{edit.model.section.dtype}, fingerprint `{edit.model.mark}`.\n\n## Licence\n\n{self._licence}\n"
        )

    @property
    def _licence(self) -> str:
        licence = licence_of(self.edit.model)
        name = licence["license_name"] if licence["license"] == "other" else licence["license"]
        if name == UNKNOWN:
            return f"That of the base, {self.base}, whose folder does not name it; ask there before passing this on."
        return f"{name}, as the base, {self.base}."


def base_of(model: "Model") -> str:
    """Return a model's name as a hub has it, or that of its folder."""
    return Path(model.folder).name if Path(model.folder).is_dir() else model.folder


def licence_of(model: "Model") -> dict[str, str]:
    """Return a model's license as its card's header has it; that of "other" has a license_name, UNKNOWN if none."""
    section, card = model.section, Path(model.folder) / "README.md"
    if section.folder is None and section.original is None:
        return {"license": OURS}
    if card.is_file():
        _, marks, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
        try:
            header = parse_yaml(rest.partition("\n---")[0], str(card), "a header") if marks else None
        except InputError:
            header = None
        found = header if isinstance(header, dict) else {}
        own = {name: found[name] for name in LICENCE if isinstance(found.get(name), str)}
        if "license" in own and (own["license"] != "other" or "license_name" in own):
            return own
    return {"license": "other", "license_name": UNKNOWN}


def _row(cells: Sequence[Any]) -> str:
    """Return a line of a table: a text in one cell, whatever is in it."""
    texts = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    return "| " + " | ".join(" ".join(text.split()).replace("|", "\\|") for text in texts) + " |"
