"""Facts and edited pictures that two splits share are found and named."""

import pytest
from mmedit_records import cases_of, record

from unike_lib.benchmark.leaks import check_leaks, find_leaks
from unike_lib.types import InputError


def split(name, index, **changes):
    return cases_of([record(index, **changes)], name)


def test_leaks_of_each_kind_are_found():
    pool = split("pool", 0, facts=["cat/name"])
    clean = split("clean", 1, facts=["dog/name"])
    assert find_leaks({"pool": pool, "eval": clean}) == []
    check_leaks({"pool": pool, "eval": clean})
    for index, changes, found in (
        (2, {"facts": ["cat/name"]}, "fact 'cat/name'"),
        (3, {"image": "a0.png", "facts": ["x"]}, "image 'a0.png'"),
        (4, {"image_rephrase": "a0.png", "facts": ["y"]}, "image 'a0.png'"),
    ):
        with pytest.raises(InputError, match=rf"{found} is in eval \(record e-0\), pool \(record pool-0\)"):
            check_leaks({"pool": pool, "eval": split("e", index, **changes)})
