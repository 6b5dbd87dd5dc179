# The benchmark: the embedded one, drawn and written here, or a user's MMEdit files, checked and split.

BENCHMARK = f"{STAGES}/benchmark"
EMBEDDED = CONFIG.benchmark.annotations is None
IMAGES = f"{BENCHMARK}/images" if EMBEDDED else CONFIG.benchmark.images
IMAGE_ROOT = BENCHMARK if EMBEDDED else CONFIG.benchmark.images
SPLITS = ["taught"] * EMBEDDED + ["pool", "method", "dev", "eval"]
USER_FILES = [
    "vqa_train.json",
    "vqa_eval.json",
    "caption_train_edit.json",
    "caption_eval_edit.json",
]


def contact_sheet():
    """The picture of the embedded benchmark's edits; a user's benchmark has none."""
    return ["results/figures/contact_sheet.png"] if EMBEDDED else []


if EMBEDDED:

    rule benchmark:
        input:
            code=lib("write_benchmark", data=["benchmark/data/*.parquet"]),
        output:
            cases=expand(
                "{folder}/{split}_{task}.json",
                folder=BENCHMARK,
                split=SPLITS,
                task=["vqa", "caption"],
            ),
            images=directory(IMAGES),
            training=f"{BENCHMARK}/training.parquet",
            templates=f"{BENCHMARK}/templates.parquet",
            scenes=f"{BENCHMARK}/scenes.parquet",
            facts=f"{BENCHMARK}/facts.parquet",
            vocabulary=f"{BENCHMARK}/vocabulary.json",
        log:
            "logs/benchmark.log",
        benchmark:
            f"{STAGES}/benchmarks/benchmark.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=1500,
        params:
            benchmark=CONFIG.benchmark.model_dump(mode="json"),
            seed=CONFIG.seed,
        script:
            "../workflow_scripts/write_benchmark.py"

    rule contact_sheet:
        input:
            cases=[f"{BENCHMARK}/eval_vqa.json", f"{BENCHMARK}/eval_caption.json"],
            images=IMAGES,
            code=lib("draw_contact_sheet"),
        output:
            report("results/figures/contact_sheet.png", category="Benchmark"),
        log:
            "logs/contact_sheet.log",
        benchmark:
            f"{STAGES}/benchmarks/contact_sheet.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=1000,
        script:
            "../workflow_scripts/draw_contact_sheet.py"

else:

    rule benchmark:
        input:
            annotations=[
                f"{CONFIG.benchmark.annotations}/{name}" for name in USER_FILES
            ],
            images=IMAGES,
            code=lib("prepare_benchmark"),
        output:
            cases=expand(
                "{folder}/{split}_{task}.json",
                folder=BENCHMARK,
                split=SPLITS,
                task=["vqa", "caption"],
            ),
        log:
            "logs/benchmark.log",
        benchmark:
            f"{STAGES}/benchmarks/benchmark.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=1500,
        params:
            benchmark=CONFIG.benchmark.model_dump(mode="json"),
            seed=CONFIG.seed,
        script:
            "../workflow_scripts/prepare_benchmark.py"
