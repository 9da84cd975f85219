"""Which reviews to label next: several strategies fill one labelling round, each review with its reason in words.

    python -m training.selection --repository model_repository --pool reviews.jsonl --count 500 --output round.csv
    python -m training.selection.simulate --help

``docs/sample_selection.md`` says what each strategy looks for, and what simulated rounds showed.
"""

from training.selection.pool import PoolReview, read_pool
from training.selection.quotas import DEFAULT_QUOTAS
from training.selection.selector import Selected, select

__all__ = ["DEFAULT_QUOTAS", "PoolReview", "Selected", "read_pool", "select"]
