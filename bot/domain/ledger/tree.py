"""The Merkle tree of RFC 9162 §2.1: roots, and proofs that an entry is in it and that it only ever grew.

A tree is told by its *perfect* nodes: node (level, position) stands over the 2**level leaves from position * 2**level
on, and never changes once they are all there. An append makes one of them on average, log2(n) at most. Everything else
is folded from at most log2(n) of them. Ranges are (start, end) of leaves, counted from zero, the end excluded.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class Node(NamedTuple):
    """The place of a perfect node."""

    level: int
    position: int


Range = tuple[int, int]
Nodes = Mapping[Node, bytes]


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf (RFC 9162 §2.1.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two neighbours."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def peaks(leaves: Range) -> list[Node]:
    """Return the perfect nodes over a range, left to right. The range must be one that RFC 9162 splits a tree into."""
    start, end = leaves
    found = []
    for level in range((end - start).bit_length() - 1, -1, -1):
        if (end - start) >> level:
            found.append(Node(level, start >> level))
            start += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the hash over perfect nodes that stand beside each other, left to right."""
    if not hashes:
        return EMPTY_ROOT
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = node_hash(left, found)
    return found


def root(nodes: Nodes, size: int) -> bytes:
    """Return the root of the tree of the first `size` leaves, from their `peaks`."""
    return fold([nodes[node] for node in peaks((0, size))])


def neighbours(index: int) -> list[Node]:
    """Return the nodes that an append of leaf `index` needs: what becomes a left child through it, lowest first."""
    found = []
    level = 0
    while index >> level & 1:
        found.append(Node(level, (index >> level) - 1))
        level += 1
    return found


def appended(nodes: Nodes, index: int, leaf: bytes) -> dict[Node, bytes]:
    """Return the nodes that leaf `index` with this hash completes, from its `neighbours`."""
    made = {Node(0, index): leaf}
    found = leaf
    for level, position in neighbours(index):
        found = node_hash(nodes[Node(level, position)], found)
        made[Node(level + 1, position >> 1)] = found
    return made


def inclusion(index: int, size: int) -> list[Range]:
    """Return the ranges whose hashes prove that leaf `index` is in the tree of `size` leaves (RFC 9162 §2.1.3.1)."""
    assert 0 <= index < size
    start, end = 0, size
    found: list[Range] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return found[::-1]


def consistency(old: int, new: int) -> list[Range]:
    """Return the ranges whose hashes prove that the tree of `new` leaves begins with that of `old` (§2.1.4.1)."""
    assert 0 < old <= new
    start, end = 0, new
    found: list[Range] = []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    return ([(start, end)] if start else []) + found[::-1]


def _split(width: int) -> int:
    """Return the largest power of two below the width."""
    return 1 << (width - 1).bit_length() - 1


def needed(ranges: Iterable[Range]) -> list[Node]:
    """Return all perfect nodes that these ranges are folded from."""
    return [node for leaves in ranges for node in peaks(leaves)]


def path(nodes: Nodes, ranges: Iterable[Range]) -> list[bytes]:
    """Return the hashes of a proof."""
    return [fold([nodes[node] for node in peaks(leaves)]) for leaves in ranges]


def includes(root_hash: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Check a proof of inclusion (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for hashed in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(hashed, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, hashed)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root_hash


def extends(old_root: bytes, old: int, new_root: bytes, new: int, proof: Sequence[bytes]) -> bool:
    """Check a proof of consistency (RFC 9162 §2.1.4.2)."""
    if old == new:
        return old_root == new_root and not proof
    if not 0 < old < new or not proof:
        return False
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = hashes[0]
    for hashed in hashes[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(hashed, before), node_hash(hashed, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, hashed)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
