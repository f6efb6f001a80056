#!/bin/bash
# Compiles the example with oshcc of this tree's build, or the one in PATH.
set -euo pipefail
cd "$(dirname "$0")"
. ../shmem_env.sh
mkdir -p out
"$OSHCC" -O3 -march=native -ffast-math matmul_allreduce.c -o "${OUT:-out}/matmul_allreduce"
