"""IKE: demonstrations and the new fact in front of the question (Zheng et al. 2023, as in MMEdit)."""

from typing import TYPE_CHECKING

from unike_lib.method import Method
from unike_lib.methods.ike.settings import IkeMethod
from unike_lib.section import Entry

if TYPE_CHECKING:
    from unike_lib.backbones.backbone import Backbone
    from unike_lib.editing.building import EditorSources
    from unike_lib.editing.editor import Editor


def build(settings: IkeMethod, backbone: "Backbone", sources: "EditorSources", seed: int) -> "Editor":
    """Return the editor, with the method-training split as its store of demonstrations."""
    from unike_lib.methods.ike.editor import Ike

    return Ike.from_cases(backbone, settings, sources.method_split())


METHOD = Method(
    name="ike",
    title="IKE",
    kind="external",
    settings=IkeMethod,
    build=build,
    needs=("method_split",),
    first_layer=lambda settings: 0,
    search={"demonstrations": [0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 18]},
    entries={"ike": Entry("Demonstrations and the new fact in front of the question (paper: one edit only).")},
)
