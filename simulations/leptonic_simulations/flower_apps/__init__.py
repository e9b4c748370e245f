"""Any Flower app, unmodified, on an in-process grid: ``leptonic simulate --flower``."""
