"""Smaller models, measured: pruning, vocabulary trimming, int8 and distillation, with a gate on what they lose."""
