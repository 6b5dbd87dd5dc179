# What many edits in one session cost the rest: taught facts, general questions, and the edits themselves.
# Of the embedded benchmark alone: of no other is it known what a backbone was taught.


if EMBEDDED and RETAINED:

    rule retention_visual:
        input:
            cases=cases_of("eval"),
            taught=cases_of("taught"),
            images=IMAGES,
            backbone=backbone_files,
        output:
            tokens=f"{STAGES}/retention/{{backbone}}/visual.safetensors",
        log:
            "logs/retention_visual/{backbone}.log",
        benchmark:
            f"{STAGES}/benchmarks/retention_visual/{{backbone}}.tsv"
        threads: CONFIG.threads
        resources:
            **runs_backbone(STATES),
        params:
            code=lib("see_retention"),
            files=files_of_backbone,
            folder=backbone_folder,
            image_roots=IMAGE_ROOTS,
            backbone=backbone_fields("family", "dtype", "image_size"),
            layout=layout,
            retention=fields(CONFIG.retention, "ks", "questions"),
            seed=CONFIG.seeds[0],
        message:
            "Compute what {wildcards.backbone} sees in the pictures of a session of many edits."
        script:
            "../workflow_scripts/see_retention.py"

    rule retention_records:
        input:
            unpack(files_of_method),
            **ASKED,
            cases=cases_of("eval"),
            taught=cases_of("taught"),
            visual=lambda wildcards: [
                f"{STAGES}/retention/{wildcards.backbone}/visual.safetensors",
                *expand(
                    seen(*["method"] * asks_pictures(wildcards.method, wildcards.backbone)),
                    backbone=wildcards.backbone,
                ),
            ],
        output:
            records=f"{STAGES}/retention/{{backbone}}/{{method}}{{cost}}.parquet",
        log:
            "logs/retention_records/{backbone}/{method}{cost}.log",
        benchmark:
            f"{STAGES}/benchmarks/retention_records/{{backbone}}/{{method}}{{cost}}.tsv"
        wildcard_constraints:
            cost=r"(\.cost)?",
        threads: CONFIG.threads
        resources:
            **runs_backbone(EDITS),
            evaluation=SESSIONS,
        params:
            **opens_backbone("layers", "text_locality"),
            code=lib("run_retention", data=TEXT_QUESTIONS),
            room=room,
            criteria=entry_digest(entry_file("normalised", *CRITERIA)),
            knowledge=f"{STAGES}/knowledge/{{backbone}}",
            method=method_fields,
            retention=fields(CONFIG.retention, "ks", "questions"),
            cost_edits=lambda wildcards: CONFIG.retention.cost_edits if wildcards.cost else None,
            evaluation=fields(CONFIG.evaluation, "max_new_tokens"),
            seed=CONFIG.seeds[0],
        message:
            "Make many edits of {wildcards.backbone} in one session with {wildcards.method}."
        script:
            "../workflow_scripts/run_retention.py"

    rule retention:
        input:
            records=retention_files(""),
        output:
            **(figure_files("retention") | {"csv": "results/retention.csv"}),
        log:
            "logs/retention.log",
        benchmark:
            f"{STAGES}/benchmarks/retention.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("draw_retention", data=["reporting/*.mplstyle"]),
            methods=RETAINED,
            statistics=fields(CONFIG.statistics),
        message:
            "Draw what many edits in one session cost the rest."
        script:
            "../workflow_scripts/draw_retention.py"

    # On request, because it is long: make results/retention_cost.csv.
    rule retention_cost:
        input:
            tables=retention_files(".cost"),
        output:
            csv="results/retention_cost.csv",
        log:
            "logs/retention_cost.log",
        benchmark:
            f"{STAGES}/benchmarks/retention_cost.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("write_retention_cost"),
        message:
            "Write what edits of a long session cost."
        script:
            "../workflow_scripts/write_retention_cost.py"
