"""Two model versions side by side: split and shadow traffic, comparison, promotion and rollback. docs/rollout.md."""
