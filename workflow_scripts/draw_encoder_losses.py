"""Draw the training curves of the contrastive encoders."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.reporting.encoder_figures import draw_encoder_losses

    draw_encoder_losses(dict(zip(job.params.backbones, job.inputs.losses, strict=True)), job.outputs)
