"""A vendor's library that lacks one symbol, for each symbol of the look-alike: what needs it does not work and names it, and
nothing else changes.

    missing.py PROBE KIND VARIABLE        (VARIABLE names the look-alike)

The library is copied with the symbol's name spoilt, so that dlsym() does not find it.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

# One of what each vendor can do without: {symbol: the line that then says so}.
SAYS_SO = {
    "nvidia": {"cuMemHostRegister_v2": "pinning", "cuMemGetHandleForAddressRange": "dma-buf", "cuIpcGetMemHandle": "sharing"},
    "amd": {"hipHostRegister": "pinning", "hipMemGetHandleForAddressRange": "dma-buf", "hipIpcGetMemHandle": "sharing"},
    "mlu": {"cnrtHostMalloc": "host memory", "cnrtAcquireMemHandle": "sharing"},
    "moore": {"musaHostRegister": "pinning", "musaIpcGetMemHandle": "sharing"},
    "ascend": {"aclrtHostRegisterV2": "pinning", "aclrtIpcMemGetExportKey": "sharing"},
}
ALWAYS = {"allocating", "copying", "copying between devices", "a batch", "freeing"}
LESS = {"features", "description", "link is"}       # lines that may say less, and no more than that


def look(probe, kind, variable, library):
    """{what: answer}"""
    done = subprocess.run([probe, kind], env={**os.environ, variable: library}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=250, check=False)
    if done.returncode:
        raise AssertionError(f"the probe ended with {done.returncode}:\n{done.stdout}")
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


def spoil(image, symbol):
    """The image without that symbol; None where its name is the end of another's, and cannot be spoilt by itself."""
    name = b"\0" + symbol.encode() + b"\0"
    at = image.find(name)
    return image[:at + 1] + b"~" + image[at + 2:] if at >= 0 else None


def fault(symbol, whole, without):
    """What is wrong about the answers without the symbol, or None."""
    if without["devices"].startswith("no"):
        lone = len(without) == 1 and f"has no {symbol}: is it of the right version?" in without["devices"]
        return None if lone else f"not for want of {symbol}: {without}"
    for what, answer in whole.items():
        if without.get(what) == answer or what in LESS:
            continue
        if what in ALWAYS or not without.get(what, "").endswith(f"has no {symbol}"):
            return f"{what}: {without.get(what)}"
    return None


def main():
    probe, kind, variable = sys.argv[1:4]
    library = os.environ[variable]
    said = subprocess.run(["nm", "-D", "--defined-only", library], stdout=subprocess.PIPE, text=True, check=True).stdout
    symbols = sorted(line.split()[-1] for line in said.splitlines())
    whole = look(probe, kind, variable, library)
    with open(library, "rb") as file:
        image = file.read()
    with tempfile.TemporaryDirectory(prefix="hmc-test-missing-") as folder:

        def try_one(symbol):
            path = os.path.join(folder, symbol + ".so")
            spoilt = spoil(image, symbol)
            if spoilt is None:
                raise AssertionError(f"the name {symbol} cannot be spoilt")
            with open(path, "wb") as file:
                file.write(spoilt)
            return look(probe, kind, variable, path)

        with ThreadPoolExecutor(2) as threads:
            answers = dict(zip(symbols, threads.map(try_one, symbols)))
    faults = [f"without {symbol}: {text}" for symbol, each in answers.items() for text in [fault(symbol, whole, each)] if text]
    for symbol, what in SAYS_SO[kind].items():
        if not answers[symbol].get(what, "").endswith(f"has no {symbol}"):
            faults.append(f"without {symbol}: {what}: {answers[symbol].get(what)}")
    base = [symbol for symbol, each in answers.items() if each["devices"].startswith("no")]
    print(f"{len(symbols)} symbols, {len(base)} of which must be there")
    if faults or not 5 < len(base) < len(symbols):
        sys.exit("\n".join(faults) or "the symbols that must be there are not told from the others")


main()
