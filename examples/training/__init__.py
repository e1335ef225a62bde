"""The parts of train_nyu.py, one concern to a file."""
