#!/bin/bash
# Runs the example on the data of utils/gen_data.py: bash run.sh -ranks 2 -M 1024 -K 2048 -N 8192 [-bits 16]
set -euo pipefail
cd "$(dirname "$0")"
. ../shmem_env.sh
ranks=2 M=1024 K=2048 N=8192 bits=16
while [ $# -gt 1 ]; do
  case $1 in
  -ranks) ranks=$2 ;;
  -M) M=$2 ;;
  -K) K=$2 ;;
  -N) N=$2 ;;
  -bits) bits=$2 ;;
  *) echo "run.sh: $1 is not an option (-ranks, -M, -K, -N, -bits)" >&2; exit 2 ;;
  esac
  shift 2
done
exec "$OSHRUN" -n "$ranks" "${OUT:-out}/matmul_allreduce" "${OUT:-out}" "$M" "$K" "$N" "$bits"
