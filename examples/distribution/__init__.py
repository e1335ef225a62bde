"""The parts of depth_distribution.py."""
