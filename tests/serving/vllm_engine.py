"""One engine of vLLM on the CPU, with a tiny model of random weights: prefill, decode, or alone. The weights are as large as
those of a trained model, so that attention counts: with vLLM's own dummies, of a thousandth, it does not.

    vllm_engine.py <folder> <prefill | decode | alone>

Prefill writes what the decoder has to know to <folder>/params.json and stays until <folder>/done exists; decode waits for
that file. Both print their tokens as JSON.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

PROMPT = [(7 * i * i + 3 * i) % 1000 for i in range(200)]
MODEL = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 1024,
    "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}


def write_model(folder):
    """The files of a model that transformers would write, in `folder`, where the other engine may be writing them too."""
    import numpy
    from safetensors.numpy import save_file

    chance = numpy.random.default_rng(1)
    hidden, inner, words = MODEL["hidden_size"], MODEL["intermediate_size"], MODEL["vocab_size"]
    shapes = {"model.embed_tokens": (words, hidden), "lm_head": (words, hidden)}
    for layer in range(MODEL["num_hidden_layers"]):
        name = "model.layers.%d." % layer
        shapes.update({name + "self_attn.%s_proj" % each: (hidden, hidden) for each in "qkvo"})
        shapes.update({name + "mlp.gate_proj": (inner, hidden), name + "mlp.up_proj": (inner, hidden),
                       name + "mlp.down_proj": (hidden, inner)})
    weights = {name + ".weight": (chance.standard_normal(shape) * 1.5 / shape[1] ** 0.5).astype(numpy.float32)
               for name, shape in shapes.items()}
    norms = ["model.norm"] + ["model.layers.%d.%s_layernorm" % (layer, place) for layer in range(MODEL["num_hidden_layers"])
                              for place in ("input", "post_attention")]
    weights.update({name + ".weight": numpy.ones(hidden, numpy.float32) for name in norms})
    part = pathlib.Path(tempfile.mkdtemp(dir=folder.parent))
    (part / "config.json").write_text(json.dumps(MODEL))
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    try:
        part.rename(folder)
    except OSError:
        shutil.rmtree(part)
        assert folder.exists()


def make_engine(folder, connected):
    from vllm import LLM
    from vllm.config import KVTransferConfig

    more = {}
    if connected:
        more["kv_transfer_config"] = KVTransferConfig(
            kv_connector="NixlConnector", kv_role="kv_both", kv_buffer_device="cpu",
            kv_connector_extra_config={"backends": os.environ.get("HMC_TEST_BACKENDS", "HMC").split(",")})
    return LLM(model=str(folder / "model"), load_format="safetensors", skip_tokenizer_init=True, dtype="float32",
               enforce_eager=True, block_size=32, max_model_len=512, max_num_seqs=4, enable_prefix_caching=False, **more)


def generate(engine, count, params):
    from vllm import SamplingParams

    extra = {"extra_args": {"kv_transfer_params": params}} if params else {}
    sampling = SamplingParams(temperature=0.0, max_tokens=count, ignore_eos=True, detokenize=False, **extra)
    return engine.generate([{"prompt_token_ids": PROMPT}], sampling)[0]


def wait_for(path, seconds=600):
    end = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > end:
            sys.exit("%s does not come" % path)
        time.sleep(0.1)


def main():
    folder, role = pathlib.Path(sys.argv[1]), sys.argv[2]
    write_model(folder / "model")
    engine = make_engine(folder, role != "alone")
    if role == "prefill":
        made = generate(engine, 1, {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None,
                                    "remote_block_ids": None, "remote_host": None, "remote_port": None})
        part = folder / "params.part"
        part.write_text(json.dumps(made.kv_transfer_params))
        part.rename(folder / "params.json")
        print("tokens", json.dumps(list(made.outputs[0].token_ids)), flush=True)
        wait_for(folder / "done")
        return
    params = None
    if role == "decode":
        wait_for(folder / "params.json")
        params = json.loads((folder / "params.json").read_text())
    made = generate(engine, 8, params)
    print("tokens", json.dumps(list(made.outputs[0].token_ids)), flush=True)
    (folder / "done").touch()


if __name__ == "__main__":
    main()
