"""Record files made up for the tests, and a whole configuration around them."""

import pytest
from made_up_records import BACKBONES, METHODS, TASKS, make_records

from unike_lib.config import load_config
from unike_lib.io import write_table

VALUES = [0.0, 0.01, 1.0]
SWEEPS = {
    "frontier": {"shape": "path", "vary": {name: {"memory_weight": VALUES} for name in ("t-patcher", "unike")}},
    "fixed-alpha": {"shape": "lines", "vary": {"unike": {"alpha": [0.0, 0.4, "dynamic"]}}, "backbones": ["left"]},
    "zetas": {"shape": "dots", "vary": {"unike": {"zeta": ["off", "random"]}}, "tasks": ["caption"]},
    "readings": {"shape": "differences", "vary": {"unike": {"rotate_memory": [True], "attention": ["raw"]}}},
}


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a frame of records to a Parquet file and returns the path."""

    def write(records, name="records"):
        path = tmp_path / f"{name}.parquet"
        write_table(path, records, "mark")
        return path

    return write


@pytest.fixture(scope="session")
def cells(tmp_path_factory):
    """Write records of every cell of Table 1 and return their paths."""
    folder = tmp_path_factory.mktemp("cells")
    paths = []
    for name in [(backbone, task, method) for backbone in BACKBONES for task in TASKS for method in METHODS]:
        paths.append(folder / f"{'-'.join(name)}.parquet")
        write_table(paths[-1], make_records(name), "mark")
    return paths


@pytest.fixture(scope="session")
def config():
    methods = {name: {"method": name} for name in METHODS[:-1]} | {"unike-paper": {"like": "unike"}}
    return load_config(
        {
            "seed": 3,
            "benchmark": {},
            "pretrain": {},
            "knowledge": {},
            "evaluation": {},
            "statistics": {"resamples": 100},
            "backbones": {"left": {"family": "blip2"}, "right": {"family": "minigpt4"}},
            "methods": methods,
            "table1": {"backbones": BACKBONES, "methods": METHODS},
            "figures": {
                "backbones": BACKBONES,
                "fig2a": ["t-patcher", "unike"],
                "sweeps": SWEEPS,
                "qualitative": 2,
            },
            "tuning": {"grids": {}},
        }
    )
