"""torch tensors, of the host or of a device: register one, and put and get others. Needs torch (pip install torch)."""

import sys

import hmc

try:
    import torch
except ImportError:
    sys.exit("this example needs torch: pip install torch (Debian: apt install python3-torch)")


def main():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with hmc.Context("owner") as owner, hmc.Context("user") as user:
        weights = torch.zeros(256, 256, device=device)
        owner.register(weights, name="weights")
        remote = user.connect(str(owner.listen("127.0.0.1:0"))).open("weights")
        update = torch.arange(65536, dtype=torch.float32, device=device).reshape(256, 256)
        remote.put(update)
        assert torch.equal(weights, update)
        remote.put(update.t())  # not contiguous: travels as it lies
        assert torch.equal(weights, update.t())
        out = torch.empty_like(weights)
        remote.get_into(out)
        assert torch.equal(out, weights)
    print("%d floats of %s memory, both ways" % (out.numel(), device))


if __name__ == "__main__":
    main()
