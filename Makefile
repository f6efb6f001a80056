# The front door. Each target installs the packages it needs first, so that a fresh machine will do; SETUP=true skips it.

PREFIX ?= /usr/local
SETUP ?= scripts/setup
HOURS ?= 1
PAGES ?= 10000

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-packages test-rdma test-leases test-idle test-gpu test-vllm soak bench bench-plot bench-rdma wheel dist deb run-packages docs install format check-format tidy clean

help:
	@echo 'make demo [FILE=...]     send a file between two accelerators of two processes, and check what arrived'
	@echo 'make test                build and test, in ten minutes (PRESETS="release asan": those, the whole suite)'
	@echo 'make test-all            the rest: long tests, all of the sanitizers and the virtual machine, clang, lint'
	@echo 'make test-packages       what compiles all again: packages, other interpreters and architectures, the site'
	@echo 'make test-rdma           RDMA only, in a virtual machine with Soft-RoCE devices (part of make test)'
	@echo 'make test-leases [PAGES=] leased pages that are used again over RDMA, 10,000 of them, in that machine'
	@echo 'make test-idle           ten thousand idle peers of one context, in that machine'
	@echo 'make test-gpu            suites and figures on a machine with an NVIDIA GPU, within eight minutes'
	@echo 'make test-vllm           vLLM and LMCache themselves over HMC, on the CPU (installs 6 GB into build/vllm)'
	@echo 'make soak [HOURS=1]       everything at once: deaths, cancels, strangers, 200 peers, every byte verified'
	@echo 'make bench               measure against the raw limits and other libraries, print the ratios'
	@echo 'make bench-plot [PLOT=]   the same against other libraries as a picture (default docs/bench.svg)'
	@echo 'make bench-rdma          measure RDMA against perftest in that machine, print the ratios'
	@echo 'make wheel               a Python wheel to hand on, in build/wheel (manylinux tag, by auditwheel)'
	@echo 'make dist                the sources as a release has them, in build/dist'
	@echo 'make deb                 Debian packages (library, headers, tools, Python), in build/deb'
	@echo 'make run-packages        self-extracting installers of the SHMEM and SMEM faces, in build/run'
	@echo 'make docs                the site, in build/docs/site, and the manual pages, in build/docs/man'
	@echo 'make install [PREFIX=]   install headers, library and tools (default $(PREFIX); DESTDIR= for packagers)'
	@echo 'make format              format the sources; check-format only tells'
	@echo 'make tidy                clang-tidy'
	@echo 'make clean               remove build/'
	@echo 'JOBS=n sets how many compilers run at once.'

demo:
	@$(SETUP) build
	@scripts/build release hmc-demo
	@build/release/tools/hmc-demo $${FILE:+"$$FILE"}

test:
	@$(SETUP) build test python vm
	@scripts/test $(or $(PRESETS),quick)

test-all:
	@$(SETUP) build test python vm lint torch launchers
	@scripts/test rest

test-packages:
	@$(SETUP) build test python packages cross docs
	@scripts/test packaging

test-rdma:
	@$(SETUP) build test vm
	@scripts/build release
	@ctest --preset release -L '^vm$$'

# Needs no network where SETUP=true and the packages are there.
test-gpu:
	@$(SETUP) build test
	@scripts/test-gpu $(KIND)

test-vllm:
	@$(SETUP) build test python
	@scripts/build release
	@scripts/test-vllm

# Not part of any other target: it takes ten to fifteen minutes, which an emulated processor needs.
test-leases:
	@$(SETUP) build test vm
	@scripts/build release tests/vm/vm_leases
	@tests/vm/run -t 3600 -w . -k vgem -- build/release/tests/vm/vm_leases verbs cpu long $(PAGES)

# In the virtual machine, where root may have as many descriptors as that needs, whatever the limit outside. Not part of any
# other target either.
test-idle:
	@$(SETUP) build test vm
	@scripts/build release crowds
	@tests/vm/run -m 6144 -t 2980 -w . -- build/release/tests/crowds/crowds tcp 'idle_*'

soak:
	@$(SETUP) build test
	@scripts/build release soak
	@build/release/tests/soak/soak $$(($(HOURS) * 3600))

bench:
	@$(SETUP) build bench
	@scripts/build release
	@bench/run

# The picture of the site: HMC beside UCX, NIXL, Mooncake and Open MPI's OSHMEM.
bench-plot:
	@$(SETUP) build bench python launchers
	@scripts/build release
	@bench/plot -o $(or $(PLOT),docs/bench.svg)

bench-rdma:
	@$(SETUP) build vm
	@scripts/build release
	@bench/rdma

wheel:
	@$(SETUP) build python
	@scripts/wheel

dist:
	@scripts/dist

deb:
	@$(SETUP) build packages
	@scripts/deb

run-packages:
	@$(SETUP) build python packages
	@scripts/build release
	@scripts/run-packages

docs:
	@$(SETUP) build docs
	@scripts/docs

install:
	@$(SETUP) build
	@cmake -S . -B build/installed -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_STATIC_LIB=ON -DHMC_TESTS=OFF -DHMC_EXAMPLES=OFF
	@cmake --build build/installed -j "$${JOBS:-$$(nproc)}"
	@cmake --install build/installed --prefix '$(PREFIX)'
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" -eq 0 ]; then ldconfig; fi

format:
	@$(SETUP) lint
	@scripts/sources | xargs clang-format -i

check-format:
	@$(SETUP) lint
	@scripts/lint format

tidy:
	@$(SETUP) build test lint
	@scripts/build release
	@scripts/lint tidy

clean:
	@rm -rf build
