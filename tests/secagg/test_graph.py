"""The graph of neighbours: mutual, of even degree, and in one piece whoever is taken out."""

from itertools import combinations

import pytest

from wardround.secagg import shape_of
from wardround.secagg.members import neighbours_of


def graph_of(num_members, num_neighbours):
    order = list(range(num_members))
    return {name: neighbours_of(name, order, num_neighbours) for name in order}


def in_one_piece(graph, left):
    reached, ahead = set(), [min(left)]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += graph[name] & left
    return reached == left


SPARSE = [
    (n, m, c)
    for n in range(4, 15)
    for c in range(3)
    for m in range(2, n + 1)
    if max(m, (n + 1 + c) // 2 + 1) <= n and shape_of(n, m, c).num_neighbours < n - 1
]


@pytest.mark.parametrize(("num_members", "num_neighbours"), [(5, 2), (5, 4), (6, 4), (6, 5), (2, 1), (9, 8), (10, 6)])
def test_neighbours_are_mutual_distinct_and_as_many_as_asked(num_members, num_neighbours):
    graph = graph_of(num_members, num_neighbours)
    for name, neighbours in graph.items():
        assert name not in neighbours
        assert len(neighbours) == num_neighbours
        assert all(name in graph[other] for other in neighbours)


@pytest.mark.parametrize(("num_members", "num_neighbours"), [(8, 2), (8, 4), (9, 4), (10, 6), (7, 6)])
def test_a_ring_stays_in_one_piece_without_any_k_minus_1_and_not_without_some_k(num_members, num_neighbours):
    graph, everyone = graph_of(num_members, num_neighbours), set(range(num_members))
    for gone in combinations(everyone, num_neighbours - 1):
        assert in_one_piece(graph, everyone - set(gone))
    if num_neighbours < num_members - 1:
        assert not all(in_one_piece(graph, everyone - set(gone)) for gone in combinations(everyone, num_neighbours))


def test_honest_survivors_stay_in_one_piece_whoever_colludes_and_drops():
    assert len(SPARSE) > 10
    for n, m, c in SPARSE:
        shape = shape_of(n, m, c)
        graph, everyone = graph_of(n, shape.num_neighbours), set(range(n))
        for gone in combinations(everyone, c + shape.num_members - shape.quorum):
            assert in_one_piece(graph, everyone - set(gone)), (n, m, c)


def test_nobody_who_is_told_another_list_comes_loose_from_the_rest():
    """m hospitals that do not confirm, each with a list that lacks d others; d - m are listed as dropped, c collude."""
    cases = {(shape_of(n, m, c), n, c) for n, m, c in SPARSE} | {
        (shape_of(n, 2, c), n, c) for n in range(3, 9) for c in range(2) if (n + 1 + c) // 2 + 1 <= n
    }
    tried = 0
    for shape, n, c in sorted(cases, key=str):
        graph, d = graph_of(n, shape.num_neighbours), n - shape.quorum
        for size in range(1, d + 1):
            for others in combinations(range(1, n), size - 1):  # the ring looks alike from everywhere
                group = (0, *others)
                outside = set(range(n)) - set(group)
                for gone in combinations(outside, min(c + d - size, len(outside))):
                    edges_left = max(len(graph[name] & outside - set(gone)) - d for name in group)
                    assert edges_left > 0, (shape, group, gone)
                    tried += 1
    assert tried > 1000, tried
