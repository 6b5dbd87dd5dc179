"""Record the hidden states of every triplet at the edited layers."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import open_backbone
    from unike_lib.knowledge.extraction import extract_states

    backbone = open_backbone(job.params.folder, job.backbone, job.inputs.visual)
    extract_states(backbone, job.inputs.triplets, job.outputs.states, job.fingerprint)
