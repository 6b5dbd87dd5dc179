"""The setting of methods that are trained on a target: whether they learn where it ends."""

from unike_lib.config.base import MethodSection, Original, setting


class TargetMethod(MethodSection):
    """A method that is trained on the edit's target.

    Reading: what is learned where the target ends is that one of the backbone's stop tokens follows, whichever: which
    of them the backbone would write is not part of the fact.
    """

    teach_end: bool = setting(
        True,
        "Learn that the answer ends after the target, too.",
        "tuned",
        "on development edits, by generated answers",
        original=Original("MMEdit", False),
    )
