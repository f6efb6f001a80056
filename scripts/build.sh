#!/bin/bash
# Builds HMC with SHMEM and installs it into install/ of this tree, under the flags that SHMEM for Ascend's script has.
#
#   bash scripts/build.sh [-python_extension] [-uttests] [-DNAME=VALUE]...
#   source install/set_env.sh
#
# -python_extension: the Python package too. -uttests: the tests too; then run tests/unittest/shmem_unittest.
# -DSHMEM_RDMA=ON: fail where RDMA cannot be built. PREFIX: where to install (default: install).
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=${PREFIX:-$PWD/install}
python=OFF tests=OFF settings=()
for word in "$@"; do
  case $word in
  -python_extension) python=ON ;;
  -uttests) tests=ON ;;
  -DSHMEM_RDMA=ON) settings+=(-DHMC_VERBS=ON) ;;
  -D*) settings+=("$word") ;;
  *) echo "build.sh: $word is not an option (-python_extension, -uttests, -DNAME=VALUE)" >&2; exit 2 ;;
  esac
done
groups=(build)
[ $tests = OFF ] || groups+=(test)
"${SETUP:-scripts/setup}" "${groups[@]}"
build=${BUILD:-build/install}
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DHMC_TESTS=$tests "${settings[@]}"
cmake --build "$build" -j "${JOBS:-$(nproc)}"
cmake --install "$build" --prefix "$prefix"
libraries=$(cd "$prefix" && dirname "$(find . -name libshmem.so | head -n 1)")
if [ $python = ON ]; then
  mkdir -p "$prefix/python"
  cp -r python/shmem "$prefix/python/"
fi
cat >"$prefix/set_env.sh" <<END
# Sourced: lets programs find SHMEM of this folder.
home=\$(cd "\$(dirname "\${BASH_SOURCE[0]}")" && pwd)
export SHMEM_HOME_PATH=\$home
export PATH=\$home/bin:\$PATH
export LD_LIBRARY_PATH=\$home/${libraries#./}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export HMC_SHMEM_LIBRARY=\$home/${libraries#./}/libshmem.so.1
export PYTHONPATH=\$home/python\${PYTHONPATH:+:\$PYTHONPATH}
END
echo "installed into $prefix; next: source $prefix/set_env.sh"
