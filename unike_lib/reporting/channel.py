"""What the channel probe of a backbone says, in one table and one sentence a backbone."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from unike_lib.reporting.markdown import markdown_table
from unike_lib.types import InputError

COLUMNS = ["backbone", "memory", "alpha", "items", "token", "log_probability"]


def read_channels(paths: Sequence[Path]) -> pd.DataFrame:
    """Join the channel probes of all backbones; raise InputError naming a file without one of the columns."""
    tables = []
    for path in paths:
        table = pd.read_csv(path, keep_default_na=False)
        missing = [column for column in COLUMNS if column not in table]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def channel_text(table: pd.DataFrame) -> str:
    """Return Markdown: what a latent memory of the very fact asked for does to the answer, and of another fact."""
    rows, verdicts = [], []
    for backbone, group in table.groupby("backbone", sort=False):
        none = group[group["memory"] == "none"].iloc[0]
        gains = group["log_probability"] - none["log_probability"]
        same, other = (gains[group["memory"] == name].max() for name in ("same fact", "other fact"))
        is_open = same > 0 and same > other
        verdicts.append(
            f"- {backbone}: the channel is {'open' if is_open else 'CLOSED'} (best change of the answer's "
            f"log-probability with the same fact {same:+.2f}, with another fact {other:+.2f} nats a token)"
        )
        rows += [
            [str(row.backbone), str(row.memory), f"{row.alpha:g}", f"{100 * float(str(row.token)):.1f}", f"{gain:+.2f}"]
            for row, gain in zip(group.itertuples(), gains, strict=True)
        ]
    header = ["backbone", "memory", "alpha", "answer tokens right (%)", "log-probability gained (nats a token)"]
    return "\n\n".join(
        [
            "## Can these backbones read a latent memory at all?",
            "One memory slot with the hidden state of the fact asked for (question and true answer), or of another "
            "fact, mixed into the attention of the edited layers; no neurons, no training. Where the same fact helps "
            "no more than another, the latent half of UniKE has nothing to read, and its rows say nothing about it.",
            "\n".join(verdicts),
            markdown_table(header, rows),
        ]
    )
