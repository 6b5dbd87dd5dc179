# Tables 1 to 5 of the paper, from records.


rule table:
    input:
        records=lambda wildcards: records_of(wildcards.table),
        admission=admission_of_table,
        counts=COUNTS,
    output:
        token="results/{table}.csv",
        mmedit="results/{table}_mmedit.csv",
        exact="results/{table}_exact.csv",
        generated="results/{table}_generated.csv",
        markdown=report("results/{table}.md", category="Tables"),
    log:
        "logs/{table}.log",
    benchmark:
        f"{STAGES}/benchmarks/{{table}}.tsv"
    wildcard_constraints:
        table=named(CONFIG.tables),
    threads: CONFIG.threads
    resources:
        mem_mb=1500,
    params:
        code=lib("write_table", data=["reporting/paper/*.csv"]),
        table=lambda wildcards: CONFIG.tables[wildcards.table].model_dump(mode="json"),
        families=lambda wildcards: families(CONFIG.tables[wildcards.table].backbones),
        statistics=CONFIG.statistics.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/write_table.py"


rule table5:
    input:
        one_step=records_of("table1"),
        sequential=records_of("table2"),
        counts=COUNTS,
    output:
        token="results/table5.csv",
        mmedit="results/table5_mmedit.csv",
        exact="results/table5_exact.csv",
        generated="results/table5_generated.csv",
        markdown=report("results/table5.md", category="Tables"),
    log:
        "logs/table5.log",
    benchmark:
        f"{STAGES}/benchmarks/table5.tsv"
    threads: CONFIG.threads
    resources:
        mem_mb=1500,
    params:
        code=lib("write_table5", data=["reporting/paper/*.csv"]),
        one_step=CONFIG.table1.model_dump(mode="json"),
        sequential=CONFIG.table2.model_dump(mode="json"),
        statistics=CONFIG.statistics.model_dump(mode="json"),
        seed=CONFIG.seed,
    script:
        "../workflow_scripts/write_table5.py"
