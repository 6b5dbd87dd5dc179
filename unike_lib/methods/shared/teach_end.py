"""The setting of methods that are trained on a target: whether they learn where it ends."""

from typing import Any

from unike_lib.config.base import MethodSection, Original, setting

SENTENCE = "Learn that the answer ends after the target, too."
MMEDIT = Original("MMEdit", False, needs=("intrinsic",))


def teach_end_setting(default: bool) -> Any:
    """Return whether the end of the target is learned, as a setting; methods are tuned apart."""
    return setting(default, SENTENCE, "tuned", "on development edits, by generated answers", original=MMEDIT)


def learned_end(original: str) -> Any:
    """Return the same setting of a method that was not tuned; `original`: the source whose value is false."""
    return setting(True, SENTENCE, "ours", original=Original(original, False))


class TargetMethod(MethodSection):
    """A method that is trained on the edit's target.

    Reading: what is learned where the target ends is that one of the backbone's stop tokens follows, whichever: which
    of them the backbone would write is not part of the fact.
    """

    teach_end: bool = teach_end_setting(True)
