"""Check an audit bundle of Botschaft with nothing but Python's standard library.

Usage: python3 -I verify.py [FILE ...]. Each FILE is a checkpoint that you kept, or the proof (.tlog-proof) that a
customer has. Signatures are for OpenSSL: see VERIFY.md. Roots and proofs are computed as RFC 9162 §2.1 says, formats
are those of c2sp.org.
"""

import base64
import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
problems = []


def say(good, text):
    """Print one line and remember what is wrong."""
    print("ok   " if good else "WRONG", text)
    if not good:
        problems.append(text)


def sha(*parts):
    """SHA-256 over all parts."""
    return hashlib.sha256(b"".join(parts)).digest()


def commitment(salt, payload):
    """Return what stands in leaves.bin for an entry."""
    return sha(b"consent-event/v1\x00", salt, payload)


def leaf_hash(committed):
    """Return the hash of a leaf: one byte for its sort, and the commitment."""
    return sha(b"\x00", b"\x01", committed)


def roots(leaves, sizes):
    """Return the root of the first `size` leaves, for each of these sizes."""
    found, stack = {0: sha(b"")}, []
    for count, leaf in enumerate(leaves, 1):
        stack.append((0, leaf))
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            (level, left), (_, right) = stack[-2:]
            stack[-2:] = [(level + 1, sha(b"\x01", left, right))]
        if count in sizes:
            root = stack[-1][1]
            for _, left in reversed(stack[:-1]):
                root = sha(b"\x01", left, root)
            found[count] = root
    return found


def read_checkpoint(note):
    """Return origin, size and root of a checkpoint."""
    origin, size, root = note.split("\n")[:3]
    return origin, int(size), base64.b64decode(root, validate=True)


def check_proof(text, leaves):
    """Check a customer's proof against its own checkpoint, and its entry against the bundle."""
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")[1:]
    extra = base64.b64decode(lines.pop(0)[6:]) if lines[0].startswith("extra ") else b""
    index, path = int(lines.pop(0)[6:]), [base64.b64decode(line) for line in lines]
    _, size, root = read_checkpoint(note)
    leaf = leaf_hash(commitment(extra[:32], extra[32:])) if extra else (leaves[index] if index < len(leaves) else b"")
    say(index < len(leaves) and leaves[index] == leaf, f"  entry {index} is in the bundle as the proof says")
    place, last, found = index, size - 1, leaf
    for hashed in path:
        if place & 1 or place == last:
            found = sha(b"\x01", hashed, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = sha(b"\x01", found, hashed)
        place, last = place >> 1, last >> 1
    say(last == 0 and found == root, f"  entry {index} is under the root of the proof's checkpoint (size {size})")
    print("       fingerprint", "-".join(base64.b32encode(leaf).decode()[n : n + 4] for n in (0, 4, 8)))
    if extra:
        print("       content    ", "".join(c if c.isprintable() else "?" for c in extra[32:].decode()))


def opened(name, leaves):
    """Return index and content of the entries that are opened in a file of the bundle and are what they say."""
    found = []
    for line in (HERE / name).read_text("utf-8").splitlines():
        entry = json.loads(line)
        index, payload = entry["index"], entry["payload"].encode()
        committed = commitment(bytes.fromhex(entry["salt"]), payload)
        fits = index < len(leaves) and leaf_hash(committed) == leaves[index]
        said = json.loads(payload)
        say(fits, f"entry {index} is what {name} says: {said['type']}")
        found += [(index, said)] if fits else []
    return found


def check_erasures(leaves):
    """Each content that is gone must have an entry that says so; these entries are opened in the bundle."""
    covers = {index: said["covers"] for index, said in opened("erasures.jsonl", leaves)}
    gone = [line.split(",") for line in (HERE / "tombstones.csv").read_text("utf-8").split()[1:]]
    for index, erased_by in gone:
        if int(index) not in covers.get(int(erased_by), []):
            say(False, f"the content of entry {index} is gone, and entry {erased_by} does not say so")
    print(f"       {len(leaves)} entries, the content of {len(gone)} was erased")


def check_texts(leaves):
    """Each text that customers were shown is in the bundle, and the ledger says since when it was these words."""
    said = [content for _, content in opened("published.jsonl", leaves) if content["type"] == "text_published"]
    published = {content["sha256"]: content for content in reversed(said)}
    texts = {file.stem: file.read_bytes() for file in sorted((HERE / "texts").iterdir())}
    for name, words in texts.items():
        say(hashlib.sha256(words).hexdigest() == name, f"texts/{name}.txt has the words of its hash")
        if name not in published:
            print(f"       texts/{name}.txt was never published in this ledger")
    for name, said in published.items():
        what = f"{said['text']} {said['version']} ({said['language']}), published {said['at'][:10]}"
        say(name in texts, f"{what}: texts/{name}.txt")


def main(files):
    """Check everything; return the exit code."""
    data = (HERE / "leaves.bin").read_bytes()
    leaves = [leaf_hash(data[place : place + 32]) for place in range(0, len(data), 32)]
    kept = [path for path in (*sorted((HERE / "checkpoints").iterdir()), HERE / "anchor.txt") if path.exists()]
    texts = {path: path.read_text("utf-8") for path in [*kept, *map(pathlib.Path, files)]}
    notes = {
        path: text.partition("\n\n")[2] if text.startswith("c2sp.org/tlog-proof") else text
        for path, text in texts.items()
    }
    known = roots(leaves, {read_checkpoint(note)[1] for note in notes.values()})
    for path, note in notes.items():
        origin, size, root = read_checkpoint(note)
        if size > len(leaves):
            say(False, f"{path.name}: size {size}, but the bundle has {len(leaves)} entries: some are missing")
        else:
            say(known[size] == root, f"{path.name}: root of the first {size} entries of {origin}")
        if texts[path] != note:
            check_proof(texts[path], leaves)
    check_erasures(leaves)
    check_texts(leaves)
    if not files:
        print("       No checkpoint from outside was given: this shows only that the bundle agrees with itself.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
