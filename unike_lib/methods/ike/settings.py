"""Settings of IKE, and of what goes in front of a question."""

from typing import Annotated, Literal

from unike_lib.config.base import MethodSection, Original, setting
from unike_lib.config.paths import UserPath


class ContextSettings(MethodSection):
    """What goes in front of the question: shared by IKE and UniKE's Intrin + IKE."""

    demonstrations: int = setting(
        6, "Demonstrations before the new fact.", "tuned", original=Original("MMEdit", 32), ge=0
    )
    retriever: Annotated[str, UserPath("folder", ("backbone", "minilm"))] = setting(
        "backbone",
        "What finds similar edits: backbone (its token embeddings), minilm (all-MiniLM-L6-v2, of the extra 'ike'), or "
        "a folder with such a model.",
        "ours",
        original=Original("MMEdit", "minilm", needs=("in_context",)),
        min_length=1,
    )
    prompt: Literal["mmedit", "wrapped"] = setting(
        "mmedit",
        "mmedit: demonstrations found by the fact's own, which is the last, no template; wrapped: by question and "
        "answer, with the template (ours).",
        original=Original("MMEdit", equation=True, needs=("in_context",)),
    )


class IkeMethod(ContextSettings):
    """IKE: demonstrations and the new fact in front of the question."""
