"""Draw held-out states in both encoder spaces (Fig. 5a)."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.config.figures import SpacesConfig
    from unike_lib.reporting.encoder_figures import draw_spaces

    encodings = dict(zip(job.params.backbones, job.inputs.encodings, strict=True))
    draw_spaces(encodings, job.outputs, job.section("fig5a", SpacesConfig), job.params.seed)
