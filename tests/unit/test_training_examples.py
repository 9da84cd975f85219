"""Examples, losses, calibration and tables of training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from client.encoding import Encoder
from training.calibration import keyword_temperature, keyword_thresholds, sentiment_temperature
from training.data import LabelledReview, LabelSet
from training.examples import (
    KeywordCollator,
    SentimentCollator,
    TokenBudgetSampler,
    keyword_examples,
    sentiment_examples,
)
from training.losses import keyword_loss, sentiment_loss
from training.metrics import format_table, multi_label_table, single_label_table

LABELS = LabelSet(("배송", "핏"), "만족도", ("매우부정", "부정", "중립", "긍정", "매우긍정"), (-2, -1, 0, 1, 2))
TEXT = "배송 빨라요 핏도 예뻐요"


def review(scores: dict[str, int], *, graded: bool = True) -> LabelledReview:
    return LabelledReview("1", TEXT, scores, graded, frozenset({"핏"}), {"핏": ((7, 13),)})


def test_unknown_keywords_teach_nothing(encoder: Encoder) -> None:
    (example,) = keyword_examples([review({"핏": 1})], encoder, LABELS)
    assert example.known.tolist() == [0, 1]
    assert example.evidence == {1: frozenset({2, 3})}
    targets, known = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 1.0]])
    logits = torch.tensor([[5.0, 0.3]], requires_grad=True)
    keyword_loss(logits, targets, known).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad[0, 0] == 0
    assert logits.grad[0, 1] < 0


def test_a_keyword_whose_words_are_masked_is_not_said(encoder: Encoder) -> None:
    text = "배송 빨라요 핏도 정말 예뻐요"
    evidence = {"핏": ((7, len(text)),)}
    (example,) = keyword_examples(
        [LabelledReview("1", text, {"핏": 1}, True, frozenset({"핏"}), evidence)], encoder, LABELS
    )
    assert example.evidence == {1: frozenset({2, 3, 4})}
    collate = KeywordCollator(encoder, seed=3)
    seen: Counter[int] = Counter()
    for _ in range(400):
        batch = collate([example])
        ids = batch["input_ids"][0].tolist()
        masked = {w for w, t in zip(example.encoded.word_of_token, ids[1:], strict=False) if t == encoder.mask_id}
        hidden = len(masked & {2, 3, 4})
        target, known = batch["targets"][0, 1].item(), batch["known"][0, 1].item()
        assert (target, known) == {0: (1, 1), 1: (1, 1), 2: (1, 0), 3: (0, 1)}[hidden]
        seen[hidden] += 1
    assert seen.keys() == {0, 1, 2, 3}
    plain = KeywordCollator(encoder, seed=3, mask_words=False)([example])
    assert encoder.mask_id not in plain["input_ids"]


def test_sentiment_rows_frame_prompt_and_review(encoder: Encoder) -> None:
    (example,) = sentiment_examples([review({"핏": 1})], encoder, LABELS, "{keyword}")
    batch = SentimentCollator(encoder)([example])
    ids = batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()
    prompt, text = encoder.encode("핏").input_ids, encoder.encode(TEXT).input_ids
    assert ids == [encoder.cls_id, *prompt, encoder.sep_id, *text, encoder.sep_id]
    assert len(example) == len(ids)


def test_a_sign_leaves_its_classes_open(encoder: Encoder) -> None:
    allowed = [
        sentiment_examples([review({"핏": score}, graded=graded)], encoder, LABELS, "{keyword}")[0].allowed.tolist()
        for score, graded in ((1, True), (1, False), (0, False), (-1, False))
    ]
    assert allowed == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 1], [0, 0, 1, 0, 0], [1, 1, 0, 0, 0]]


def test_marginal_loss_is_the_negative_log_of_the_sum() -> None:
    logits = torch.tensor([[0.2, -1.0, 0.5, 1.5, 0.1]])
    probs = logits.softmax(-1)[0]
    loss = sentiment_loss(logits, torch.tensor([[0.0, 0, 0, 1, 1]]))
    assert loss.item() == pytest.approx(-torch.log(probs[3] + probs[4]).item(), abs=1e-6)
    one = sentiment_loss(logits, torch.tensor([[0.0, 0, 1, 0, 0]]))
    assert one.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor([2])).item(), abs=1e-6)


@given(st.lists(st.integers(3, 256), min_size=1, max_size=300), st.integers(0, 5))
def test_sampler_gives_every_example_once_within_budget(lengths: list[int], epoch: int) -> None:
    sampler = TokenBudgetSampler(lengths, 1024, seed=1)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    assert all(len(batch) * max(lengths[i] for i in batch) <= 1024 for batch in batches)


def test_sampler_order_changes_with_the_epoch() -> None:
    sampler = TokenBudgetSampler([10] * 500, 256, seed=1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_temperatures_undo_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    targets = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    assert keyword_temperature(3 * logits, targets, np.ones_like(targets)) == pytest.approx(3, rel=0.1)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = np.array([rng.choice(3, p=p) for p in probs])
    assert sentiment_temperature(3 * logits, classes) == pytest.approx(3, rel=0.1)


def test_thresholds_follow_the_labels_and_stay_put_without_any() -> None:
    logits = np.array([[-1.0, 0.0]] * 20 + [[-3.0, 0.0]] * 20)
    targets = np.array([[1.0, 0]] * 20 + [[0.02, 0]] * 20)  # soft targets below a half are no examples
    low, untouched = keyword_thresholds(logits, targets, np.ones_like(targets), 1.0)
    assert 1 / (1 + np.exp(3)) < low <= 1 / (1 + np.exp(1))
    assert untouched == 0.5


@pytest.mark.parametrize(("reviews", "moves"), [(1, False), (30, True)])
def test_a_threshold_does_not_follow_a_single_review(reviews: int, moves: bool) -> None:
    """Of the keyword's examples as many as told are missed at 0.5 and found at 0.3; ten are found by both."""
    logits = np.concatenate([np.full(10, 2.0), np.full(reviews, -0.8), np.full(100, -3.0)])[:, None]
    targets = np.concatenate([np.ones(10 + reviews), np.zeros(100)])[:, None]
    (threshold,) = keyword_thresholds(logits, targets, np.ones_like(targets), 1.0)
    assert (threshold < 0.5) == moves


def test_tables_have_every_average() -> None:
    true = np.array([[1, 0], [1, 1], [0, 1]])
    found = np.array([[1, 0], [1, 0], [0, 1]])
    table = multi_label_table(true, found, ["배송", "핏"])
    assert table["핏"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2.0}
    assert table["micro avg"]["f1"] == pytest.approx(6 / 7)
    assert table["samples avg"]["f1"] == pytest.approx((1 + 2 / 3 + 1) / 3)
    single = single_label_table(np.array([0, 1, 1]), np.array([0, 1, 0]), ["부정", "긍정"])
    assert single["accuracy"]["f1"] == pytest.approx(2 / 3)
    assert single["부정"]["precision"] == 0.5
    shown = format_table(table, "keywords").splitlines()
    assert len(shown) == 1 + 2 + 4
    assert shown[2].split() == ["핏", "1.000", "0.500", "0.667", "2"]
