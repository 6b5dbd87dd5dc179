"""Draw generality against locality of methods as they are (Fig. 2a)."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.figures import draw_methods

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    draw_methods([Path(path) for path in snakemake.input.records], outputs, config)
