"""How often a process of its own, a job's or a command's, looks for unreachable objects."""

import atexit
import gc

UNCOLLECTED = 100_000  # new objects before Python looks for unreachable ones (Python's own choice: 700)


def collect_less() -> None:
    """Let Python look for unreachable objects less often, and not at the process's end.

    Importing torch and transformers makes 600,000 objects that stay; going through them again and again takes a quarter
    of a job's start.
    """
    gc.set_threshold(UNCOLLECTED, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
