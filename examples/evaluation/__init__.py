"""The parts of evaluate_nyu.py."""
