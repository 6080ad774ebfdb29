"""Is the ledger what it was? Everything is computed anew from the entries; each difference is named with its place.

What a forger with the database *and* the key made consistent cannot be seen from inside. Only a checkpoint that was
kept elsewhere tells it; therefore a report says what it was compared with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.domain.ledger import tree
from bot.domain.ledger.entries import SALT_BYTES, LedgerKind, commitment, fact_of, hash_of_entry
from bot.domain.ledger.notes import Checkpoint, NotOurs, Verifier
from bot.domain.ledger.tree import Node


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as it stands in the tables. `has_content`: there is a row for its content, if an empty one."""

    position: int
    committed: bytes
    has_content: bool = True
    salt: bytes | None = None
    payload: bytes | None = None
    subject: str | None = None
    kind: str | None = None
    erased_by: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `position` of the entry it is about, None if it is about a whole stretch."""

    position: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.position is None else f"Entry {self.position}: {self.what}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A signed checkpoint to compare with, and where it comes from."""

    where: str
    note: str


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found. `agreed`: the claims that fit, by where they come from, with their sizes."""

    size: int
    root: bytes
    findings: tuple[Finding, ...]
    agreed: tuple[tuple[str, int], ...]
    erased: int
    restored: tuple[int, ...]

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing is wrong, as far as it was compared."""
        return not self.findings


