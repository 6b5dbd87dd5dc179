"""Text in front of every question, in every session its own: what in-context editing leaves behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from unike_lib.editing.patch import Part, bytes_as_texts, texts_as_bytes
from unike_lib.types import Query


@dataclass(frozen=True)
class Contexts(Part):
    """A text per session that goes before every prompt, "" for none; `plain`: the prompt behind it has no template."""

    texts: tuple[str, ...] = ()
    plain: bool = False

    @property
    def empty(self) -> bool:
        """Whether no session has a text."""
        return not any(self.texts)

    def tensors(self) -> dict[str, Tensor]:
        """Return the texts as bytes, a row per session."""
        return {"texts": texts_as_bytes(self.texts)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Contexts":
        """Return the part with the texts that such a tensor holds."""
        return replace(self, texts=bytes_as_texts(tensors["texts"]))

    def append(self, more: "Contexts") -> "Contexts":
        """Return the later texts: they tell what the earlier ones told."""
        return more

    def revert(self, ok: Tensor, previous: "Contexts | None") -> "Contexts":
        """Return the texts; where `ok` fails, those of `previous`."""
        old = ("",) * len(self.texts) if previous is None else previous.texts
        kept = zip(ok.tolist(), self.texts, old, strict=True)
        return replace(self, texts=tuple(mine if fine else before for fine, mine, before in kept))

    def select(self, sessions: Sequence[int]) -> "Contexts":
        """Return the texts of some of the sessions, in the order given."""
        return replace(self, texts=tuple(self.texts[session] for session in sessions))

    def concat(self, others: Sequence["Contexts"]) -> "Contexts":
        """Return the texts of these sessions and of others after them."""
        return replace(self, texts=(*self.texts, *(text for other in others for text in other.texts)))

    def before(self, queries: Sequence[Query]) -> Sequence[Query]:
        """Return the queries, rows in session order, with their sessions' texts in front."""
        width = len(queries) // len(self.texts)
        told = [replace(query, context=self.texts[row // width]) for row, query in enumerate(queries)]
        return [replace(query, style="plain") if self.plain and query.context else query for query in told]
