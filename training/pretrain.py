"""Pretrain a small RoBERTa on review text: ``python -m training.pretrain --help``.

One forward pass teaches four things at once, so that little compute goes far:

- masked-language modelling with whole-word masks (Liu et al. 2019, arXiv:1907.11692);
- for reviews whose opinions people marked: which aspect and which polarity each token speaks of;
- for the same reviews, from the ``<s>`` token: which aspects the review has;
- for rated texts, from the ``<s>`` token: the rating in five classes.

Hidden matrices are trained with Muon, everything else with AdamW. The length of the run is given in tokens. A
checkpoint is written every few minutes; the same command goes on from it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForSequenceClassification

from client.errors import InvalidInputError, ReviewLensError
from training.checkpoint import write_text
from training.corpus import AspectReview, read_aspect_reviews, read_lines, read_rated_lines, split_of
from training.review_trainer import disk_errors
from training.tokenizer import SPECIAL_TOKENS, train_tokenizer

log = logging.getLogger("pretrain")

MAX_ASPECTS = 62
# What an interrupted run and the command that goes on with it must agree on.
SETTINGS_OF_A_RUN = ("layers", "hidden_size", "vocab_size", "max_length", "token_budget", "learning_rate", "seed")
MASK_SHARE = 0.2
PREDICTED_SHARE = 1 / 8
IGNORED = -100
CLS, PAD, SEP, UNK, MASK = range(5)

IntArray = npt.NDArray[Any]


@dataclass
class Documents:
    """Tokenized texts as flat arrays: text ``i`` owns ``tokens[starts[i]:starts[i + 1]]``.

    ``tags`` holds a bit per aspect that a token's span speaks of, ``polarity`` 0/1/2 inside a span (else ignored),
    ``annotated`` a bit per aspect that the text's source annotates, ``rating`` 0..4 or ignored.
    """

    starts: IntArray
    tokens: IntArray
    word_start: IntArray
    tags: IntArray
    polarity: IntArray
    annotated: IntArray
    rating: IntArray

    def __len__(self) -> int:
        return len(self.starts) - 1


def tokenize_documents(
    tokenizer: Tokenizer,
    texts: list[str],
    max_length: int,
    *,
    reviews: list[AspectReview] | None = None,
    aspect_ids: dict[str, int] | None = None,
    annotated: dict[str, int] | None = None,
    ratings: list[int] | None = None,
) -> Documents:
    """Tokenize texts; longer ones are cut at ``max_length`` tokens. Spans become token tags by their offsets."""
    tokens, word_start, tags, polarity, lengths = [], [], [], [], []
    for base in range(0, len(texts), 20_000):
        for i, encoding in enumerate(tokenizer.encode_batch(texts[base : base + 20_000]), base):
            ids = np.array(encoding.ids[:max_length], dtype=np.uint16)
            if encoding.ids[-1] == SEP:
                ids[-1] = SEP
            offsets = np.array(encoding.offsets[:max_length], dtype=np.int32)
            text = texts[i]
            starts = np.zeros(len(ids), dtype=bool)
            for k in range(1, len(ids) - 1):
                begin = offsets[k, 0]
                starts[k] = begin == 0 or text[begin - 1].isspace()
            row_tags = np.zeros(len(ids), dtype=np.uint64)
            row_polarity = np.full(len(ids), IGNORED, dtype=np.int8)
            if reviews is not None and aspect_ids is not None:
                for aspect in reviews[i].aspects:
                    begin = text.find(aspect.span)
                    if begin < 0 or aspect.name not in aspect_ids:
                        continue
                    inside = (offsets[:, 0] < begin + len(aspect.span)) & (offsets[:, 1] > begin)
                    inside[0] = inside[-1] = False
                    row_tags[inside] |= np.uint64(1 << aspect_ids[aspect.name])
                    row_polarity[inside] = aspect.polarity + 1
            tokens.append(ids)
            word_start.append(starts)
            tags.append(row_tags)
            polarity.append(row_polarity)
            lengths.append(len(ids))
    count = len(texts)
    masks = np.zeros(count, dtype=np.uint64)
    if reviews is not None and annotated is not None:
        masks[:] = [annotated.get(review.domain, 0) for review in reviews]
    return Documents(
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        tokens=np.concatenate(tokens),
        word_start=np.concatenate(word_start),
        tags=np.concatenate(tags),
        polarity=np.concatenate(polarity),
        annotated=masks,
        rating=np.array(ratings if ratings is not None else [IGNORED] * count, dtype=np.int64),
    )


def rating_class(score: float | None, lowest: float, highest: float) -> int:
    """One of five classes for a rating on the scale ``lowest..highest``; ``IGNORED`` where there is none."""
    if score is None:
        return IGNORED
    share = (score - lowest) / (highest - lowest)
    return min(4, max(0, int(share * 5)))


def load_sources(
    data: Path, tokenizer: Tokenizer, max_length: int, limit: int | None, *, fashion_marks: bool = True
) -> tuple[dict[str, Documents], list[str]]:
    """Read and tokenize every source. Returns them by name, and the aspect names in the order of their bits.

    Without ``fashion_marks`` the fashion reviews are text and rating only, for fair experiments on their labels.
    """
    aspect_reviews: dict[str, list[AspectReview]] = {}
    for name, file in (("fashion", "absa_fashion_train.jsonl.gz"), ("other", "absa_other_train.jsonl.gz")):
        rows = (r for r in read_aspect_reviews(data / file) if name != "fashion" or split_of(r.text) == "train")
        if name == "fashion" and not fashion_marks:
            rows = (replace(r, aspects=()) for r in rows)
        aspect_reviews[name] = [row for _, row in zip(range(limit or 10**9), rows, strict=False)]
    counts: Counter[str] = Counter()
    for name, reviews in aspect_reviews.items():
        for review in reviews:
            counts.update({a.name: 1000 if name == "fashion" else 1 for a in review.aspects})
    aspects = [name for name, _ in counts.most_common(MAX_ASPECTS)]
    aspect_ids = {name: i for i, name in enumerate(aspects)}
    annotated: dict[str, int] = {}
    for reviews in aspect_reviews.values():
        for review in reviews:
            for aspect in review.aspects:
                if aspect.name in aspect_ids:
                    annotated[review.domain] = annotated.get(review.domain, 0) | 1 << aspect_ids[aspect.name]
    sources = {}
    for name, reviews in aspect_reviews.items():
        sources[name] = tokenize_documents(
            tokenizer,
            [r.text for r in reviews],
            max_length,
            reviews=reviews,
            aspect_ids=aspect_ids,
            annotated=annotated,
            ratings=[rating_class(r.score, 0, 100.001) for r in reviews],
        )
        log.info("%s: %d texts, %d tokens", name, len(reviews), len(sources[name].tokens))
    rated = [row for _, row in zip(range(limit or 10**9), read_rated_lines(data / "film_reviews.tsv.gz"), strict=False)]
    sources["film"] = tokenize_documents(
        tokenizer, [text for _, text in rated], 96, ratings=[rating_class(rating, 1, 10.001) for rating, _ in rated]
    )
    general = [t for _, t in zip(range(limit or 10**9), read_lines(data / "general_unlabelled.txt.gz"), strict=False)]
    sources["general"] = tokenize_documents(tokenizer, [t[:400] for t in general], 128)
    for name in ("film", "general"):
        log.info("%s: %d texts, %d tokens", name, len(sources[name]), len(sources[name].tokens))
    return sources, aspects


def mixture(progress: float) -> dict[str, float]:
    """Share of tokens by source: wide text first, labelled reviews later."""
    if progress < 0.35:
        return {"film": 0.38, "general": 0.12, "other": 0.34, "fashion": 0.16}
    if progress < 0.7:
        return {"film": 0.22, "general": 0.06, "other": 0.46, "fashion": 0.26}
    return {"film": 0.08, "general": 0.0, "other": 0.54, "fashion": 0.38}


class Sampler:
    """Draws token-budget batches: a pool mixed from the sources, sorted by length, then shuffled batch-wise."""

    def __init__(self, sources: dict[str, Documents], token_budget: int, seed: int) -> None:
        self.sources = sources
        self.token_budget = token_budget
        self.rng = np.random.default_rng(seed)
        self.vocab_size = max(int(source.tokens.max()) for source in sources.values()) + 1
        self.lengths = {name: np.diff(source.starts) for name, source in sources.items()}
        self._order: dict[str, IntArray] = {}

    def _draw(self, name: str) -> int:
        order = self._order.get(name)
        if order is None or len(order) == 0:
            order = self.rng.permutation(len(self.sources[name]))
        self._order[name] = order[1:]
        return int(order[0])

    def batches(self, progress: Callable[[], float]) -> Iterator[list[tuple[str, int]]]:
        """Endless batches of ``(source, index)``, each of about ``token_budget`` padded tokens."""
        while True:
            pool: list[tuple[int, str, int]] = []
            for name, share in mixture(progress()).items():
                wanted, drawn = share * self.token_budget * 16, 0
                lengths = self.lengths[name]
                while drawn < wanted:
                    index = self._draw(name)
                    pool.append((int(lengths[index]), name, index))
                    drawn += int(lengths[index])
            pool.sort()
            batches: list[list[tuple[str, int]]] = []
            batch: list[tuple[str, int]] = []
            for length, name, index in pool:
                if batch and (len(batch) + 1) * length > self.token_budget:
                    batches.append(batch)
                    batch = []
                batch.append((name, index))
            batches.append(batch)
            for k in self.rng.permutation(len(batches)):
                yield batches[int(k)]

    def tensors(self, batch: list[tuple[str, int]]) -> dict[str, Tensor]:
        """Padded tensors of a batch, with whole words masked (arrays [B, L], aspects [B, A], rating [B])."""
        lengths = [int(self.lengths[name][index]) for name, index in batch]
        rows, width = len(batch), -(-max(lengths) // 8) * 8
        input_ids = np.full((rows, width), PAD, dtype=np.int64)
        mlm = np.full((rows, width), IGNORED, dtype=np.int64)
        tags = np.zeros((rows, width), dtype=np.uint64)
        polarity = np.full((rows, width), IGNORED, dtype=np.int64)
        annotated = np.zeros(rows, dtype=np.uint64)
        rating = np.full(rows, IGNORED, dtype=np.int64)
        for r, ((name, i), length) in enumerate(zip(batch, lengths, strict=True)):
            source = self.sources[name]
            part = slice(int(source.starts[i]), int(source.starts[i + 1]))
            ids = source.tokens[part].astype(np.int64)
            words = np.cumsum(source.word_start[part])
            chosen = self.rng.random(int(words[-1]) + 1) < MASK_SHARE
            chosen[0] = False
            masked = chosen[words] & (ids != SEP) & (ids != CLS)
            mlm[r, :length][masked] = ids[masked]
            noise = self.rng.random(length)
            ids[masked & (noise < 0.9)] = MASK
            swapped = masked & (noise >= 0.95)
            ids[swapped] = self.rng.integers(len(SPECIAL_TOKENS), self.vocab_size, int(swapped.sum()))
            input_ids[r, :length] = ids
            tags[r, :length] = source.tags[part]
            polarity[r, :length] = source.polarity[part]
            annotated[r] = source.annotated[i]
            rating[r] = source.rating[i]
        bits = np.arange(MAX_ASPECTS, dtype=np.uint64)
        tag_bits = ((tags[..., None] >> bits) & np.uint64(1)).astype(np.float32)
        return {
            "input_ids": torch.from_numpy(input_ids),
            "mlm": torch.from_numpy(mlm),
            "tags": torch.from_numpy(tag_bits),
            "polarity": torch.from_numpy(polarity),
            "annotated": torch.from_numpy(((annotated[:, None] >> bits) & np.uint64(1)).astype(np.float32)),
            "rating": torch.from_numpy(rating),
        }


class PretrainingModel(nn.Module):
    """A RoBERTa sequence classifier (one output an aspect) with heads that are thrown away after pretraining."""

    def __init__(self, classifier: RobertaForSequenceClassification, *, compiled: bool) -> None:
        super().__init__()
        hidden, vocab = classifier.config.hidden_size, classifier.config.vocab_size
        self.classifier = classifier
        self.transform = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden))
        self.decoder_bias = nn.Parameter(torch.zeros(vocab))
        self.tag_head = nn.Linear(hidden, MAX_ASPECTS)
        self.polarity_head = nn.Linear(hidden, 3)
        self.rating_head = nn.Linear(hidden, 5)
        if compiled:
            classifier.roberta.compile(dynamic=True)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        ids = batch["input_ids"]
        attention_mask = (ids != PAD).long()
        hidden = self.classifier.roberta(input_ids=ids, attention_mask=attention_mask).last_hidden_state
        chosen = batch["mlm"] != IGNORED
        losses = {}
        if (most := int(PREDICTED_SHARE * ids.numel())) < int(chosen.sum()):
            # The decoder over the whole vocabulary costs as much as the encoder: predict a random part of the masks.
            kept = torch.rand(chosen.shape, device=chosen.device) < most / int(chosen.sum())
            chosen = chosen & kept
        embeddings = self.classifier.roberta.embeddings.word_embeddings.weight
        logits = F.linear(self.transform(hidden[chosen]), embeddings, self.decoder_bias)
        losses["mlm"] = F.cross_entropy(logits.float(), batch["mlm"][chosen])
        head = self.classifier.classifier
        pooled = torch.tanh(head.dense(hidden[:, 0]))
        rated = batch["rating"] != IGNORED
        if bool(rated.any()):
            losses["rating"] = F.cross_entropy(self.rating_head(pooled[rated]).float(), batch["rating"][rated])
        labelled = batch["annotated"].any(1)
        if bool(labelled.any()):
            known = batch["annotated"][labelled]
            tags = batch["tags"][labelled]
            inside = attention_mask[labelled].bool()
            token_logits = self.tag_head(hidden[labelled][inside]).float()
            weights = known[:, None, :].expand_as(tags)[inside]
            bce = F.binary_cross_entropy_with_logits(token_logits, tags[inside], weight=weights, reduction="none")
            losses["tags"] = bce.sum(1).mean()
            found = tags.amax(1)
            logits = head.out_proj(pooled[labelled]).float()
            bce = F.binary_cross_entropy_with_logits(logits, found, weight=known, reduction="none")
            losses["aspects"] = bce.sum(1).mean()
            polar = batch["polarity"] != IGNORED
            losses["polarity"] = F.cross_entropy(self.polarity_head(hidden[polar]).float(), batch["polarity"][polar])
        return losses


LOSS_WEIGHTS = {"mlm": 1.0, "rating": 0.5, "tags": 2.0, "aspects": 0.5, "polarity": 1.0}


def make_optimizers(model: PretrainingModel, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the encoder's layers, AdamW for embeddings, heads, norms and biases."""
    matrices = [p for p in model.classifier.roberta.encoder.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in inside]
    return [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True),
    ]


