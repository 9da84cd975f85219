"""The two losses: binary cross-entropy over known keywords, and cross-entropy over the sentiments left open."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def keyword_loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Mean binary cross-entropy over the keywords that are known; all arguments are ``[B, K]``."""
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def sentiment_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """Mean of ``-log sum p(c)`` over the allowed classes c; both arguments are ``[B, S]``.

    With one allowed class this is cross-entropy. With several (a review known only as positive allows 긍정 and
    매우긍정) the model is asked for the sum and free to divide it: the marginal likelihood of the partial label.
    """
    log_probs = F.log_softmax(logits.float(), dim=-1)
    return -torch.logsumexp(log_probs.masked_fill(allowed == 0, -torch.inf), dim=-1).mean()
