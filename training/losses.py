"""The losses: binary cross-entropy over known keywords, and cross-entropy over the sentiments left open.

Both can be weighted by class or focal. Focal loss (Lin et al. 2017, arXiv:1708.02002) multiplies each term by
``(1 - p)^gamma``, so that what is already right counts little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Loss = Literal["plain", "weighted", "focal"]
LOSS_CHOICES: tuple[Loss, ...] = get_args(Loss)
FOCAL_GAMMA = 2.0
# Balanced weights of a rare keyword would be 50 and more: their root moves the loss without drowning the others.
MAX_CLASS_WEIGHT = 5.0


@dataclass(frozen=True)
class LossOptions:
    """``class_weights``: FP32 ``[K]`` on the positives of a keyword, or ``[S]`` on a sentiment; None: all 1."""

    class_weights: Tensor | None = None
    gamma: float = 0.0


def keyword_loss(logits: Tensor, targets: Tensor, known: Tensor, options: LossOptions | None = None) -> Tensor:
    """Mean binary cross-entropy over the keywords that are known; tensors are ``[B, K]``.

    Targets may be soft: the focal factor is then the distance to the target (Li et al. 2020, arXiv:2006.04388).
    """
    options = options or LossOptions()
    logits = logits.float()
    weights = None if options.class_weights is None else options.class_weights.to(logits.device)
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weights)
    if options.gamma:
        losses = losses * (targets - logits.sigmoid()).abs() ** options.gamma
    return (losses * known).sum() / known.sum().clamp(min=1)


def sentiment_loss(logits: Tensor, allowed: Tensor, options: LossOptions | None = None) -> Tensor:
    """Mean of ``-log sum p(c)`` over the allowed classes c; both tensors are ``[B, S]``.

    With one allowed class this is cross-entropy. With several (a review known only as positive allows 긍정 and
    매우긍정) the model is asked for the sum and free to divide it: the marginal likelihood of the partial label.
    """
    options = options or LossOptions()
    log_probs = F.log_softmax(logits.float(), dim=-1)
    log_likelihood = torch.logsumexp(log_probs.masked_fill(allowed == 0, -torch.inf), dim=-1)
    losses = -log_likelihood
    if options.gamma:
        losses = losses * (1 - log_likelihood.exp()) ** options.gamma
    if options.class_weights is None:
        return losses.mean()
    weights = (allowed * options.class_weights.to(allowed.device)).sum(1) / allowed.sum(1)
    return (losses * weights).sum() / weights.sum()


def keyword_class_weights(targets: NDArray[np.float32], known: NDArray[np.float32]) -> Tensor:
    """FP32 ``[K]``: the root of negatives over positives, at least 1; arguments ``[N, K]``."""
    positive = (targets * known).sum(0)
    negative = known.sum(0) - positive
    weights = np.sqrt(negative / np.maximum(positive, 1))
    return torch.from_numpy(np.clip(np.where(positive > 0, weights, 1), 1, MAX_CLASS_WEIGHT).astype(np.float32))


def sentiment_class_weights(allowed: NDArray[np.float32]) -> Tensor:
    """FP32 ``[S]``: the root of the mean class count over a class's own; counts rows of ``[N, S]`` with one class."""
    counts = allowed[allowed.sum(1) == 1].sum(0)
    weights = np.sqrt(counts.mean() / np.maximum(counts, 1))
    limited = np.clip(np.where(counts > 0, weights, 1), 1 / MAX_CLASS_WEIGHT, MAX_CLASS_WEIGHT)
    return torch.from_numpy(limited.astype(np.float32))