def save_model(model: PretrainingModel, tokenizer: Tokenizer, aspects: list[str], out: Path) -> None:
    """Write the classifier (config.json, model.safetensors) and its tokenizer.json."""
    model.classifier.config.id2label = dict(enumerate([*aspects, *("-" * (MAX_ASPECTS - len(aspects)))]))
    model.classifier.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), SPECIAL_TOKENS, strict=True)),
        **dict(zip(("bos_token", "eos_token"), (SPECIAL_TOKENS[CLS], SPECIAL_TOKENS[SEP]), strict=True)),
    ).save_pretrained(out)


def check_same_run(saved: dict[str, Any], args: argparse.Namespace) -> None:
    """Refuse to go on with a run that was begun with other settings; only its length may change.

    Raises:
        InvalidInputError: names the setting.
    """
    for name, value in saved.items():
        if value != getattr(args, name):
            raise InvalidInputError(
                f"--{name.replace('_', '-')} {getattr(args, name)}: the run in {args.output} was begun with {value}; "
                "go on with that, or give another --output"
            )


def save_state(
    file: Path,
    model: PretrainingModel,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    tokens: int,
    settings: dict[str, Any],
) -> None:
    """Write all that a run needs to go on; an interrupted write leaves the old state whole."""
    state = {
        "settings": settings,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "tokens": tokens,
    }
    torch.save(state, file.with_suffix(".tmp"))
    file.with_suffix(".tmp").replace(file)


