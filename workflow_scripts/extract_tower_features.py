"""Compute the frozen vision features of every training picture, once for all embedded backbones."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.embedded.training.tower_features import extract_tower_features

    extract_tower_features(Path(snakemake.input.images).parent, Path(snakemake.output[0]), snakemake.threads)
