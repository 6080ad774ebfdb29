"""Every command, and every sign that can be tapped, is used against a real server by some test.

Read from the tests themselves: what they type and tap, wherever it is not only expected (inside an `assert`).
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from bot.domain.command import CHIPS, COMMANDS, Call, parse, tapped
from bot.flows.holding import KEEP, SEND

TESTS = Path(__file__).parents[1]
ON_A_SERVER = sorted([*(TESTS / "integration").glob("test_*.py"), *(TESTS / "interop").glob("test_*.py")])


def done(tree: ast.AST) -> Iterator[ast.AST]:
    """Return all parts of a test that do something, rather than say what is expected."""
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.Assert):
            yield child
            yield from done(child)


def texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def reacted_with(node: ast.AST) -> Iterator[str]:
    """Return the sign of a call like `peer.react(room, event, "👍")`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "react":
        yield from (text for argument in node.args for text in texts(argument))


def words_typed() -> set[str]:
    nodes = [node for file in ON_A_SERVER for node in done(ast.parse(file.read_text(encoding="utf-8")))]
    return {text for node in nodes for text in texts(node)}


def signs_tapped() -> set[str]:
    nodes = [node for file in ON_A_SERVER for node in done(ast.parse(file.read_text(encoding="utf-8")))]
    return {sign for node in nodes for sign in reacted_with(node)}


def test_every_command_is_typed_on_a_real_server() -> None:
    called = [parse(text) for text in words_typed() if text.startswith(("!", ". "))]
    tried = {call.command.verb for call in called if isinstance(call, Call)}

    assert {row.verb for row in COMMANDS} - tried == set()


def test_every_word_of_a_command_is_typed_on_a_real_server() -> None:
    typed = {text[1:].partition(" ")[0].casefold().replace("ä", "ae") for text in words_typed() if text[:1] == "!"}

    assert {word for row in COMMANDS for word in row.words} - typed == set()


def test_every_sign_is_tapped_on_a_real_server() -> None:
    signs = signs_tapped()

    assert {row.chip for row in CHIPS} - {row.chip for sign in signs if (row := tapped(sign))} == set()
    assert {KEEP, SEND} - {sign.replace("\ufe0f", "") for sign in signs} == set()
