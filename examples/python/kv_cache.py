"""A KV cache goes from a prefill process to a decode process, layer by layer while the next one is computed.

The cache is paged: each layer's blocks lie scattered at both ends, so a layer travels as one batch, and a signal behind
it tells the decode process that it may begin. Draws the timeline of both ends into a PNG where matplotlib is installed.

    python kv_cache.py [timeline.png]
"""

import multiprocessing
import sys
import time

import numpy as np

import hmc

LAYERS, BLOCKS, BLOCK = 16, 64, 32 << 10  # 16 layers of 64 blocks of 32 KiB: 32 MiB
POOL = 4 * BLOCKS  # blocks of each end's pool, of which the request has some


def decode(pipe):
    """Owns the pool that the cache comes to."""
    with hmc.Context("decode") as ctx:
        pool = ctx.allocate(LAYERS * POOL * BLOCK, name="kv")
        words = ctx.allocate(64, name="ready")
        pipe.send(str(ctx.listen("127.0.0.1:0")))
        table = np.random.default_rng(1).permutation(POOL)[:BLOCKS]
        pipe.send(table)
        view, arrived = np.asarray(pool).reshape(LAYERS, POOL, BLOCK), []
        for layer in range(LAYERS):
            words.word(0).wait(layer + 1)
            arrived.append(time.time())
            assert (view[layer, table, 0] == layer + 1).all() and (view[layer, table, -1] == layer + 1).all()
        del view
        pipe.send(arrived)
        pipe.recv()


def compute(cache, layer, table):
    """What a model would take its time for."""
    cache[layer, table] = layer + 1
    end = time.perf_counter() + 0.004
    while time.perf_counter() < end:
        pass


def prefill(pipe):
    """Computes the layers and puts each as soon as it is there; gives when each was computed and complete."""
    with hmc.Context("prefill") as ctx:
        peer = ctx.connect(pipe.recv())
        theirs = pipe.recv()
        remote, ready = peer.open("kv"), peer.open("ready")
        local = ctx.allocate(LAYERS * POOL * BLOCK)
        cache = np.asarray(local).reshape(LAYERS, POOL, BLOCK)
        mine = np.random.default_rng(2).permutation(POOL)[:BLOCKS]
        spans, requests = [], []
        for layer in range(LAYERS):
            begin = time.time()
            compute(cache, layer, mine)
            pieces = np.empty((BLOCKS, 3), np.uint64)
            pieces[:, 0], pieces[:, 1], pieces[:, 2] = (layer * POOL + mine) * BLOCK, (layer * POOL + theirs) * BLOCK, BLOCK
            started = time.time()
            requests.append(remote.batch(local, pieces).put_nb(signal=ready.signal(0, add=1)))
            spans.append((begin, started))
        hmc.wait_all(requests)
        del cache
        return peer.via, spans, pipe.recv()


def draw(path, spans, arrived):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    zero = spans[0][0]
    figure, axes = plt.subplots(figsize=(9, 4.5))
    for layer, ((begin, started), there) in enumerate(zip(spans, arrived)):
        axes.barh(layer, (started - begin) * 1e3, left=(begin - zero) * 1e3, color="tab:blue",
                  label="computed" if not layer else None)
        axes.barh(layer, (there - started) * 1e3, left=(started - zero) * 1e3, color="tab:orange",
                  label="on its way" if not layer else None)
    axes.invert_yaxis()
    axes.set_xlabel("ms since the first layer began")
    axes.set_ylabel("layer")
    axes.set_title("KV cache of %d MiB, prefill to decode" % (LAYERS * BLOCKS * BLOCK >> 20))
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=decode, args=(theirs,))
    process.start()
    via, spans, arrived = prefill(ours)
    ours.send("done")
    process.join()
    late = (arrived[-1] - spans[-1][1]) * 1e3
    print("%d layers by %s; the last one was there %.1f ms after it was computed" % (len(arrived), via, late))
    if len(sys.argv) > 1:
        try:
            draw(sys.argv[1], spans, arrived)
            print("the timeline is in %s" % sys.argv[1])
        except ImportError:
            print("no picture: pip install matplotlib")


if __name__ == "__main__":
    main()
