"""Record files made up for the tests, and a whole configuration around them."""

import pytest
from made_up_records import BACKBONES, METHODS, TASKS, VARIANTS, control_scores, make_records

from unike_lib.config.run import Config
from unike_lib.io import write_table

VALUES = [0.0, 0.01, 1.0]
SWEEPS = {
    "frontier": {"shape": "path", "vary": {name: {"memory_weight": VALUES} for name in ("t-patcher", "unike")}},
    "fixed-alpha": {"shape": "lines", "vary": {"unike": {"alpha": [0.0, 0.4, "dynamic"]}}, "backbones": ["left"]},
    "zetas": {"shape": "dots", "vary": {"unike": {"zeta": ["off", "random"]}}, "tasks": ["caption"]},
    "readings": {"shape": "differences", "vary": {"unike": {"rotate_memory": [True], "attention": ["raw"]}}},
}

TITLES = {f"table{n}": {"title": f"Table {n}: made up", "paper": f"table{n}"} for n in range(1, 6)}
LONGER = {"backbones": ["right"], "methods": ["t-patcher", "unike"]}


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a frame of records to a Parquet file and returns the path."""

    def write(records, name="records"):
        path = tmp_path / f"{name}.parquet"
        write_table(path, records, "fingerprint")
        return path

    return write


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """Write records of every cell of Table 1 and return their paths."""
    folder = tmp_path_factory.mktemp("cells")
    paths = []
    for name in [(backbone, task, method) for backbone in BACKBONES for task in TASKS for method in METHODS]:
        paths.append(folder / f"{'-'.join(name)}.parquet")
        write_table(paths[-1], make_records(name), "fingerprint")
    return paths


@pytest.fixture(scope="session")
def table_cells(tmp_path_factory, config, cells):
    """Write records of every cell of Tables 1 to 4, 25 edits per cell but in Table 1, and return paths by table."""
    folder = tmp_path_factory.mktemp("table_cells")
    paths = {"table1": cells, **{name: [] for name in ("table2", "table3", "table4")}}
    for name in ("table2", "table3", "table4"):
        rows = config.tables[name]
        for backbone in rows.backbones:
            for task, k in rows.settings:
                for method in rows.methods:
                    path = folder / f"{name}-{backbone}-{task}-{k}-{method}.parquet"
                    write_table(path, make_records((backbone, task, method), edits=25, k=k), "fingerprint")
                    paths[name].append(path)
    return paths


@pytest.fixture(scope="session")
def control(tmp_path_factory):
    """Write scores of the positive control of two backbones: one passes, the other has no use for a memory slot."""
    folder = tmp_path_factory.mktemp("control")
    tables = {"left": control_scores("left"), "right": control_scores("right", latent={"same fact": 0.0})}
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table, "fingerprint")
    return [folder / f"{name}.parquet" for name in tables]


@pytest.fixture(scope="session")
def config():
    methods = {name: {"method": name} for name in METHODS[:-1]} | {"unike-paper": {"like": "unike"}} | VARIANTS
    return Config.model_validate(  # nothing of the default run's entries
        {
            "seed": 3,
            "benchmark": {},
            "pretrain": {},
            "knowledge": {},
            "evaluation": {},
            "statistics": {},
            "backbones": {"left": {"family": "blip2"}, "right": {"family": "minigpt4"}},
            "methods": methods,
            "tables": {
                "table1": TITLES["table1"] | {"backbones": BACKBONES, "methods": METHODS},
                "table2": TITLES["table2"] | LONGER | {"ks": [10, 20]},
                "table3": TITLES["table3"] | LONGER | {"tasks": ["cross"], "ks": [10]},
                "table4": TITLES["table4"] | {"backbones": ["right"], "methods": [*VARIANTS, "unike"]},
                "table5": TITLES["table5"] | {"averages": {"one-step": "table1", "sequential": "table2"}},
            },
            "figures": {
                "backbones": BACKBONES,
                "fig2a": ["t-patcher", "unike"],
                "sweeps": SWEEPS,
                "qualitative": 2,
            },
            "tuning": {"grids": {}},
        }
    )
