"""Plots that people would rather see than read: ``python -m training.plots --help``.

``diagnostics`` and ``power_law`` count, ``figures`` and ``learning_curves`` draw, ``style`` writes SVG.
"""
