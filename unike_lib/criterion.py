"""What a criterion is: one entry that scores the answer to a probe, for any method, backbone and benchmark.

A criterion is one module in `criteria/` with an entry `CRITERION`; or an entry of an installed package or of a user's
own file. `evaluation.criteria` names those that a run scores by.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unike_lib.probe_kinds import Must
from unike_lib.registry import find_entry
from unike_lib.types import InputError, Query

if TYPE_CHECKING:
    from torch import Tensor

# Where criteria are found: package, the entry's name in a module, entry points of installed packages.
CRITERIA = ("unike_lib.criteria", "CRITERION", "unike.criteria")


@dataclass(frozen=True)
class Reply:
    """The answer of a model, edited or not, to one probe, and what is wanted of it.

    query: what was asked, without the text that an edit puts in front; must: what the answer must do.
    wanted, best [answer token]: ids that are wanted, and the model's best ids under teacher forcing. Wanted are the
    target's, or of a probe that must stay (or differ) the unedited model's.
    log_probabilities [answer token]: of the wanted ids, in nats; empty if the criterion does not read them.
    ranks_before, ranks_after [position, rank]: best ids at every position, best first; of a probe that must stay (or
    differ), otherwise empty. Lengths may differ: an edit may put text in front.
    text: the greedy answer; accepted: texts that it may equal: the target and its aliases, or of a probe that must stay
    (or differ) the unedited model's. Empty where generation is off.
    """

    query: Query
    must: Must
    wanted: "Tensor"
    best: "Tensor"
    log_probabilities: "Tensor"
    ranks_before: "Tensor"
    ranks_after: "Tensor"
    text: str
    accepted: tuple[str, ...]


@dataclass(frozen=True)
class Criterion:
    """How an answer is scored.

    name: of columns and files. title: says the rule in one line.
    score: of a reply, within `low` and `high`, in any unit; of a probe that must differ the house turns it round.
    low, high: the range, may be infinite; one of 0 to 1 is printed in percent, any other as it is.
    worst: what an answer counts whose logits are not finite; None: the end of the range that is worse.
    reads_text: greedy answers are needed; NaN where generation is off. reads_probabilities: log-probabilities are.
    compares: tables also give paired differences by it.
    """

    name: str
    title: str
    score: Callable[[Reply], float]
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True
    worst: float | None = None
    reads_text: bool = False
    reads_probabilities: bool = False
    compares: bool = False

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.low < self.high or not math.isfinite(self.failed):
            raise ValueError(
                f"criterion {self.name!r}: expected a name of letters, digits and _, low < high, and a finite worst "
                f"score; found {self.low}, {self.high}, {self.failed}"
            )

    @property
    def failed(self) -> float:
        """The score of an answer whose logits are not finite."""
        return self.worst if self.worst is not None else self.low if self.higher_is_better else self.high

    @property
    def bounded(self) -> bool:
        """Whether both ends of the range are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def recorded(self) -> tuple[float, float]:
        """The range of recorded scores: an unbounded one also holds those turned round, of probes that must differ."""
        if self.bounded:
            return self.low, self.high
        return min(self.low, -self.high), max(self.high, -self.low)

    @property
    def percent(self) -> bool:
        """Whether scores are shares, printed in percent."""
        return (self.low, self.high) == (0.0, 1.0)

    def of(self, reply: Reply) -> float:
        """Return the score of a reply.

        Raises:
            InputError: the score is no number of the range.
        """
        score = float(self.score(reply))
        if not self.low <= score <= self.high:
            raise InputError(f"criterion {self.name}: {score} for {reply.query}, expected {self.low} .. {self.high}")
        if reply.must != "differ":
            return score
        return self.low + self.high - score if self.bounded else -score


def accepts(form: Callable[[str], str]) -> Callable[[Reply], float]:
    """Return the score of replies whose greedy answer must equal an accepted one, both in a form: 1 or 0.

    An answer that the form leaves nothing of is compared but for case and spaces: silence is another answer.
    """

    def formed(text: str) -> str:
        return form(text) or " ".join(text.lower().split())

    return lambda reply: float(formed(reply.text) in map(formed, reply.accepted))


def find_criterion(name: str) -> Criterion:
    """Return a criterion by its name, or by "path/to/file.py:NAME"; raise InputError if there is none."""
    criterion: Criterion = find_entry(name, *CRITERIA, Criterion)
    return criterion


def find_criteria(names: Sequence[str]) -> tuple[Criterion, ...]:
    """Return criteria by their names, in the same order."""
    return tuple(map(find_criterion, names))
