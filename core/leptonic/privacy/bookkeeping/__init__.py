"""Clipped sums of per-example gradients from one backward pass, mostly without any example's gradient.

Each layer's inputs and output gradients determine both the norm of each example's gradient and, once the
clipping factors are known, their weighted sum. Source: Bu et al. 2022, arXiv 2210.00038.
"""
