"""What tables say of the tiers of locality: how many edits have no such probe, and why."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def tiers_notes(paths: Sequence[Path]) -> list[str]:
    """Say, a sentence per backbone (the name of its folder), how many edits lack a probe of which tier, and why."""
    sentences = []
    for path in paths:
        rows = [
            f"{row['kind']} ({row['task']}) {row['left_out']} and {row['edits'] - row['asked'] - row['left_out']}"
            for row in pd.read_csv(path).to_dict("records")
        ]
        sentences.append(
            f"**Tiers of locality of {path.parent.name}: edits without such a probe, because its right answer is the "
            f"edit's target, and because the data has none: {'; '.join(rows)}.**"
        )
    return sentences
