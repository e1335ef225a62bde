"""The parts of ablation.py, one concern to a file."""
