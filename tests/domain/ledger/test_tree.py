"""The tree against the known answers of RFC 6962 implementations and against pymerkle, which shares no code with it."""

import itertools

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ledger import tree
from bot.domain.ledger.tree import Node

LEAVES = [
    *(b"", b"\x00", b"\x10", bytes.fromhex("2021"), bytes.fromhex("3031"), bytes.fromhex("40414243")),
    *(bytes.fromhex("5051525354555657"), bytes.fromhex("606162636465666768696a6b6c6d6e6f")),
]
"""The leaves of the tests of Certificate Transparency."""

ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSIONS = {  # (index, size): the path
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
CONSISTENCIES = {  # (old, new): the proof
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
"""All from the tests of github.com/google/certificate-transparency (merkletree/merkle_tree_test.cc)."""

COUNTS = st.integers(1, 200)


def grown(leaves: list[bytes]) -> dict[Node, bytes]:
    """The stored nodes after these appends, each of which saw only what it needs."""
    nodes: dict[Node, bytes] = {}
    for index, leaf in enumerate(leaves):
        known = {node: nodes[node] for node in tree.neighbours(index)}
        made = tree.appended(known, index, tree.leaf_hash(leaf))
        assert not nodes.keys() & made.keys()
        nodes |= made
    return nodes


def oracle(leaves: list[bytes]) -> pymerkle.InmemoryTree:
    found = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        found.append_entry(leaf)
    return found


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


def including(nodes: dict[Node, bytes], index: int, size: int) -> list[bytes]:
    return tree.path(nodes, tree.inclusion(index, size))


def extending(nodes: dict[Node, bytes], old: int, new: int) -> list[bytes]:
    return tree.path(nodes, tree.consistency(old, new))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_known_ones(size: int) -> None:
    assert tree.root(grown(LEAVES), size).hex() == ROOTS[size]


@pytest.mark.parametrize("place", INCLUSIONS)
def test_proofs_of_inclusion_are_the_known_ones(place: tuple[int, int]) -> None:
    index, size = place
    path = including(grown(LEAVES), index, size)
    assert tuple(hashed.hex() for hashed in path) == INCLUSIONS[place]
    assert tree.includes(bytes.fromhex(ROOTS[size]), size, index, tree.leaf_hash(LEAVES[index]), path)


@pytest.mark.parametrize("sizes", CONSISTENCIES)
def test_proofs_of_consistency_are_the_known_ones(sizes: tuple[int, int]) -> None:
    old, new = sizes
    proof = extending(grown(LEAVES), old, new)
    assert tuple(hashed.hex() for hashed in proof) == CONSISTENCIES[sizes]
    assert tree.extends(bytes.fromhex(ROOTS[old]), old, bytes.fromhex(ROOTS[new]), new, proof)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=80))
def test_every_root_is_that_of_pymerkle(leaves: list[bytes]) -> None:
    nodes, other = grown(leaves), oracle(leaves)
    assert [tree.root(nodes, n) for n in range(len(leaves) + 1)] == [other.get_root(n) for n in range(len(leaves) + 1)]


@given(COUNTS, st.data())
def test_pymerkle_takes_our_proofs_of_inclusion_and_we_take_its(size: int, data: st.DataObject) -> None:
    index, count = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 9)) + size
    leaves = numbered(count)
    nodes, other = grown(leaves), oracle(leaves)
    ours, theirs = including(nodes, index, size), other.prove_inclusion(index + 1, size)
    leaf, root = tree.leaf_hash(leaves[index]), other.get_root(size)

    assert tree.includes(root, size, index, leaf, theirs.path[1:])
    theirs.path = [leaf, *ours]
    pymerkle.verify_inclusion(leaf, root, theirs, index=index + 1, size=size)


@given(COUNTS, st.data())
def test_proofs_of_consistency_hold_between_the_roots_of_pymerkle_and_the_other_way_round(
    old: int, data: st.DataObject
) -> None:
    """Its proofs have another layout than those of RFC 9162 where the old tree ends at a split; roots are the same."""
    new = old + data.draw(st.integers(0, 100))
    leaves = numbered(new)
    nodes, other = grown(leaves), oracle(leaves)
    theirs = other.prove_consistency(old, new)
    ranges = tree.consistency(old, new)

    assert [other._get_root(start, end) for start, end in ranges] == tree.path(nodes, ranges)
    assert tree.extends(other.get_root(old), old, other.get_root(new), new, tree.path(nodes, ranges))
    pymerkle.verify_consistency(tree.root(nodes, old), tree.root(nodes, new), theirs, prior_size=old, later_size=new)


@given(COUNTS, st.data())
def test_no_other_proof_of_inclusion_holds(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    nodes = grown(numbered(size))
    path, root = including(nodes, index, size), tree.root(nodes, size)
    leaf = tree.leaf_hash(str(index).encode())
    other = data.draw(st.integers(-1, size + 1).filter(lambda n: n != index))
    assert tree.includes(root, size, index, leaf, path)

    assert not tree.includes(root, size, other, leaf, path)
    assert not tree.includes(root, size, index, tree.leaf_hash(b"other"), path)
    assert not tree.includes(tree.leaf_hash(b"root"), size, index, leaf, path)
    assert not tree.includes(root, size, index, leaf, [*path, bytes(32)])
    for place, _ in enumerate(path):
        assert not tree.includes(root, size, index, leaf, path[:place] + path[place + 1 :])
        assert not tree.includes(root, size, index, leaf, [*path[:place], bytes(32), *path[place + 1 :]])


@given(COUNTS, st.data())
def test_no_other_proof_of_consistency_holds(old: int, data: st.DataObject) -> None:
    new = old + data.draw(st.integers(1, 60))
    nodes = grown(numbered(new))
    proof, before, after = extending(nodes, old, new), tree.root(nodes, old), tree.root(nodes, new)
    assert tree.extends(before, old, after, new, proof)

    assert not tree.extends(bytes(32), old, after, new, proof)
    assert not tree.extends(before, old, bytes(32), new, proof)
    assert not tree.extends(after, new, before, old, proof)
    assert not tree.extends(before, old, after, new, [*proof, bytes(32)])
    for place, _ in enumerate(proof):
        assert not tree.extends(before, old, after, new, [*proof[:place], bytes(32), *proof[place + 1 :]])
        assert not tree.extends(before, old, after, new, proof[:place] + proof[place + 1 :])


def test_an_append_reads_and_writes_no_more_than_the_height_of_the_tree() -> None:
    for index in range(2000):
        nodes = dict.fromkeys(tree.neighbours(index), bytes(32))
        made = tree.appended(nodes, index, bytes(32))
        assert len(made) == len(nodes) + 1 <= (index + 1).bit_length()


def test_every_proof_is_folded_from_few_nodes() -> None:
    for size, index in itertools.product((1000, 1023, 1024, 1025), (0, 512, 999)):
        assert len(tree.needed(tree.inclusion(index, size))) <= 20
