"""The table of statements that were not understood."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.session.shapes import SHOWN, Shapes


def test_texts_of_one_shape_are_one_entry_without_literals() -> None:
    shapes = Shapes()
    for text in (b"FROBNICATE t SET a = 'secret'", b"FROBNICATE t  SET a = 5", b"garbage"):
        shapes.note(text, 0)
    assert shapes.top() == {"FROBNICATE t SET a = ?": 2, "garbage": 1}


def test_text_of_any_bytes_and_any_length_can_be_shown() -> None:
    shapes = Shapes()
    shapes.note(b"\xff\xfe nonsense " * 100_000, 0)
    (shape,) = shapes.top()
    assert len(shape) <= 1024


def test_the_most_frequent_are_shown_first() -> None:
    shapes = Shapes()
    shapes.merge({f"s{number}": number for number in range(SHOWN + 5)})
    assert list(shapes.top()) == [f"s{number}" for number in range(SHOWN + 4, 4, -1)]


@given(st.lists(st.integers(0, 300).map(str), max_size=2000))
def test_no_more_are_kept_than_fit_and_none_is_counted_too_low(shapes: list[str]) -> None:
    table = Shapes()
    for shape in [*shapes, *["frequent"] * 1000]:
        table.add(shape, 1)
    assert table.top()["frequent"] >= 1000
    counted = Counter(shapes)
    assert all(count >= counted[shape] for shape, count in table.top().items())
    assert len(table.top()) <= SHOWN
