"""Draw held-out states in both encoder spaces (Fig. 5a)."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.reporting.encoder_figures import draw_spaces

    names = config.figures.backbones
    encodings = {name: Path(path) for name, path in zip(names, snakemake.input.encodings, strict=True)}
    outputs = {name: Path(path) for name, path in snakemake.output.items()}
    draw_spaces(encodings, outputs, config.figures.fig5a, config.seed)
