"""Makes the matrices of each PE and the sum of their products, into OUT (default: ./out).

usage: gen_data.py KIND RANKS M K N BITS TRANSPOSE_A TRANSPOSE_B

KIND: 1, floating point. BITS: 16 or 32 of a number. TRANSPOSE: 1 where the matrix is to lie transposed in memory; the
example reads plain ones (0).
"""

import os
import pathlib
import sys

import numpy


def main():
    if len(sys.argv) != 9:
        sys.exit(__doc__)
    kind, ranks, m, k, n, bits, transpose_a, transpose_b = (int(word) for word in sys.argv[1:])
    if kind != 1 or bits not in (16, 32):
        sys.exit("gen_data.py: KIND is 1, and BITS is 16 or 32")
    folder = pathlib.Path(os.environ.get("OUT", "out"))
    folder.mkdir(parents=True, exist_ok=True)
    number = {16: numpy.float16, 32: numpy.float32}[bits]
    random = numpy.random.default_rng(1)
    golden = numpy.zeros((m, n), numpy.float32)
    for rank in range(ranks):
        a = random.uniform(-1, 1, (m, k)).astype(number)
        b = random.uniform(-1, 1, (k, n)).astype(number)
        golden += a.astype(numpy.float32) @ b.astype(numpy.float32)
        (a.T.copy() if transpose_a else a).tofile(folder / f"a_{rank}.bin")
        (b.T.copy() if transpose_b else b).tofile(folder / f"b_{rank}.bin")
    golden.astype(number).tofile(folder / "golden.bin")


main()
