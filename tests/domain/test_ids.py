"""Transaction ids are the same at every run and different for every step."""

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.ids import ItemId, derived_item_id, txn_id

words = st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
steps = st.tuples(words, words, st.integers(0, 9))


@given(steps, steps)
def test_a_step_has_one_transaction_id_of_its_own(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    ids = [txn_id(b"key", ItemId(item), step, ordinal) for item, step, ordinal in (one, other)]
    assert (ids[0] == ids[1]) == (one == other)


def test_another_key_gives_another_id() -> None:
    assert txn_id(b"a", ItemId("$x"), "relay") != txn_id(b"b", ItemId("$x"), "relay")


def test_a_derived_id_is_no_event_id() -> None:
    assert derived_item_id(b"a", "!room", "token").startswith("~")
