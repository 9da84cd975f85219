"""Generators from end to end on the sample reviews: trained, saved, read again, compared with classifiers."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from client.errors import ArtifactError
from tests.functional.generative.conftest import SAMPLES
from training import finetune
from training.corpus import split_of
from training.data import LabelledReview, LabelSet, format_completion
from training.generative import __main__ as command
from training.generative import trainer
from training.generative.model import generate, inputs_of, load_language_model
from training.generative.tokens import TextCodec, begin_codec
from training.generative.trainer import CompletionCollator, completion_loss, fit_generator
from training.trainer import Recipe

TINY = ["--learning-rate", "3e-3", "--token-budget", "2048", "--no-bf16", "--attention", "eager", "--dropout", "0"]
TINY += ["--max-length", "96"]


def recipe(model: Path, epochs: float) -> Recipe:
    return Recipe(str(model), epochs, 5e-3, dropout=0, attention="eager", token_budget=1024, max_length=96, bf16=False)


def test_a_generator_learns_its_reviews_by_heart(
    roberta: Path, sample_reviews: list[LabelledReview], label_set: LabelSet
) -> None:
    reviews = sample_reviews[:40]
    codec = begin_codec(str(roberta), label_set, 96)
    model = fit_generator(reviews, codec, recipe(roberta, 40))
    readings = [codec.read(ids) for ids in generate(model, codec, [r.text for r in reviews])]
    right = [reading.scores == review.scores for reading, review in zip(readings, reviews, strict=True)]
    assert sum(right) >= 36, "prompt, loss, positions and generation belong together"
    assert sum(bool(reading.problems) for reading in readings) <= 2


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_company_and_cache_change_no_answer(
    kind: str, request: pytest.FixtureRequest, sample_reviews: list[LabelledReview], label_set: LabelSet
) -> None:
    folder: Path = request.getfixturevalue(kind)
    codec = begin_codec(str(folder), label_set, 96)
    model = fit_generator(sample_reviews[:60], codec, recipe(folder, 3))
    texts = [review.text for review in sample_reviews[60:72]]
    together = generate(model, codec, texts, batch_size=5, bf16=False)
    assert together == [generate(model, codec, [text], bf16=False)[0] for text in texts]
    # Token by token, without padding and without a cache.
    for text, written in zip(texts[:4], together, strict=False):
        row = list(codec.prompt(text))
        for token in written:
            with torch.inference_mode():
                logits = model(**inputs_of([row], codec.pad_id, model)).logits
            assert int(logits[0, -1].argmax()) == token
            row.append(token)


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_the_loss_is_that_of_the_completion_alone(
    kind: str, request: pytest.FixtureRequest, sample_reviews: list[LabelledReview], label_set: LabelSet
) -> None:
    folder: Path = request.getfixturevalue(kind)
    codec = begin_codec(str(folder), label_set, 96)
    model = load_language_model(str(folder)).eval()
    examples = codec.examples(sample_reviews[:3])
    batch = CompletionCollator(model, codec.pad_id)(examples)
    by_hand = []
    for example in examples:
        row = (*example.prompt, *example.completion)
        with torch.inference_mode():
            log_probs = model(**inputs_of([row], codec.pad_id, model)).logits.log_softmax(-1)[0]
        start = len(example.prompt)
        by_hand += [-float(log_probs[i - 1, row[i]]) for i in range(start, len(row))]
    with torch.inference_mode():
        loss = completion_loss(model, batch)
    assert float(loss) == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-4)


def test_an_interrupted_run_goes_on(
    roberta: Path,
    sample_reviews: list[LabelledReview],
    label_set: LabelSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(trainer, "SAVE_STEPS", 2)
    reordered = replace(label_set, keywords=label_set.keywords[::-1])
    codec, other_codec = (begin_codec(str(roberta), labels, 96) for labels in (label_set, reordered))
    fit_generator(sample_reviews[:40], codec, recipe(roberta, 1), folder=tmp_path)
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    with caplog.at_level(logging.INFO):
        fit_generator(sample_reviews[:40], codec, recipe(roberta, 1), folder=tmp_path)
        assert f"going on from {checkpoint}" in caplog.text
        caplog.clear()
        fit_generator(sample_reviews[:40], other_codec, recipe(roberta, 1), folder=tmp_path)
        assert "going on from" not in caplog.text
        assert "had other settings or data; this one begins anew" in caplog.text


def test_a_torn_language_model_is_told(roberta: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(roberta, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=f"--model {folder}: no causal language model could be loaded"):
        load_language_model(str(folder))


def test_the_commands_train_and_compare(
    roberta: Path, sample_reviews: list[LabelledReview], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = [review for review in sample_reviews if split_of(review.text) == "test"]
    generator, figures = tmp_path / "generator", tmp_path / "figures.json"
    train = ["train", "--model", str(roberta), "--train", str(SAMPLES), "--output", str(generator), "--epochs", "4"]
    assert command.main([*train, *TINY]) == 0
    assert {path.name for path in generator.iterdir()} >= {"config.json", "model.safetensors", "training.json"}
    assert not (generator / finetune.WORK_FOLDER).exists()
    checkpoints = [str(tmp_path / task) for task in ("keyword", "sentiment")]
    for task, folder in zip(("keyword", "sentiment"), checkpoints, strict=True):
        tune = [task, "--train", str(SAMPLES), "--output", folder, "--backbone", str(roberta), "--epochs", "1"]
        assert finetune.main([*tune, *TINY]) == 0
    capsys.readouterr()
    evaluate = ["evaluate", "--generator", str(generator), "--data", str(SAMPLES), "--output", str(figures)]
    assert command.main([*evaluate, "--classifiers", *checkpoints]) == 0
    said = capsys.readouterr().out
    results = json.loads(figures.read_text(encoding="utf-8"))
    assert results["reviews"] == len(held_out) > 10
    for side in ("generator", "classifiers"):
        tables = results[side]["tables"]
        assert {"keywords", "sentiment, strict", "pairs with sentiment"} <= set(tables)
        assert 0 <= tables["keywords"]["micro avg"]["f1"] <= 1
        assert results[side]["seconds_per_review"] > 0
        assert f"### {side}" in said
    assert (
        sum(results["generator"]["problems"].values()) >= len(held_out) * results["generator"]["outputs_not_read_whole"]
    )
    # The classifiers' own tables, of the same checkpoint and the same reviews.
    metrics = json.loads((tmp_path / "keyword" / "metrics.json").read_text(encoding="utf-8"))
    own, beside = metrics["test"]["graded"], results["classifiers"]["tables"]["keywords"]
    assert beside["micro avg"]["f1"] == pytest.approx(own["micro avg"]["f1"], abs=0.02), "weights are halved on disk"


def test_a_saved_generator_writes_what_it_wrote_before(
    roberta: Path, sample_reviews: list[LabelledReview], label_set: LabelSet, tmp_path: Path
) -> None:
    codec = begin_codec(str(roberta), label_set, 96)
    model = fit_generator(sample_reviews[:60], codec, recipe(roberta, 3))
    model.half().save_pretrained(tmp_path)
    codec.save(tmp_path)
    texts = [review.text for review in sample_reviews[60:70]]
    written = generate(model.float(), codec, texts, bf16=False)
    again = TextCodec.load(tmp_path)
    assert generate(load_language_model(str(tmp_path)), again, texts, bf16=False) == written


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_unusable_data_and_models_are_told(roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: str | Path) -> str:
        assert command.main([str(argument) for argument in arguments]) == 2
        return capsys.readouterr().err

    out = tmp_path / "out"
    marked = {"text": "핏이 좋아요", "aspects": [{"aspect": "핏", "polarity": 1, "span": "핏"}]}
    mixed = write(tmp_path / "mixed.jsonl", marked, {"text": "배송이 빨라요", "completion": "배송 1"})
    assert "graded and signed" in told("train", "--model", roberta, "--train", mixed, "--output", out)
    missing = ("train", "--model", tmp_path / "nothing", "--train", SAMPLES, "--output", out)
    assert "--model" in told(*missing)
    long = ("train", "--model", roberta, "--train", SAMPLES, "--output", out, "--max-length", "190")
    assert "--max-length 190: a row has at most 198 tokens" in told(*long)
    assert "no generator" in told("evaluate", "--generator", roberta, "--data", SAMPLES)


def test_a_generator_of_other_labels_is_refused(
    roberta: Path, label_set: LabelSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_language_model(str(roberta)).save_pretrained(tmp_path)
    other = LabelSet(label_set.keywords[:3], label_set.overall, label_set.sentiments, label_set.sentiment_scores)
    begin_codec(str(roberta), other, 96).save(tmp_path)
    assert command.main(["evaluate", "--generator", str(tmp_path), "--data", str(SAMPLES)]) == 2
    assert "another label set" in capsys.readouterr().err


def test_what_is_trained_on_is_the_agreed_text(
    gpt2: Path, sample_reviews: list[LabelledReview], label_set: LabelSet
) -> None:
    """To the letter, where the tokenizer loses nothing."""
    codec = begin_codec(str(gpt2), label_set, 96)
    review = sample_reviews[0]
    (example,) = codec.examples([review])
    said = format_completion(review.scores, label_set)
    end = codec.settings.end
    wanted = f"{end}###입력: {review.text} ###명령어: 리뷰를 분석해줘 ###출력: {said}{end}"
    assert codec.tokenizer.decode([*example.prompt, *example.completion], skip_special_tokens=False) == wanted
