"""Compute the visual tokens of every picture of a split that a backbone is asked about."""

from functools import partial

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.folder_config import first_look

    first_look(job.params.folder, job.backbone.family)  # before torch and transformers are imported
    from unike_lib.backbones.load import load_model, load_processor
    from unike_lib.backbones.visual import extract_visual
    from unike_lib.benchmark.cases import read_files
    from unike_lib.benchmark.images import edited_images, image_names, load_image
    from unike_lib.benchmark.triplet_sources import read_triplet_source

    folder, settings = job.params.folder, job.backbone
    cases = read_files(job.inputs.cases, most=job.params.edits)
    cases += [case for path in job.inputs.sources for case in read_triplet_source(path)]
    probed = read_files(job.inputs.cases, most=job.params.probed)
    names = [*edited_images(cases), *image_names(probed)]
    load = partial(load_image, job.params.image_roots, pictures=job.params.pictures)
    model, processor = load_model(folder, settings), load_processor(folder, settings)
    extract_visual(model, processor, names, load, job.outputs.tokens, job.fingerprint)
