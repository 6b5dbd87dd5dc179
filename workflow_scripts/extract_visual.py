"""Compute the visual tokens of every picture that a backbone is asked about, a file a split."""

from functools import partial
from pathlib import Path

from unike_lib.runtime import Stage, job_mark

with Stage(snakemake) as config:
    from unike_lib.backbones.load import load_model, load_processor
    from unike_lib.backbones.visual import extract_visual
    from unike_lib.benchmark.mmedit import image_names, load_image, read_cases
    from unike_lib.types import TASKS

    folder, settings = snakemake.params.folder, config.backbones[snakemake.wildcards.backbone]
    model, processor = load_model(folder, settings), load_processor(folder)
    load = partial(load_image, Path(snakemake.params.image_root))
    mark = job_mark(snakemake)
    for split, out in snakemake.output.items():
        files = [Path(snakemake.params.benchmark) / f"{split}_{task}.json" for task in TASKS]
        cases = [case for file in files for case in read_cases(file)]
        # Of the pool only the questions themselves are asked; of other splits, every probe.
        names = [case.request.image for case in cases] if split == "pool" else image_names(cases)
        extract_visual(model, processor, names, load, Path(out), mark)
