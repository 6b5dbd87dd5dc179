"""Compute the visual tokens of every picture of a split that a backbone is asked about."""

from functools import partial
from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_model, load_processor
    from unike_lib.backbones.visual import extract_visual
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.benchmark.images import image_names, load_image
    from unike_lib.benchmark.triplet_sources import read_triplet_source

    folder, settings = snakemake.params.folder, config.backbones[snakemake.wildcards.backbone]
    cases = [case for path in snakemake.input.cases for case in read_cases(path)[: snakemake.params.edits]]
    cases += [case for path in snakemake.input.sources for case in read_triplet_source(Path(path))]
    # Of the pool only the questions themselves are asked; of other splits, every probe.
    pool = snakemake.wildcards.split == "pool"
    names = [case.request.image for case in cases] if pool else image_names(cases)
    load = partial(load_image, snakemake.params.image_roots)
    model, processor = load_model(folder, settings), load_processor(folder, settings)
    extract_visual(model, processor, names, load, Path(snakemake.output[0]), job_mark(snakemake))
