"""Labelled pictures of phantoms: views with the truth at every pixel, for training and for tests."""
