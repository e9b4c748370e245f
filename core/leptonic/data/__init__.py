"""Data sets, the contract that both sides know, partitions among clients, and local sources."""
