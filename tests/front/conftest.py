"""Tiny models that several files export edits of, each made once."""

import pytest
from exported import make_tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    known = {}

    def make(name):
        if name not in known:
            known[name] = make_tiny(tmp_path_factory.mktemp(name), name)
        return known[name]

    return make
