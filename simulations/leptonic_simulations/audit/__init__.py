"""Checks the privacy that an experiment claims by running its code: ``leptonic audit``."""
