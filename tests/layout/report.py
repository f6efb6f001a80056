"""What the layout tests share: how they end."""

import sys


def finish(faults, checked, what):
    """Prints the faults, or what was checked, and exits. Nothing to check is a fault: the test looked elsewhere."""
    if not checked:
        faults.append(f"found no {what} to check")
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(f"{len(faults)} faults")
    print(f"checked {checked} {what}")
