"""Prints the folder to place on PYTHONPATH."""

from . import folder

print(folder())
