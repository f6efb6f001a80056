# Finds oshcc and oshrun: of SHMEM_HOME_PATH, of this tree's build, or in PATH. Sourced by the examples' scripts.
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
for folder in "${SHMEM_HOME_PATH:-/nowhere}/bin" "$here/../install/bin" "$here/../build/release/tools"; do
  if [ -x "$folder/oshcc" ]; then
    OSHCC=${OSHCC:-$folder/oshcc} OSHRUN=${OSHRUN:-$folder/oshrun}
    break
  fi
done
OSHCC=${OSHCC:-oshcc} OSHRUN=${OSHRUN:-oshrun}
