"""Compares what the example wrote with what it should have written.

usage: verify_result.py OUTPUT GOLDEN KIND M N BITS
"""

import sys

import numpy


def main():
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    m, n, bits = (int(word) for word in sys.argv[4:])
    number = {16: numpy.float16, 32: numpy.float32}[bits]
    output, golden = (numpy.fromfile(path, number).astype(numpy.float32) for path in sys.argv[1:3])
    if output.size != m * n or golden.size != m * n:
        sys.exit(f"verify_result.py: {output.size} and {golden.size} numbers, not {m * n}")
    tolerance = {16: 2e-3, 32: 1e-4}[bits]
    wrong = numpy.count_nonzero(numpy.abs(output - golden) > tolerance * numpy.maximum(1, numpy.abs(golden)) * 4)
    if wrong:
        sys.exit(f"verify_result.py: {wrong} of {m * n} numbers are wrong")
    print(f"{m * n} numbers are right")


main()
