"""An edit made by hand: its patch beside the model, what it changes, and its file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unike_lib.editing.patch import bytes_as_texts, texts_as_bytes
from unike_lib.evaluation.sessions import install
from unike_lib.front.questions import Answer, Asked, query_of, request_of
from unike_lib.io import fingerprint_of, marked, read_tensors, write_tensors
from unike_lib.runtime import check_made_with
from unike_lib.types import EditCase, EditRequest, InputError

if TYPE_CHECKING:
    from unike_lib.front.model import Model

INDEX = "edit"  # the entry of a file with what was edited and how, as JSON


class Edit:
    """Requests installed one after the other on an unedited model; `failures`: why one did not work, or None.

    seconds: how long editing took; `patch`: what the edit is now, nothing after `undo`.
    """

    def __init__(
        self,
        model: "Model",
        requests: Sequence[EditRequest],
        method: str,
        settings: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.model, self.requests, self.method = model, tuple(requests), method
        self.settings, self.seed = dict(settings), seed
        editor = model.editor(method, settings, seed)
        self._nothing = self.patch = editor.start(1)
        self.failures: list[str | None] = []
        self.seconds = 0.0
        for request in requests:
            case = EditCase(request, (), ())
            self.patch, [(failure, seconds)] = install(editor, [case], self.patch, model.backbone.device)
            self.failures.append(failure)
            self.seconds += seconds

    @property
    def request(self) -> EditRequest:
        """The last request."""
        return self.requests[-1]

    def then(self, request: EditRequest | Mapping[str, Any] | None = None, **fields: Any) -> "Edit":
        """Return the edit with one more request, installed behind the others; this one stays as it is."""
        more = request_of(request, fields)
        return Edit(self.model, [*self.requests, more], self.method, self.settings, self.seed)

    def answers(self, *questions: Asked) -> list[Answer]:
        """Return what the model says before and after.

        Args:
            questions: texts (asked without a picture), (text, picture), or mappings with question, image and answer
                (the one that is wanted); none: the requests themselves.
        """
        queries = [query_of(each, self.request) for each in questions] or [each.query for each in self.requests]
        plain = [replace(query, answer=None) for query in queries]
        before, after = self.model.ask(plain), self.model.ask(plain, self.patch)
        return [
            Answer(query.prompt, query.image, old, new, query.answer)
            for query, old, new in zip(queries, before, after, strict=True)
        ]

    def undo(self) -> None:
        """Take the edit back: the model answers as it did before."""
        self.patch = self._nothing

    @property
    def undone(self) -> bool:
        """Whether nothing of the edit is left."""
        return self.patch is self._nothing

    def save(self, path: str | Path) -> None:
        """Write the edit as safetensors: its tensors, what was asked for, and how; `Model.open_edit` reads it."""
        record = {
            "backbone": self.model.name,
            "method": self.method,
            "settings": self.settings,
            "seed": self.seed,
            "requests": [asdict(request) for request in self.requests],
        }
        tensors = {name: tensor.clone() for name, tensor in self.patch.tensors().items()}
        tensors[INDEX] = texts_as_bytes([json.dumps(record)])
        write_tensors(path, tensors, marked(fingerprint_of(record), self.model.mark))

    def export(self, folder: str | Path, form: str | None = None, language_model: bool = False) -> str:
        """Write the edited model as a folder that loads without this project; return its form (`export_edit`)."""
        from unike_lib.front.export import export_edit

        return export_edit(self, folder, form, language_model)


def backbone_of_edit(path: Path) -> str | None:
    """Return the name of the backbone that a saved edit is of; None: the file holds something else."""
    tensors = read_tensors(path)
    return str(_described(path, tensors)["backbone"]) if INDEX in tensors else None


def _described(path: Path, tensors: Mapping[str, Any]) -> dict[str, Any]:
    if INDEX not in tensors:
        raise InputError(f"{path}: expected a file that Edit.save wrote, found no entry {INDEX!r}")
    record: dict[str, Any] = json.loads(bytes_as_texts(tensors[INDEX])[0])
    return record


def read_edit(model: "Model", path: Path) -> Edit:
    """Return a saved edit: it is made again for its form, and then has the tensors of the file.

    Raises:
        InputError: the file is damaged, no edit, or of another backbone.
    """
    tensors = read_tensors(path)
    record = _described(path, tensors)
    check_made_with(model.mark, model.folder, [path])
    del tensors[INDEX]
    requests = [EditRequest(**fields) for fields in record["requests"]]
    edit = Edit(model, requests, record["method"], record["settings"], record["seed"])
    if not tensors:
        edit.undo()
        return edit
    own = edit.patch.tensors()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in tensors.items()}:
        raise InputError(f"{path}: its tensors do not fit an edit with {record['method']!r} as it is now")
    device = model.backbone.device
    edit.patch = edit.patch.with_tensors({name: value.to(device) for name, value in tensors.items()})
    return edit
