"""Draw a sweep: what becomes of a method when one field moves."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.figures import draw_sweep

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    draw_sweep([Path(path) for path in snakemake.input.records], outputs, snakemake.wildcards.sweep, config)
