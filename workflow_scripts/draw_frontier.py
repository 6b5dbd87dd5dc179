"""Draw generality against locality while one knob of some methods moves."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.figures import draw_frontier

    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    draw_frontier([Path(path) for path in snakemake.input.records], outputs, config)
