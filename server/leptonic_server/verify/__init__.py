"""What somebody else can check of a run with secure aggregation, from its folder and their own notes."""
