"""Secure aggregation: the sum of a cohort's updates, and no single one, through a coordinator that may lie.

Pure: bytes in, bytes out. The protocol is ``leptonic-secagg/1``, written down in docs/secagg.md.
"""
