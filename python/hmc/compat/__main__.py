"""Prints what to place on PYTHONPATH: for all libraries, or for those that are named."""

import sys

from . import folder

print(folder(*sys.argv[1:]))
