#!/bin/bash
# Compiles the example with oshcc of this tree's build, or the one in PATH.
set -euo pipefail
cd "$(dirname "$0")"
. ../shmem_env.sh
mkdir -p out
"$OSHCC" -O2 rdma_demo.c -o "${OUT:-out}/rdma_demo"
