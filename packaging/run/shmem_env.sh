# Source this file: it shows programs where HMC's SHMEM is installed.
shmem_script="${BASH_SOURCE:-${(%):-%x}}"
SHMEM_HOME_PATH="$(cd "$(dirname "$shmem_script")" && pwd)"
unset shmem_script
export SHMEM_HOME_PATH
export PATH="$SHMEM_HOME_PATH/bin:$PATH"
export LD_LIBRARY_PATH="$SHMEM_HOME_PATH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export HMC_SHMEM_LIBRARY="$SHMEM_HOME_PATH/lib/libshmem.so.1"
export PYTHONPATH="$SHMEM_HOME_PATH/python${PYTHONPATH:+:$PYTHONPATH}"
