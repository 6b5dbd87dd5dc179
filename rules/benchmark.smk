# The benchmark: the embedded one, drawn and written here, or a user's MMEdit files, checked and split.

# The user's files of every task.
USER_FILES = [
    f"{CONFIG.benchmark.annotations}/{name}"
    for pair in CONFIG.benchmark.files.values()
    for name in (pair.train, pair.eval)
    if name
]

# The code of the dialect that reads them.
DIALECT = entry_digest(entry_file(CONFIG.benchmark.format, *FORMATS))


if EMBEDDED:

    rule benchmark:
        output:
            cases=[file for split in SPLITS for file in cases_of(split, folder=BENCHMARK)],
            checksums=f"{BENCHMARK}/checksums.sha256",
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
            mem_mb=TABLES,
        params:
            code=lib("write_benchmark", data=["embedded/world/data/*.parquet"]),
            benchmark=fields(CONFIG.benchmark),
            seed=CONFIG.seed,
        message:
            "Draw the embedded benchmark and write its edits."
        script:
            "../workflow_scripts/write_benchmark.py"

    rule contact_sheet:
        input:
            cases=[f"{BENCHMARK}/eval_vqa.json", f"{BENCHMARK}/eval_caption.json"],
            images=IMAGES,
        output:
            png=shown("results/figures/contact_sheet.png", file="PNG"),
        log:
            "logs/contact_sheet.log",
        benchmark:
            f"{STAGES}/benchmarks/contact_sheet.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("draw_contact_sheet"),
        message:
            "Draw some edits of the benchmark."
        script:
            "../workflow_scripts/draw_contact_sheet.py"

else:

    # What is missing, before any work: `make results/missing_images.csv`.
    rule missing_images:
        input:
            annotations=USER_FILES,
            sources=CONFIG.benchmark.triplet_sources,
        output:
            csv="results/missing_images.csv",
        log:
            "logs/missing_images.log",
        benchmark:
            f"{STAGES}/benchmarks/missing_images.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("list_missing_images"),
            dialect=DIALECT,
            picture_files=pictures,
            benchmark=fields(CONFIG.benchmark),
        message:
            "List the pictures that the benchmark files name and that are missing."
        script:
            "../workflow_scripts/list_missing_images.py"

    rule benchmark:
        input:
            annotations=USER_FILES,
            sources=CONFIG.benchmark.triplet_sources,
            images=IMAGES,
        output:
            cases=[file for split in SPLITS for file in cases_of(split, folder=BENCHMARK)],
            checksums=f"{BENCHMARK}/checksums.sha256",
            sources=[f"{BENCHMARK}/{name}" for name in SOURCES_FILES],
            counts=COUNTS,
        log:
            "logs/benchmark.log",
        benchmark:
            f"{STAGES}/benchmarks/benchmark.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("prepare_benchmark"),
            dialect=DIALECT,
            picture_files=pictures,
            benchmark=fields(CONFIG.benchmark),
            seed=CONFIG.seed,
        message:
            "Check the benchmark files and split them."
        script:
            "../workflow_scripts/prepare_benchmark.py"
