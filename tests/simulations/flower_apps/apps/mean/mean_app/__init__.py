"""A Flower app of a few numbers, whose result can be computed by hand."""
