from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.encoding import EncodedReview, Encoder
from client.masking import MAX_WORDS_WITHOUT_SEGMENTS, Row, deduplicate, plan_masks, plan_rows, plan_segments
from client.windows import Window, plan_windows
from client.words import split_words


@st.composite
def reviews(draw: st.DrawFn) -> EncodedReview:
    """Reviews of any shape: some words have no tokens, some have more than a window."""
    counts = draw(st.lists(st.integers(0, 3) | st.integers(0, 12), min_size=1, max_size=60).filter(any))
    text = " ".join("옷" for _ in counts)
    owners = tuple(word for word, count in enumerate(counts) for _ in range(count))
    return EncodedReview(text, tuple(split_words(text)), tuple(range(100, 100 + len(owners))), owners)


def assert_masks(row: Row, review: EncodedReview, window: Window, encoder: Encoder) -> None:
    """The row is the window with exactly the tokens of ``row.words`` replaced."""
    span = range(window.first_token, window.last_token)
    expected = [encoder.mask_id if review.word_of_token[i] in row.words else review.input_ids[i] for i in span]
    assert row.input_ids == (encoder.cls_id, *expected, encoder.sep_id)


@given(review=reviews(), max_length=st.integers(8, 40))
def test_masks_hold_each_word_of_each_window_once(encoder: Encoder, review: EncodedReview, max_length: int) -> None:
    windows = plan_windows(review, max_length)
    rows = plan_masks(7, review, windows, encoder)
    expected = [
        (number, (word,))
        for number, window in enumerate(windows)
        for word in sorted(set(review.word_of_token[window.first_token : window.last_token]))
    ]
    assert [(row.window, row.words) for row in rows] == expected
    for row in [*plan_rows(7, review, windows, encoder), *rows]:
        assert row.review == 7
        assert_masks(row, review, windows[row.window], encoder)


@given(review=reviews(), max_length=st.integers(8, 40))
def test_segments_part_the_words_and_mask_them_in_every_window(
    encoder: Encoder, review: EncodedReview, max_length: int
) -> None:
    windows = plan_windows(review, max_length)
    rows = plan_segments(0, review, windows, encoder)
    maskable = sorted(set(review.word_of_token))
    segments = sorted({row.words for row in rows})

    assert [word for segment in segments for word in segment] == maskable
    if len(maskable) <= MAX_WORDS_WITHOUT_SEGMENTS:
        assert rows == plan_masks(0, review, windows, encoder)
    else:
        root = math.sqrt(len(maskable))
        assert abs(len(segments) - root) <= 0.5
        assert all(math.floor(root) - 1 <= len(segment) <= math.ceil(root) + 1 for segment in segments)
    seen = [(row.window, row.words) for row in rows]
    assert len(seen) == len(set(seen))
    for number, window in enumerate(windows):
        present = set(review.word_of_token[window.first_token : window.last_token])
        assert {words for w, words in seen if w == number} == {s for s in segments if present & set(s)}
    for row in rows:
        assert_masks(row, review, windows[row.window], encoder)


@given(review=reviews(), chosen=st.sets(st.integers(0, 60)))
def test_a_choice_of_words_gives_their_part_of_the_full_plan(
    encoder: Encoder, review: EncodedReview, chosen: set[int]
) -> None:
    windows = plan_windows(review, 16)
    every = plan_masks(0, review, windows, encoder)
    assert plan_masks(0, review, windows, encoder, words=chosen) == [row for row in every if row.words[0] in chosen]


@pytest.mark.parametrize(
    "text", ["좋아요", "디자인은 예쁜데 사이즈가 너무 작아요", "배송이 빨라서 좋았고 포장도 깔끔했어요!"]
)
def test_a_review_of_w_words_costs_w_plus_one_rows_of_one_length(encoder: Encoder, text: str) -> None:
    review = encoder.encode(text)
    windows = plan_windows(review, encoder.max_length)
    rows = plan_rows(0, review, windows, encoder) + plan_masks(0, review, windows, encoder)
    assert len(rows) == len(text.split()) + 1
    assert {len(row.input_ids) for row in rows} == {len(review.input_ids) + 2}


def test_a_repeated_word_is_masked_one_occurrence_at_a_time(encoder: Encoder) -> None:
    review = encoder.encode("너무 너무 작아요")
    first, second, _ = plan_masks(0, review, plan_windows(review, 32), encoder)
    assert first.input_ids != second.input_ids
    assert first.input_ids.count(encoder.mask_id) == review.word_of_token.count(0)


def test_equal_rows_are_computed_once(encoder: Encoder) -> None:
    texts = ["핏이 예쁘고 편해요", "배송이 느려요", "핏이 예쁘고 편해요"]
    rows: list[Row] = []
    for number, text in enumerate(texts):
        review = encoder.encode(text)
        windows = plan_windows(review, encoder.max_length)
        rows += plan_rows(number, review, windows, encoder) + plan_masks(number, review, windows, encoder)
    unique, index = deduplicate(rows)
    assert len(rows) == 4 + 3 + 4
    assert unique == rows[:7]
    assert index == [*range(7), *range(4)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)).map(lambda ids: Row(0, 0, (), ids))))
def test_deduplicated_rows_give_every_row_back(rows: list[Row]) -> None:
    unique, index = deduplicate(rows)
    assert [unique[i].input_ids for i in index] == [row.input_ids for row in rows]
    assert len({row.input_ids for row in unique}) == len(unique)
