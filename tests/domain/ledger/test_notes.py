"""Checkpoints and proofs: readable by tools of C2SP and OpenSSL, and not changeable in one character."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ids import UserId
from bot.domain.ledger import tree
from bot.domain.ledger.notes import NotOurs, Proof, Signer, Verifier, opened_proof, origin_of, parsed

ORIGIN = "example.org/werkstatt/ledger"
SIGNER = Signer.from_seed(ORIGIN, b"s" * 32)
SIGNED = SIGNER.sign(300, tree.leaf_hash(b"root"))
PROOF = Proof(5, (bytes(32), bytes(range(32))), SIGNED, b"extra")


def test_the_names_are_those_of_the_specification() -> None:
    """The verifier key of c2sp.org/signed-note, “Example”."""
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(vkey.split("+", 2)[2])[1:])
    assert Verifier(key).vkey("example.com/foo") == vkey
    signature = base64.b64decode(
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    )
    assert signature[:4] == Verifier(key).key_id("example.com/foo")
    key.verify(signature[4:], b"This is an example message.\n")


def test_a_checkpoint_has_the_form_of_the_specification() -> None:
    lines = SIGNED.note.split("\n")
    assert lines[:2] == [ORIGIN, "300"]
    assert base64.b64decode(lines[2]) == SIGNED.root
    assert lines[3] == lines[5] == ""
    assert lines[4].startswith(f"— {ORIGIN} ")
    assert len(lines) == 6


def test_openssl_takes_the_signature(tmp_path: Path) -> None:
    body, _, signatures = SIGNED.note.rpartition("\n\n")
    (tmp_path / "body").write_text(body + "\n")
    (tmp_path / "pem").write_text(SIGNER.verifier.pem)
    (tmp_path / "sig").write_bytes(base64.b64decode(signatures.split()[2])[4:])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pem", "-rawin", "-in", "body", "-sigfile", "sig"]
    good = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (tmp_path / "body").write_text(body.replace("300", "301") + "\n")
    bad = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (good.returncode, good.stdout.strip()) == (0, "Signature Verified Successfully")
    assert bad.returncode != 0


def test_what_was_signed_is_read_and_signing_again_gives_the_same() -> None:
    assert SIGNER.verifier.opened(SIGNED.note) == SIGNED == SIGNER.sign(SIGNED.size, SIGNED.root)


def test_foreign_signatures_beside_ours_are_passed_over() -> None:
    witness = Signer.from_seed("witness.example", b"w" * 32).sign(300, SIGNED.root).note.rpartition("\n\n")[2]
    head, _, ours = SIGNED.note.rpartition("\n\n")
    assert SIGNER.verifier.opened(f"{head}\n\n{witness}{ours}").size == 300


@given(st.integers(0, len(SIGNED.note) - 1), st.sampled_from([*"ABCabc019+/= \n\t—\u2028"]))
def test_no_character_of_a_checkpoint_can_be_another(place: int, letter: str) -> None:
    changed = SIGNED.note[:place] + letter + SIGNED.note[place + 1 :]
    if changed == SIGNED.note:
        return
    with pytest.raises(NotOurs):
        SIGNER.verifier.opened(changed)


@pytest.mark.parametrize(
    "other",
    [
        Signer.from_seed(ORIGIN, b"x" * 32).sign(300, SIGNED.root).note,
        SIGNED.note.replace(f"— {ORIGIN}", "— other"),
        *(
            "",
            "\n\n\n\n\n",
            "x" * 20_000,
            SIGNED.note + "x",
            SIGNED.note + SIGNED.note,
            SIGNED.note.replace("\n", "\r\n"),
        ),
        SIGNED.note.replace("300", "0300"),
        SIGNED.note.replace("300", "-1"),
        SIGNED.note.replace("300", "9" * 30),
        SIGNED.note.replace("\n\n", "\nan extension\n\n"),
    ],
)
def test_what_is_no_checkpoint_of_this_key_is_refused(other: str) -> None:
    with pytest.raises(NotOurs):
        SIGNER.verifier.opened(other)


@given(st.text(max_size=300))
def test_any_text_is_judged_without_harm(text: str) -> None:
    for judge in (parsed, SIGNER.verifier.opened, lambda t: opened_proof(t, SIGNER.verifier)):
        with pytest.raises(NotOurs):
            judge(text)


def test_a_proof_has_the_form_of_the_specification() -> None:
    lines = PROOF.text().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra ZXh0cmE=", "index 5"]
    assert [base64.b64decode(line) for line in lines[3:5]] == [bytes(32), bytes(range(32))]
    assert "\n".join(lines[5:]) == "\n" + SIGNED.note
    bare = Proof(0, (), SIGNED)
    assert bare.text().split("\n")[1:3] == ["index 0", ""]
    assert opened_proof(bare.text(), SIGNER.verifier) == bare
    assert opened_proof(PROOF.text(), SIGNER.verifier) == PROOF


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("index 5", "index 05"),
        ("index 5\n", ""),
        ("index 5", "index x"),
        ("ZXh0cmE=", "ZXh0cmF"),
        ("AAA=", "AAAA"),
    ],
)
def test_a_malformed_proof_is_refused(old: str, new: str) -> None:
    with pytest.raises(NotOurs):
        opened_proof(PROOF.text().replace(old, new, 1), SIGNER.verifier)


@pytest.mark.parametrize(
    ("account", "epoch", "origin"),
    [
        ("@werkstatt:example.org", 1, "example.org/werkstatt/ledger"),
        ("@werkstatt:example.org", 3, "example.org/werkstatt/ledger/3"),
        ("@a+b c:[::1]:8448", 1, "[::1]:8448/a%2Bb%20c/ledger"),
    ],
)
def test_the_name_of_a_log_is_one_that_notes_allow(account: str, epoch: int, origin: str) -> None:
    assert origin_of(UserId(account), epoch) == origin
