"""Checks of an environment before training: whether it is what it says, and whether there is anything to learn."""
