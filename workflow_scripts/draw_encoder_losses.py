"""Draw the training curves of the contrastive encoders."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake):
    from unike_lib.reporting.encoder_figures import draw_encoder_losses

    losses = {name: Path(path) for name, path in zip(snakemake.params.backbones, snakemake.input.losses, strict=True)}
    draw_encoder_losses(losses, {name: Path(path) for name, path in snakemake.output.items()})
