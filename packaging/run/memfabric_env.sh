# Source this file: it shows programs that were written for MemFabric Hybrid where HMC's SMEM face is installed.
smem_script="${BASH_SOURCE:-${(%):-%x}}"
MEMFABRIC_HYBRID_HOME_PATH="$(cd "$(dirname "$smem_script")" && pwd)/latest"
unset smem_script
export MEMFABRIC_HYBRID_HOME_PATH
export PATH="$MEMFABRIC_HYBRID_HOME_PATH/@ARCH@-linux/bin:$PATH"
export LD_LIBRARY_PATH="$MEMFABRIC_HYBRID_HOME_PATH/@ARCH@-linux/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONPATH="$MEMFABRIC_HYBRID_HOME_PATH/@ARCH@-linux/python${PYTHONPATH:+:$PYTHONPATH}"
