"""Compute the visual tokens of the pictures that a backbone is asked about in a session of many edits."""

from functools import partial

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.backbones.load import load_model, load_processor
    from unike_lib.backbones.visual import extract_visual
    from unike_lib.benchmark.cases import read_cases
    from unike_lib.benchmark.images import image_names, load_image
    from unike_lib.config.retention import RetentionConfig
    from unike_lib.evaluation.retention_questions import asked_cases, plan_retention

    params, inputs, retention = job.params, job.inputs, job.section("retention", RetentionConfig)
    edited, taught = ([read_cases(path) for path in paths] for paths in (inputs.cases, inputs.taught))
    plan = plan_retention(edited, taught, retention.ks, retention.questions, params.seed)
    load = partial(load_image, params.image_roots)
    model, processor = load_model(params.folder, job.backbone), load_processor(params.folder, job.backbone)
    extract_visual(model, processor, image_names(asked_cases(plan)), load, job.outputs.tokens, job.fingerprint)
