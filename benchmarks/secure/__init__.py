"""Secure aggregation measured: one process for each workload."""
