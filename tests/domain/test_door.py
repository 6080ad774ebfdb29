"""What a customer is given says nothing about them, can be read aloud, and leads to our chat."""

import secrets

import pytest

from bot.domain.door import ALPHABET, House, new_name, new_password, new_token
from bot.domain.ids import UserId

HOUSE = House(
    "Werkstatt Müller",
    UserId("@werkstatt:example.de"),
    "example.de",
    "https://mobile.element.io/element/",
    "https://chat.example.de/",
)


def test_the_chat_link_is_a_matrix_uri() -> None:
    assert HOUSE.chat_link == "matrix:u/werkstatt:example.de?action=chat"


@pytest.mark.parametrize(
    ("user", "link"),
    [
        ("@a/b=c:example.de:8448", "matrix:u/a%2Fb%3Dc:example.de:8448?action=chat"),
        ("@x+y:[2001:db8::1]", "matrix:u/x%2By:%5B2001:db8::1%5D?action=chat"),
    ],
)
def test_unusual_names_stay_one_piece_of_the_link(user: str, link: str) -> None:
    assert House("x", UserId(user), "x", "https://x/").chat_link == link


def test_the_setup_link_names_server_and_account() -> None:
    assert HOUSE.setup_link() == "https://mobile.element.io/element/?account_provider=example.de"
    assert HOUSE.setup_link("@kunde-7m2q9xhp:example.de") == (
        "https://mobile.element.io/element/?account_provider=example.de&login_hint=mxid:@kunde-7m2q9xhp:example.de"
    )


def test_the_page_to_register_at() -> None:
    assert HOUSE.register_page == "https://chat.example.de/#/register"


def test_secrets_are_readable_and_every_time_other_ones() -> None:
    made = [[new_name("kunde", secrets.choice), new_password(secrets.choice), new_token(secrets.choice)] for _ in "123"]

    assert len({text for three in made for text in three}) == 9
    for name, password, token in made:
        assert [len(part) for part in name.split("-")] == [5, 8]
        assert [len(part) for part in password.split("-")] == [4, 4, 4, 4]
        assert [len(part) for part in token.split("-")] == [4, 4, 4]
        assert set(name[6:] + password + token) <= set(ALPHABET) | {"-"}
    assert not set("01oil") & set(ALPHABET)
