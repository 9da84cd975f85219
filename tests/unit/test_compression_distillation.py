"""The student's losses are 0 where it answers as the teacher does, and both read the same masked words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from tokenizers import normalizers
from transformers import RobertaConfig, RobertaForSequenceClassification

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, Labels, sha256_of
from client.encoding import Encoder
from client.errors import InvalidInputError
from tests.unit.conftest import REVIEWS
from training.data import LabelledReview, LabelSet
from training.distill import evenly_spaced_layers, parse_arguments, settings_of
from training.distillation import (
    TEACHER,
    Distillation,
    LessonCollator,
    hidden_loss,
    lessons_of,
    soft_keyword_loss,
    soft_sentiment_loss,
)
from training.examples import KeywordCollator
from training.tokenizer import train_tokenizer


@pytest.mark.parametrize("loss", [soft_keyword_loss, soft_sentiment_loss])
def test_soft_losses_are_divergences(loss: object) -> None:
    assert callable(loss)
    teacher = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -4.0]])
    assert loss(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-6)
    near, far = (loss(teacher + torch.tensor([0.0, 0.0, d]), teacher, 2.0).item() for d in (0.5, 2.0))
    assert 0 < near < far


def test_soft_answers_pull_alike_at_any_temperature() -> None:
    """Times T squared, the gradient of a softened divergence is that of the plain one, near agreement."""
    teacher = torch.tensor([[0.2, -0.1, 0.1]])
    gradients: list[torch.Tensor] = []
    for temperature in (1.0, 4.0):
        student = (teacher + torch.tensor([[0.01, 0.0, -0.01]])).requires_grad_()
        gradients += torch.autograd.grad(soft_keyword_loss(student, teacher, temperature), student)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.02, atol=1e-6)


def test_hidden_vectors_are_compared_at_the_same_depth_and_without_padding() -> None:
    torch.manual_seed(0)
    teacher = [torch.randn(2, 3, 4) for _ in range(5)]
    student = [teacher[0], teacher[2], teacher[4]]
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert hidden_loss(student, teacher, mask).item() == 0
    padded = [vectors.clone() for vectors in student]
    padded[1][1, 1:] = 100.0
    assert hidden_loss(padded, teacher, mask).item() == 0
    padded[1][0, 1] += 1
    assert hidden_loss(padded, teacher, mask).item() > 0


@pytest.fixture(scope="module")
def coarse(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Another tokenizer: single characters for the most part, and hearts are nothing to it."""
    folder: Path = tmp_path_factory.mktemp("coarse")
    tokenizer = train_tokenizer(REVIEWS * 3, vocab_size=250)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("♥", ""), tokenizer.normalizer])
    tokenizer.save(str(folder / TOKENIZER_FILE))
    text = artifact.labels.to_json()
    digest = sha256_of((folder / TOKENIZER_FILE).read_bytes())
    labels = Labels.from_json(text.replace(artifact.labels.tokenizer_sha256, digest))
    (folder / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    return Encoder(Artifact.load(folder))


def test_teacher_and_student_read_the_same_masked_words(encoder: Encoder, coarse: Encoder, artifact: Artifact) -> None:
    names = artifact.labels
    label_set = LabelSet(names.keywords, names.overall, names.sentiments, names.sentiment_scores)
    every = frozenset(names.all_labels)
    reviews = [LabelledReview(str(i), t, {"가격": 1}, True, every, {"가격": ((0, 2),)}) for i, t in enumerate(REVIEWS)]
    reviews.insert(3, LabelledReview("hearts", "♥♥", {"가격": 1}, True, every))
    lessons = lessons_of("keyword", reviews, encoder, coarse, label_set, "{keyword}")
    assert [lesson.student.review.id for lesson in lessons] == [lesson.teacher.review.id for lesson in lessons]
    assert len(lessons) == len(REVIEWS)
    collate = LessonCollator(KeywordCollator(encoder, 7), KeywordCollator(coarse, 7))
    masked = Counter[bool]()
    for _ in range(5):
        batch = collate(lessons)
        for i, lesson in enumerate(lessons):
            hidden = []
            for prefix, example, mask_id in (
                ("", lesson.student, encoder.mask_id),
                (TEACHER, lesson.teacher, coarse.mask_id),
            ):
                owners = example.encoded.word_of_token
                ids = batch[prefix + "input_ids"][i][1 : len(owners) + 1].tolist()
                hidden.append({word for word, token in zip(owners, ids, strict=True) if token == mask_id})
            seen = set(lesson.student.encoded.word_of_token) & set(lesson.teacher.encoded.word_of_token)
            assert hidden[0] & seen == hidden[1] & seen
            masked[bool(hidden[0])] += 1
    assert min(masked[True], masked[False]) > 0


@pytest.mark.parametrize(
    ("layers", "count", "kept"), [(4, 2, [0, 3]), (4, 3, [0, 2, 3]), (6, 1, [0]), (3, 3, [0, 1, 2])]
)
def test_layers_are_taken_evenly(layers: int, count: int, kept: list[int]) -> None:
    config = RobertaConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=layers, num_attention_heads=1, intermediate_size=8
    )
    classifier = RobertaForSequenceClassification(config)
    originals = list(classifier.roberta.encoder.layer)
    evenly_spaced_layers(classifier, count)
    assert [originals.index(layer) for layer in classifier.roberta.encoder.layer] == kept
    assert classifier.config.num_hidden_layers == count
    with pytest.raises(InvalidInputError, match=f"--layers {count + 1}"):
        evenly_spaced_layers(classifier, count + 1)


def test_flags_become_settings(capsys: pytest.CaptureFixture[str]) -> None:
    needed = ["keyword", "--teacher", "a", "--train", "b", "--output", "c"]
    assert settings_of(parse_arguments(needed)) == Distillation()
    changed = settings_of(parse_arguments([*needed, "--temperature", "4", "--no-bf16", "--labels-share", "0"]))
    assert changed == Distillation(temperature=4, bf16=False, labels_share=0)
    for wrong in (["--labels-share", "2"], ["--temperature", "0"], ["--million-tokens", "nan"]):
        with pytest.raises(SystemExit):
            parse_arguments([*needed, *wrong])
        assert f"error: {wrong[0]}" in capsys.readouterr().err
