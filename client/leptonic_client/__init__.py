"""The client: local training, its node and what it keeps on its own disk."""