class Audit:
    """Takes the rows one by one, in their order. `stored`: the nodes of the tree as they stand in the tables."""

    def __init__(self, verifier: Verifier, stored: Mapping[Node, bytes], claims: Iterable[Claim]) -> None:
        self._stored = dict(stored)
        self._findings: list[Finding] = []
        self._agreed: list[tuple[str, int]] = []
        self._signed: dict[int, list[tuple[Claim, Checkpoint]]] = {}
        self._nodes: dict[Node, bytes] = {}
        self._differing: set[Node] = set()
        self._size = 0
        self._fitting = 0
        self._is_whole = True
        self._blank: dict[int, int] = {}
        self._covers: dict[int, frozenset[int]] = {}
        self._restored: list[int] = []
        for claim in claims:
            try:
                checkpoint = verifier.opened(claim.note)
            except NotOurs as error:
                self._say(None, f"{claim.where} is not to be believed: {error}.")
            else:
                self._signed.setdefault(checkpoint.size, []).append((claim, checkpoint))
        self._compare()

    def take(self, row: Row) -> None:
        """Look at the next entry."""
        self._fill_gap(row.position)
        if row.position < self._size:
            self._say(row.position, "it is there twice.")
            return
        self._content(row)
        self._append(hash_of_entry(row.committed))

    def _fill_gap(self, end: int) -> None:
        """Go on behind missing entries with the leaf hashes that the stored tree still has, as long as it has them."""
        if end <= self._size:
            return
        first = self._size
        self._say(first, "it is missing." if end == first + 1 else f"it is missing, and all up to {end - 1}.")
        while self._is_whole and self._size < end:
            leaf = self._stored.get(Node(0, self._size))
            if leaf is None:
                self._say(None, f"From entry {self._size} on no root can be computed.")
                self._is_whole = False
            else:
                self._append(leaf)
        self._size = end

    def _append(self, leaf: bytes) -> None:
        if not self._is_whole:
            self._size += 1
            return
        for node, hashed in tree.appended(self._nodes, self._size, leaf).items():
            self._nodes[node] = hashed
            self._compare_node(node, hashed)
        self._forget(self._size)
        self._size += 1
        self._compare()

    def _forget(self, index: int) -> None:
        """Keep only the peaks: what became a child is not needed any more."""
        for level, position in tree.neighbours(index):
            for child in (position, position + 1):
                self._nodes.pop(Node(level, child))

    def _compare_node(self, node: Node, hashed: bytes) -> None:
        stored = self._stored.pop(node, None)
        if stored == hashed:
            return
        level, position = node
        self._differing.add(node)
        first, last = position << level, ((position + 1) << level) - 1
        if level == 0:
            self._say(first, "its commitment was changed." if stored else "the stored tree lacks it.")
        elif not {Node(level - 1, 2 * position), Node(level - 1, 2 * position + 1)} & self._differing:
            how = "is another one" if stored else "is missing"
            self._say(None, f"Entries {first} to {last}: the stored hash over them {how}.")

    def _compare(self) -> None:
        """Compare with the claims of this size."""
        signed = self._signed.pop(self._size, [])
        if not signed:
            return
        root = tree.root(self._nodes, self._size)
        for claim, checkpoint in signed:
            if checkpoint.root == root:
                self._agreed.append((claim.where, self._size))
            else:
                self._say(None, f"{claim.where} (size {self._size}) was signed over other entries: {self._suspects()}.")
        if any(checkpoint.root == root for _, checkpoint in signed):
            self._fitting = self._size

    def _suspects(self) -> str:
        first, last = self._fitting, self._size - 1
        return f"entry {first} was changed" if first >= last else f"one of the entries {first} to {last} was changed"

    def _content(self, row: Row) -> None:
        if not row.has_content:
            self._say(row.position, "its content is missing, though it was not erased.")
        elif row.erased_by is not None:
            self._blank[row.position] = row.erased_by
            if row.salt is not None or row.payload is not None:
                self._say(row.position, "it is marked as erased, but something of it is still there.")
        elif row.salt is None or row.payload is None:
            self._say(row.position, "its content is gone, and no entry says that it was erased.")
        elif len(row.salt) != SALT_BYTES or commitment(row.salt, row.payload) != row.committed:
            self._say(row.position, "its content is not what it was: it does not fit the commitment.")
        else:
            self._read(row, row.payload)

    def _read(self, row: Row, payload: bytes) -> None:
        try:
            fact = fact_of(payload)
        except ValueError as error:
            self._say(row.position, f"its content cannot be read: {error}.")
            return
        if (fact.subject, fact.kind.value) != (row.subject, row.kind):
            self._say(row.position, "it is filed under another customer or kind than its content says.")
        if fact.kind is LedgerKind.ERASED:
            covers = fact.details.get("covers")
            listed = covers if isinstance(covers, list) else []
            self._covers[row.position] = frozenset(part for part in listed if isinstance(part, int))
        if fact.kind is LedgerKind.RESTORED:
            self._restored.append(row.position)

    def closed(self, orphans: Iterable[int] = ()) -> Report:
        """Return the report. `orphans`: contents to which there is no entry."""
        for position in orphans:
            self._say(position, "there is a content, but no such entry.")
        for position in sorted(node.position for node in self._stored if node.level == 0):
            if position >= self._size:
                self._say(position, "the stored tree has it, but the entry is missing.")
        left = sum(1 for node in self._stored if node.level > 0)
        if left and self._is_whole:
            self._say(None, f"The stored tree has {left} hashes over entries that are not there.")
        for size, signed in sorted(self._signed.items()):
            for claim, _ in signed:
                self._too_large(claim, size)
        self._erasures()
        root = tree.root(self._nodes, self._size) if self._is_whole else b""
        return Report(
            *(self._size, root, tuple(self._findings), tuple(self._agreed), len(self._blank), tuple(self._restored))
        )

    def _too_large(self, claim: Claim, size: int) -> None:
        if size > self._size:
            first, last = self._size, size - 1
            missing = f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"
            self._say(None, f"{claim.where} has size {size}, but the ledger has {self._size} entries: {missing}.")
        else:
            self._say(
                None, f"{claim.where} (size {size}) could not be compared, because entries before it are missing."
            )

    def _erasures(self) -> None:
        for position, by in sorted(self._blank.items()):
            if position not in self._covers.get(by, ()):
                self._say(position, f"its content is gone, but entry {by} does not say that it was erased.")
        for by, covers in sorted(self._covers.items()):
            for position in sorted(covers):
                if self._blank.get(position) is None:
                    self._say(position, f"entry {by} says that it was erased, but it was not.")

    def _say(self, position: int | None, what: str) -> None:
        self._findings.append(Finding(position, what))
