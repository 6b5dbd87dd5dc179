"""What tables and the report read of the configuration: taken out when the workflow is planned, as JSON parameters."""

from typing import Any

from unike_lib.config.base import Section
from unike_lib.config.evaluation import StatisticsConfig, TuningConfig
from unike_lib.config.originals import departure_lines, rows_of_tables
from unike_lib.config.run import Config
from unike_lib.config.setting_list import setting_rows
from unike_lib.config.tables import TableConfig
from unike_lib.method import Kind, find_method, method_of, paper_row, resolve_method, row_title


class TableParts(Section):
    """What a table reads.

    entry: its own; tables: those whose cells it has, by name: itself, or those that it averages; titles: how rows are
    named, by method variant; paper_rows: the paper's row of each variant that has one; families: by backbone; unedited:
    method variants that edit nothing; readers: those that read a latent memory; departures: backbone, method and what
    departs from the originals, of each row that departs; readings: what the methods' rooms say of how rows are read;
    cut: greedy answers end after so many tokens, None: there are none; criteria: by which it is scored; benchmark: what
    the user's is called, None: the embedded one.
    """

    name: str
    entry: TableConfig
    tables: dict[str, TableConfig]
    titles: dict[str, str]
    paper_rows: dict[str, str]
    families: dict[str, str]
    unedited: tuple[str, ...]
    readers: tuple[str, ...]
    departures: tuple[tuple[str, str, str], ...]
    cut: int | None
    criteria: tuple[str, ...]
    readings: tuple[str, ...]
    seeds: tuple[int, ...]
    benchmark: str | None
    statistics: StatisticsConfig


class ReportParts(Section):
    """What the report reads.

    tables: by name; backbones: all that are shown; embedded: those of them that are trained here; benchmark: as in
    `TableParts`; methods: the entries of all variants; kinds: their classes; settings: every one with its source, to be
    printed (`setting_rows`).
    """

    tables: dict[str, TableParts]
    backbones: tuple[str, ...]
    embedded: tuple[str, ...]
    benchmark: str | None
    methods: dict[str, dict[str, Any]]
    kinds: dict[str, Kind]
    tuning: TuningConfig
    statistics: StatisticsConfig
    settings: tuple[dict[str, Any], ...]


def table_parts(config: Config, name: str) -> TableParts:
    """Return what a table reads."""
    entry = config.tables[name]
    tables = {each: config.tables[each] for each in entry.averages.values() or (name,)}
    rows = rows_of_tables(tables.values())
    settings = {(backbone, method): resolve_method(config.methods, method, backbone) for backbone, method in rows}
    variants = {method: method_of(config.methods, method) for _, method in rows}
    needs = {name: method.needs_of(resolve_method(config.methods, name)) for name, method in variants.items()}
    readings = [find_method(each.method).reading(each) for each in settings.values()]
    return TableParts(
        name=name,
        entry=entry,
        tables=tables,
        titles={name: row_title(config.methods, name) for name in variants},
        paper_rows={name: row for name in variants if (row := paper_row(config.methods, name))},
        families={backbone: config.backbones[backbone].family for backbone, _ in rows},
        unedited=tuple(name for name, method in variants.items() if method.kind == "unedited"),
        readers=tuple(name for name, needed in needs.items() if "memory" in needed),
        departures=tuple(departure_lines(config, rows)),
        cut=config.evaluation.max_new_tokens if config.evaluation.generate else None,
        criteria=config.evaluation.criteria,
        readings=tuple(dict.fromkeys(filter(None, readings))),
        seeds=config.seeds,
        benchmark=config.benchmark.title,
        statistics=config.statistics,
    )


def report_parts(config: Config) -> ReportParts:
    """Return what the report reads."""
    shown = tuple(dict.fromkeys(name for names in config.shown.values() for name in names))
    return ReportParts(
        tables={name: table_parts(config, name) for name in config.tables},
        backbones=shown,
        embedded=tuple(name for name in shown if config.backbones[name].made_here),
        benchmark=config.benchmark.title,
        methods=config.methods,
        kinds={
            name: method_of(config.methods, name).kind if paper_row(config.methods, name) else "other"
            for name in config.methods
        },
        tuning=config.tuning,
        statistics=config.statistics,
        settings=tuple(setting_rows(config.model_dump(mode="json"))),
    )
