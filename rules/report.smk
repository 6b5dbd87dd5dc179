# Figures from records, and tables about backbones, encoders and settings.


rule positive_control_table:
    input:
        scores=of_each_backbone("positive_control/{backbone}.parquet", SHOWN),
        readouts=of_each_backbone("positive_control/{backbone}_readout.csv", SHOWN),
    output:
        csv="results/positive_control.csv",
        readout="results/positive_control_readout.csv",
        markdown=shown("results/positive_control.md", "Tables", criterion="all", file="Markdown"),
        windows=of_each_backbone("positive_control/{backbone}_windows.csv", SHOWN),
    log:
        "logs/positive_control_table.log",
    benchmark:
        f"{STAGES}/benchmarks/positive_control_table.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_positive_control"),
        statistics=fields(CONFIG.statistics),
    message:
        "Write the verdicts of the positive control."
    script:
        "../workflow_scripts/write_positive_control.py"


rule diagnostics_table:
    input:
        tables=of_each_backbone("diagnostics/{backbone}.csv", SHOWN),
    output:
        csv="results/diagnostics.csv",
        markdown=shown("results/diagnostics.md", "Tables", criterion="all", file="Markdown"),
    log:
        "logs/diagnostics_table.log",
    benchmark:
        f"{STAGES}/benchmarks/diagnostics_table.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_diagnostics"),
    message:
        "Write what the backbones know before any edit."
    script:
        "../workflow_scripts/write_diagnostics.py"


if SEQUENTIAL:

    rule forgetting:
        input:
            records=records_of(SEQUENTIAL),
        output:
            **figure_files("forgetting"),
        log:
            "logs/forgetting.log",
        benchmark:
            f"{STAGES}/benchmarks/forgetting.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("draw_forgetting", data=["reporting/*.mplstyle"]),
            methods=CONFIG.tables[SEQUENTIAL].methods,
            statistics=fields(CONFIG.statistics),
        message:
            "Draw what later edits of a session leave of earlier ones."
        script:
            "../workflow_scripts/draw_forgetting.py"


rule encoder_losses:
    input:
        losses=of_each_backbone("knowledge/{backbone}/encoder_losses.csv"),
    output:
        **figure_files("encoder_losses"),
    log:
        "logs/encoder_losses.log",
    benchmark:
        f"{STAGES}/benchmarks/encoder_losses.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("draw_encoder_losses", data=["reporting/*.mplstyle"]),
        backbones=FIRST.backbones,
    message:
        "Draw the training of the contrastive encoders."
    script:
        "../workflow_scripts/draw_encoder_losses.py"


rule tuning:
    input:
        trials=of_each_backbone("tuning/{backbone}/{method}.csv", method=list(CONFIG.tuning.grids)),
    output:
        csv=shown("results/tuning.csv", "Tables", criterion="token", file="CSV"),
    log:
        "logs/tuning.log",
    benchmark:
        f"{STAGES}/benchmarks/tuning.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=TABLES,
    params:
        code=lib("write_tuning"),
    message:
        "Write the table of all searches."
    script:
        "../workflow_scripts/write_tuning.py"
