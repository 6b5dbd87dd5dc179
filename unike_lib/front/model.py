"""One edit by hand: edit a backbone, ask it before and after, take the edit back, keep it in a file.

Editing and asking are what the workflow does (`editing.building.build_editor`, `evaluation.sessions.install`,
`evaluation.probes.ask`); the model itself never changes, so edits stand side by side.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.load import load_backbone
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.run import Config
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.editor import Editor
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.probes import Row, ask
from unike_lib.front.edit import Edit, read_edit
from unike_lib.front.finding import Built, Pictures, image_roots
from unike_lib.front.questions import request_of
from unike_lib.front.trained import TrainedEditor, read_trained
from unike_lib.method import find_method, resolve_method
from unike_lib.runtime import check_made_with, mark_of_backbone
from unike_lib.types import EditRequest, InputError, Query

CHUNK = 16  # questions asked at once


def open_model(folder: str, section: BackboneConfig, settings: Config, built: Built) -> "Model":
    """Return a backbone of a folder, opened; raise InputError if it cannot be edited."""
    pictures = Pictures(folder, section, image_roots(settings, built.results), settings.benchmark.pictures)
    opened = load_backbone(folder, section, pictures)
    pictures.model = opened.model
    return Model(built.backbone, folder, section, opened, pictures, settings, built)


class Model:
    """A frozen backbone and the methods that can edit it."""

    def __init__(  # noqa: PLR0913
        self,
        name: str,
        folder: str,
        section: BackboneConfig,
        backbone: Backbone,
        pictures: Pictures,
        config: Config,
        built: Built,
    ) -> None:
        self.name, self.folder, self.section, self.backbone = name, folder, section, backbone
        self.pictures, self.config, self.built = pictures, config, built
        self._before: dict[Query, str] = {}
        self._opened: dict[str, TrainedEditor] = {}

    @property
    def methods(self) -> list[str]:
        """The method variants that can edit with what is built."""
        return self.built.ready()

    @cached_property
    def mark(self) -> str:
        """The fingerprint of the backbone: files made with another are refused."""
        return mark_of_backbone(self.section.model_dump(mode="json"), [self.folder])

    def edit(
        self,
        request: EditRequest | Mapping[str, Any] | None = None,
        method: str = "unike",
        *,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Edit:
        """Return an edit of the unedited model.

        Args:
            request: what is to be answered: image (or none), question, answer, task; also as keywords.
            method: a variant of the configuration.
            seed: for random parts.
            settings: settings of the method that come last.
            fields: of the request.

        Raises:
            InputError: a field or a setting is wrong, the method needs what is not built, or a picture is missing.
        """
        return Edit(self, [request_of(request, fields)], method, settings or {}, seed)

    def open_edit(self, path: str | Path) -> Edit:
        """Return an edit that `Edit.save` wrote; raise InputError if it is of another backbone, or damaged."""
        return read_edit(self, Path(path))

    def open_editor(self, folder: str | Path) -> str:
        """Return the method of a trained editor that `unike export` wrote: `edit` takes it from now on.

        Raises:
            InputError: the folder is damaged, or the editor was trained for another backbone.
        """
        editor = read_trained(self, Path(folder))
        self._opened[editor.name] = editor
        return editor.name

    def editor(self, method: str, overrides: Mapping[str, Any], seed: int) -> Editor:
        """Return a method's editor: what it reads is checked to be of this backbone."""
        entries, opened = self.config.methods, self._opened.get(method)
        try:
            if opened is None:
                settings = resolve_method(entries, method, self.name, dict(overrides))
            else:
                settings = opened.resolved(dict(overrides))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(str(error)) from None
        room = find_method(settings.method)
        if room.train and (fixed := set(overrides) - room.editing_alone):
            raise InputError(
                f"method {method!r}: {', '.join(sorted(fixed))}: its editor is trained with that; expected one of "
                f"{', '.join(sorted(room.editing_alone)) or 'none'}"
            )
        if opened is not None:
            return build_editor(settings, self.backbone, EditorSources(Path(), trained=opened.file), seed)
        sources = self.built.sources(method, overrides)
        files = [path for paths in self.built.files(method, overrides).values() for path in paths]
        if files:
            check_made_with(self.mark, self.folder, files)
        return build_editor(settings, self.backbone, sources, seed)

    def ask(self, queries: Sequence[Query], patch: Patch | None = None) -> list[str]:
        """Return the greedy answers to questions, of the unedited model or under a patch of one session."""
        settings = self.config.evaluation.model_copy(update={"generate": True})
        if patch is None:
            fresh = [query for query in dict.fromkeys(queries) if query not in self._before]
            self._before |= dict(zip(fresh, self._asked(fresh, None, settings), strict=True))
            return [self._before[query] for query in queries]
        return self._asked(queries, patch, settings)

    def _asked(self, queries: Sequence[Query], patch: Patch | None, settings: Any) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(queries), CHUNK):
            rows = [Row(query) for query in queries[start : start + CHUNK]]
            texts += map(self.backbone.text, ask(self.backbone, rows, patch, settings).generated)
        return texts
