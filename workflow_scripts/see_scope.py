"""Compute the visual tokens of the pictures of the pool's probes, for the semantic scope."""

from functools import partial

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import load_model, load_processor
    from unike_lib.backbones.visual import extract_visual
    from unike_lib.benchmark.cases import read_files
    from unike_lib.benchmark.images import image_names, load_image

    folder, settings = job.params.folder, job.backbone
    names = image_names(read_files(job.inputs.cases, most=job.params.edits))
    load = partial(load_image, job.params.image_roots, pictures=job.params.pictures)
    model, processor = load_model(folder, settings), load_processor(folder, settings)
    extract_visual(model, processor, names, load, job.outputs.tokens, job.fingerprint)
