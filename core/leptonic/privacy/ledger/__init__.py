"""The privacy ledger that a data owner controls: what every run has spent of their data's privacy, for ever.

A node reserves before it trains and settles before anything leaves (:class:`Ledger`). What was reserved counts in full:
nothing is ever refunded. To pay back what was not used is to stop adaptively, which is valid only for a filter at one
Renyi order that was fixed beforehand (Feldman & Zrnic 2021, arXiv 2008.11193), while balances here take the best order
of a sum; and whether something has left is the word of a process that may have been killed.
"""

from leptonic.privacy.ledger.charge import Adjacency, Charge, Cost, RoundKey, Unit
from leptonic.privacy.ledger.ledger import LEDGER_FILE, Ledger
from leptonic.privacy.ledger.limits import Limits, all_answered, check_distance

__all__ = [
    "LEDGER_FILE",
    "Adjacency",
    "Charge",
    "Cost",
    "Ledger",
    "Limits",
    "RoundKey",
    "Unit",
    "all_answered",
    "check_distance",
]
