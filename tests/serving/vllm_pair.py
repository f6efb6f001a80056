"""Unchanged vLLM: prefill in one process, decode in another, the key-value cache from one to the other by HMC.

    vllm_pair.py <python with vLLM> [ours | plugin]...

"ours" puts hmc.compat.nixl in the place of NIXL, "plugin" loads HMC's plug-in into NIXL's wheel. For each: the tokens are
those of one engine alone, the bytes that the backend moved are counted, and when one byte of what arrived is flipped the
tokens are others.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent


def environment(way, folder, flip):
    made = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_HOST_IP": "127.0.0.1",
            "HMC_TEST_COUNT": str(folder / "count"), "HMC_TEST_BACKENDS": "HMC"}
    path = [str(HERE / "witness"), os.environ.get("HMC_TEST_PACKAGES", "")]
    if way == "ours":
        made["HMC_TEST_NIXL"] = str(SOURCE / "python/hmc/compat/path/nixl")
    else:
        made["HMC_TEST_NIXL"] = str(folder)     # nothing there: the wheel's own is found behind it
        made["NIXL_PLUGIN_DIR"] = os.environ["HMC_NIXL_PLUGINS"]
    if flip:
        made["HMC_TEST_FLIP"] = "1"
    made["PYTHONPATH"] = os.pathsep.join(each for each in path if each)
    return made


def start(python, folder, role, variables, port):
    return subprocess.Popen([python, HERE / "vllm_engine.py", folder, role], stdout=subprocess.PIPE,
                            stderr=open(folder / (role + ".log"), "w"), text=True,
                            env={**variables, "VLLM_NIXL_SIDE_CHANNEL_PORT": str(port)})


def tokens_of(process, folder, role):
    out, _ = process.communicate(timeout=1200)
    for line in out.splitlines():
        if line.startswith("tokens ") and line != "tokens []":
            return json.loads(line[7:])
    log = (folder / (role + ".log")).read_text()        # vLLM's own goes to standard output
    sys.exit("%s gave no tokens:\n%s\n%s" % (role, out[-12000:], log[-3000:]))


def once(python, way, flip=False):
    """The decoder's tokens, and the lines that were counted."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hmc-test-vllm-"))
    try:
        variables = environment(way, folder, flip)
        processes = {role: start(python, folder, role, variables, port)
                     for role, port in (("prefill", 5610), ("decode", 5660))}
        try:
            tokens = tokens_of(processes["decode"], folder, "decode")
            tokens_of(processes["prefill"], folder, "prefill")
        finally:
            for each in processes.values():
                each.kill()
        return tokens, (folder / "count").read_text().split("\n")[:-1] if (folder / "count").exists() else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def alone(python):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hmc-test-vllm-"))
    try:
        return tokens_of(start(python, folder, "alone", environment("ours", folder, False), 5610), folder, "alone")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    python, ways = sys.argv[1], sys.argv[2:] or ["ours", "plugin"]
    expected = alone(python)
    print("one engine alone:        tokens", expected, flush=True)
    for way in ways:
        tokens, counted = once(python, way)
        print("%-8s decode:         tokens %s; backend, bytes, blocks: %s" % (way, tokens, "; ".join(counted)), flush=True)
        assert tokens == expected, "the decoder's tokens differ"
        assert len(counted) == 1 and counted[0].startswith("HMC ") and int(counted[0].split()[1]) > 0, counted
        damaged, counted = once(python, way, flip=True)
        print("%-8s one byte flipped: tokens %s" % (way, damaged), flush=True)
        assert damaged != expected, "a flipped byte changed nothing: the decoder does not use what arrived"


if __name__ == "__main__":
    main()
