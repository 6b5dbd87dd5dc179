"""Record the hidden states of every triplet at the edited layers."""

from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_backbone
    from unike_lib.backbones.visual import VisualStore
    from unike_lib.knowledge.extraction import extract_states

    settings = config.backbones[snakemake.wildcards.backbone]
    backbone = load_backbone(snakemake.params.folder, settings, VisualStore(Path(snakemake.input.visual)))
    extract_states(backbone, Path(snakemake.input.triplets), Path(snakemake.output[0]), job_mark(snakemake))
