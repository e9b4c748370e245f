"""Asynchronous simulations (FedBuff): no rounds, a step of the server for every so many updates.

Source: Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous Aggregation", arXiv 2106.06639, Algorithm 1.
"""