def pretrain(args: argparse.Namespace) -> None:
    out: Path = args.output
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    tokenizer_file = out / "tokenizer.json"
    if tokenizer_file.exists():
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    else:
        tokenizer = train_tokenizer(tokenizer_texts(args.data, args.limit), args.vocab_size)
        write_text(tokenizer_file, tokenizer.to_str(pretty=True))
    log.info("tokenizer: %d pieces", tokenizer.get_vocab_size())
    sources, aspects = load_sources(
        args.data, tokenizer, args.max_length, args.limit, fashion_marks=not args.no_fashion_marks
    )
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 64,
        intermediate_size=4 * args.hidden_size,
        initializer_range=args.initializer_range,
        max_position_embeddings=514,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=MAX_ASPECTS,
        bos_token_id=CLS,
        pad_token_id=PAD,
        eos_token_id=SEP,
    )
    # At these lengths plain attention trains faster on a CPU than the fused one: a step took 0.46 s, not 0.63 s.
    config._attn_implementation = "sdpa" if torch.cuda.is_available() else "eager"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = PretrainingModel(RobertaForSequenceClassification(config), compiled=not args.no_compile).to(device)
    optimizers = make_optimizers(model, args.learning_rate)
    log.info("%d parameters in the encoder", sum(p.numel() for p in model.classifier.roberta.parameters()))
    state_file = out / "state.pt"
    step, tokens = 0, 0
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        check_same_run(state.get("settings", {}), args)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, tokens = state["step"], state["tokens"]
        log.info("going on from step %d, %.1f million tokens", step, tokens / 1e6)

    settings = {name: getattr(args, name) for name in SETTINGS_OF_A_RUN}
    sampler = Sampler(sources, args.token_budget, args.seed + step)
    began, began_tokens, saved_at = time.monotonic(), tokens, time.monotonic()
    smoothed: dict[str, float] = {}

    def done() -> float:
        return float(tokens / args.tokens)

    for batch in sampler.batches(done):
        progress = done()
        if progress >= 1:
            break
        rate = args.learning_rate * min(1.0, (step + 1) / 50, (1 - progress) / 0.5 + 0.01)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        tensors = {name: tensor.to(device) for name, tensor in sampler.tensors(batch).items()}
        with torch.autocast(device.type, torch.bfloat16):
            losses = model(tensors)
        total = torch.stack([LOSS_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        tokens += tensors["input_ids"].numel()
        for name, loss in losses.items():
            smoothed[name] = 0.97 * smoothed.get(name, loss.item()) + 0.03 * loss.item()
        if step % 20 == 0:
            shown = " ".join(f"{name} {value:.3f}" for name, value in smoothed.items())
            speed = (tokens - began_tokens) / (time.monotonic() - began)
            log.info("step %d  %.1f%%  %.0f tokens/s  %s", step, 100 * progress, speed, shown)
        if time.monotonic() - saved_at > args.checkpoint_seconds:
            saved_at = time.monotonic()
            save_state(state_file, model, optimizers, step, tokens, settings)
    save_model(model, tokenizer, aspects, out)
    (out / "pretraining.json").write_text(json.dumps({"steps": step, "tokens": tokens, "losses": smoothed}, indent=1))
    log.info("done: %s", out)


def tokenizer_texts(data: Path, limit: int | None) -> Iterator[str]:
    """Texts that the tokenizer learns from: the reviews, and every third film review."""
    for file in ("absa_fashion_train.jsonl.gz", "absa_other_train.jsonl.gz"):
        for i, review in enumerate(read_aspect_reviews(data / file)):
            if split_of(review.text) == "train" and (limit is None or i < limit):
                yield review.text
    for i, (_, text) in enumerate(read_rated_lines(data / "film_reviews.tsv.gz")):
        if i % 3 == 0 and (limit is None or i < limit):
            yield text


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the corpora (see training/README.md)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the pretrained model and its checkpoints")
    parser.add_argument("--tokens", type=float, default=16e6, help="length of the run (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden-size", type=int, default=320, help="a multiple of 64 (default: %(default)s)")
    parser.add_argument("--initializer-range", type=float, default=0.02, help="raise it below 256 hidden units")
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--max-length", type=int, default=256, help="tokens a review (default: %(default)s)")
    parser.add_argument("--token-budget", type=int, default=8192, help="padded tokens a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint-seconds", type=float, default=240, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="read only so many texts of each source (for a rehearsal)")
    parser.add_argument(
        "--no-fashion-marks",
        action="store_true",
        help="read the fashion reviews without what people marked in them: an encoder for experiments on those labels",
    )
    parser.add_argument("--no-compile", action="store_true", help="do not compile the encoder")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args = parse_arguments(arguments)
    try:
        with disk_errors(args.output):
            pretrain(args)
    except ReviewLensError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
