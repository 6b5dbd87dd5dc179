"""Draw what later edits of a session leave of earlier ones."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.forgetting import draw_forgetting

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    draw_forgetting([Path(path) for path in snakemake.input.records], outputs, config)
