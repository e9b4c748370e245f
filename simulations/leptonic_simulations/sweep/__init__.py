"""``leptonic sweep``: many simulations of one experiment, over a grid of settings or by a search.

The sweep's folder is the truth: ``sweep.json`` fixes what is swept, each run has its own run folder, and its
``outcome.json`` says that it ended. Whatever has an outcome is never run again; whatever has none continues.
"""
