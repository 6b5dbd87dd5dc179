"""Base: no edit, the unedited backbone."""

from typing import TYPE_CHECKING

from unike_lib.method import Method
from unike_lib.section import Entry, MethodSection

if TYPE_CHECKING:
    from unike_lib.backbones.backbone import Backbone
    from unike_lib.editing.building import EditorSources
    from unike_lib.editing.editor import Editor


class BaseMethod(MethodSection):
    """No edit: the unedited backbone."""


def build(settings: BaseMethod, backbone: "Backbone", sources: "EditorSources", seed: int) -> "Editor":
    """Return the editor that edits nothing."""
    from unike_lib.editing.editor import NoEdit

    return NoEdit()


METHOD = Method(
    name="base",
    title="Base",
    kind="unedited",
    settings=BaseMethod,
    build=build,
    first_layer=lambda settings: 0,
    entries={"base": Entry("The unedited backbone.")},
)
