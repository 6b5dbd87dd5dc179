"""Base: no edit, the unedited backbone."""

from unike_lib.config.base import Entry, MethodSection
from unike_lib.method import Method


class BaseMethod(MethodSection):
    """No edit: the unedited backbone."""


METHOD = Method(
    name="base",
    title="Base",
    kind="unedited",
    settings=BaseMethod,
    build="unike_lib.editing.editor:no_edit",
    first_layer=lambda settings: 0,
    entries={"base": Entry("The unedited backbone.")},
)
