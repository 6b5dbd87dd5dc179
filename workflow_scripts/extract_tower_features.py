"""Compute the frozen vision features of every training picture, once for all embedded backbones."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.embedded.training.tower_features import extract_tower_features

    extract_tower_features(job.inputs.images.parent, job.outputs.features, job.threads)
