"""What each aggregation rule survives: every rule against every attack, each cell a simulation of its own."""
