"""The top 40 of a memory for 16 questions at once: FAISS against brute force (all cosines, then the largest)."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.timing import Row, compare, in_turn
from unike_lib.knowledge.memory import Memory

TOP, QUESTIONS, WIDTH = 40, 16, 128


def brute_force(keys: Tensor, queries: Tensor, k: int) -> Tensor:
    return (normalize(queries, dim=-1) @ normalize(keys, dim=-1).T).topk(k).indices


def brute_force_kept(unit: Tensor, queries: Tensor, k: int) -> Tensor:
    return (normalize(queries, dim=-1) @ unit.T).topk(k).indices


def measure(entries: int, rounds: int, width: int = WIDTH) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(entries, width, generator=generator)
    queries = torch.randn(QUESTIONS, width, generator=generator)
    unit, memory = normalize(keys, dim=-1), Memory({0: keys}, {0: keys[:1]})
    found = memory.search(0, queries, TOP)[0]
    if not torch.equal(found, brute_force(keys, queries, TOP)):
        raise RuntimeError(f"{entries} entries: the two searches do not find the same")
    ways = {
        "brute force": lambda: brute_force(keys, queries, TOP),
        "brute force, unit keys kept": lambda: brute_force_kept(unit, queries, TOP),
        "FAISS": lambda: memory.search(0, queries, TOP),
    }
    times, what = in_turn(ways, rounds), f"search, {entries:,} entries, d = {width}"
    names = list(ways)
    return [
        compare(what, {name: times[name] for name in (names[0], names[2])}),
        compare(what, {name: times[name] for name in names[1:]}),
    ]
