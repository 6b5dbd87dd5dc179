# A language model judges what records say: from their texts, so that no edit runs again. Only where judge.folder is set.

JUDGED = f"{STAGES}/judge/{{table}}.parquet"


if CONFIG.judge.folder is not None:

    rule judge_answers:
        input:
            records=lambda wildcards: records_of(wildcards.table),
            cases=lambda wildcards: [file for *_, file in judged_backbones(wildcards)],
            questions=lambda wildcards: user_questions(CONFIG.tables[wildcards.table].backbones),
            model=judge_folder(),
        output:
            verdicts=JUDGED,
        log:
            "logs/judge_answers/{table}.log",
        benchmark:
            f"{STAGES}/benchmarks/judge_answers/{{table}}.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=EDITS,
            gpu=int(CONFIG.judge.device.startswith("cuda")),
            judge=unmarked(CONFIG.judge, "batch_size", "device"),
        params:
            code=lib("judge_answers", data=TEXT_QUESTIONS),
            files=lambda wildcards: files_below(
                CONFIG.judge.folder, *user_questions(CONFIG.tables[wildcards.table].backbones)
            ),
            asked=lambda wildcards: [parts[:2] for parts in judged_backbones(wildcards)],
            judge=fields(CONFIG.judge, "folder", "prompt", "dtype"),
        message:
            "Let a language model judge the answers of {wildcards.table}."
        script:
            "../workflow_scripts/judge_answers.py"

    rule judge:
        input:
            verdicts=expand(JUDGED, table=CELL_TABLES),
        output:
            csv=shown("results/judge.csv", "Tables", criterion="judge", file="CSV"),
            markdown=shown("results/judge.md", "Tables", criterion="judge", file="Markdown"),
        log:
            "logs/judge.log",
        benchmark:
            f"{STAGES}/benchmarks/judge.tsv"
        threads: CONFIG.threads
        resources:
            mem_mb=TABLES,
        params:
            code=lib("write_judge"),
            tables=CELL_TABLES,
            judge=fields(CONFIG.judge, "folder", "prompt"),
        message:
            "Write how often the judge and the criterion normalised agree."
        script:
            "../workflow_scripts/write_judge.py"
