"""The generative alternative: a causal language model that writes the labels of a review as text.

A baseline, so that anyone can see on their own data what classification gains. It gives no highlights and no
probabilities, hence no thresholds and no calibration; see ``docs/generative_baseline.md``.
"""
