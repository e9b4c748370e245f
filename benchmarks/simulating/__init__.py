"""The parts of benchmarks/simulation.py, and the programs of ours that they run."""
