"""A plain Flower app on handwritten digits, whose updates are summed securely."""
