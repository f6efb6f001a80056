#!/bin/bash
# Runs the example: bash run.sh [-ranks N] [-size BYTES]
#
# HMC_TRANSPORTS=rdma or =tcp makes the PEs of one host talk as those of several do; 8666 is the port at which PEs meet
# that have no launcher.
set -euo pipefail
cd "$(dirname "$0")"
. ../shmem_env.sh
ranks=2 size=1048576
while [ $# -gt 1 ]; do
  case $1 in
  -ranks) ranks=$2 ;;
  -size) size=$2 ;;
  *) echo "run.sh: $1 is not an option (-ranks, -size)" >&2; exit 2 ;;
  esac
  shift 2
done
exec "$OSHRUN" -n "$ranks" "${OUT:-out}/rdma_demo" "$size"
