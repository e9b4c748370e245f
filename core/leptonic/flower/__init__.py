"""What both sides of a Flower app share, so that its updates are summed securely: terms, encodings, names."""
