"""Sentence embeddings: the mean of an encoder's last states over the tokens of a review."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import RobertaModel
from transformers.utils import logging as transformers_logging

from client.batching import pack, padded
from client.encoding import Encoder
from client.errors import ArtifactError
from client.windows import SPECIAL_TOKENS_PER_WINDOW

log = logging.getLogger("selection")

TOKEN_BUDGET = 8192
REPORTS = 10


def embed(checkpoint: str, encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings FP32 ``[N, D]`` of texts, cut to one window, by the RoBERTa encoder in the folder ``checkpoint``.

    ``encoder`` is the checkpoint's tokenizer. The mean over all tokens, special ones included, is used rather than the
    state of ``<s>``: a checkpoint's head makes that state answer its own question, and masked-language-model
    pretraining does not train it at all (Reimers and Gurevych 2019, arXiv:1908.10084, table 6).

    Raises:
        ArtifactError: there is no RoBERTa checkpoint.
        InvalidReviewError: a text cannot be encoded.
    """
    most = encoder.max_length - SPECIAL_TOKENS_PER_WINDOW
    rows = [[encoder.cls_id, *encoder.encode(text).input_ids[:most], encoder.sep_id] for text in texts]
    verbosity = transformers_logging.get_verbosity()
    # It would report the checkpoint's head as unused weights.
    transformers_logging.set_verbosity_error()
    try:
        model = RobertaModel.from_pretrained(
            checkpoint, add_pooling_layer=False, attn_implementation="eager", dtype="float32"
        )
    except (OSError, ValueError) as error:
        raise ArtifactError(f"--checkpoint {checkpoint}: no RoBERTa checkpoint could be loaded: {error}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).eval()
    embeddings = np.zeros((len(rows), model.config.hidden_size), np.float32)
    batches = pack([len(row) for row in rows], token_budget=TOKEN_BUDGET)
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
        for number, batch in enumerate(batches, 1):
            input_ids, attention_mask = (torch.from_numpy(a).to(device) for a in padded(rows, batch, encoder.pad_id))
            states = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
            mask = attention_mask[..., None].float()
            embeddings[list(batch.rows)] = ((states * mask).sum(1) / mask.sum(1)).cpu().numpy()
            if number % max(1, len(batches) // REPORTS) == 0:
                log.info("embedded %d of %d batches of reviews", number, len(batches))
    return embeddings
