"""Variants are read from one line, written back the same, and refused by the part that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import InvalidInputError
from export.compression.variants import PRECISIONS, STEP_NAMES, Precision, Step, Variant, parse_variants

SHARES = st.sampled_from([0.1, 0.25, 0.5, 0.75])
STEPS = st.one_of(
    st.builds(Step, st.sampled_from(STEP_NAMES[:2]), SHARES),
    st.builds(Step, st.sampled_from(["layers", "vocabulary"]), st.integers(1, 9).map(float)),
    st.builds(Step, st.just("distill"), SHARES),
)


@given(st.lists(STEPS, unique_by=lambda step: step.name, max_size=4), st.sampled_from(PRECISIONS))
def test_what_is_written_reads_as_the_same(steps: list[Step], precision: Precision) -> None:
    variant = Variant(tuple(steps), precision)
    assert Variant.parse(str(variant)) == variant


def test_the_uncompressed_model_comes_first_and_nothing_twice() -> None:
    found = parse_variants(["int8", "fp32", "layers=1+int8", "int8"])
    assert list(map(str, found)) == ["fp32", "int8", "layers=1+int8"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("int4", "'int4' is none of heads=SHARE"),
        ("int8+layers=1", "'int8' is none of"),
        ("", "'' is none of"),
        ("layers", "'layers' has no number"),
        ("layers=0.5", "not a whole number from 1"),
        ("heads=1", "not a share above 0 and below 1"),
        ("magnitude=nan", "not a share above 0 and below 1"),
        ("distill=0", "not above 0"),
        ("distill=inf", "not above 0"),
        ("heads=0.2+heads=0.2", "a step stands twice"),
        ("magnitude=0.5+distill=1", "distill first"),
    ],
)
def test_a_wrong_part_is_named(text: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        Variant.parse(text)
