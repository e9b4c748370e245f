"""Rounds whose sums alone the coordinator sees: the trips of each session, and what is kept of them."""
