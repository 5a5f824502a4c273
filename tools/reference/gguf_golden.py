#!/usr/bin/env python3
"""Writes tests/golden/gguf/python.gguf and tests/golden/gguf/hugging_face/ with the Python packages gguf and safetensors,
and copies of them where the fuzzers start from.

    python3 -m venv VENV && VENV/bin/pip install numpy gguf safetensors && VENV/bin/python tools/reference/gguf_golden.py
"""
import json
import pathlib
import shutil

import gguf
import numpy as np
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "gguf"


def write_gguf():
    writer = gguf.GGUFWriter(str(OUT / "python.gguf"), "llama")
    writer.add_name("a file of another hand")
    writer.add_block_count(1)
    writer.add_embedding_length(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_bool("test.bool", True)
    writer.add_uint8("test.uint8", 200)
    writer.add_int8("test.int8", -100)
    writer.add_uint16("test.uint16", 60000)
    writer.add_int16("test.int16", -30000)
    writer.add_uint64("test.uint64", 2**63 + 1)
    writer.add_int64("test.int64", -(2**62))
    writer.add_float64("test.float64", 0.1)
    writer.add_array("test.floats", [0.5, -1.5])
    writer.add_array("test.ints", [1, -2, 3])
    writer.add_token_list(["<unk>", "é", "日本"])
    writer.add_tensor("token_embd.weight", np.arange(96, dtype=np.float32).reshape(3, 32))
    writer.add_tensor("output_norm.weight", np.linspace(-1, 1, 32, dtype=np.float32))
    half = np.linspace(-1, 1, 64).astype(np.float16).reshape(2, 32)
    writer.add_tensor("test.half", half)
    blocks = gguf.quants.quantize(np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("test.q8_0", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_hugging_face():
    """A LLaMA of one layer in two shards; tensor i is filled with i + element / 1024."""
    folder = OUT / "hugging_face"
    folder.mkdir(parents=True, exist_ok=True)
    hidden, ffn, vocab, kv = 8, 12, 10, 4
    layer = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": (vocab, hidden),
        layer + "self_attn.q_proj.weight": (hidden, hidden),
        layer + "self_attn.k_proj.weight": (kv, hidden),
        layer + "self_attn.v_proj.weight": (kv, hidden),
        layer + "self_attn.o_proj.weight": (hidden, hidden),
        layer + "self_attn.rotary_emb.inv_freq": (2,),
        layer + "mlp.gate_proj.weight": (ffn, hidden),
        layer + "mlp.up_proj.weight": (ffn, hidden),
        layer + "mlp.down_proj.weight": (hidden, ffn),
        layer + "input_layernorm.weight": (hidden,),
        layer + "post_attention_layernorm.weight": (hidden,),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (vocab, hidden),
    }
    tensors = {}
    for i, (name, shape) in enumerate(shapes.items()):
        count = int(np.prod(shape))
        tensors[name] = (i + np.arange(count, dtype=np.float32).reshape(shape) / 1024).astype(
            np.float16 if i % 2 else np.float32
        )
    names = list(shapes)
    shards = {"model-00001-of-00002.safetensors": names[:6], "model-00002-of-00002.safetensors": names[6:]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, str(folder / file), metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": 1,
        "vocab_size": vocab,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True, "chat_template": "{{ bos_token }}"}))
    (folder / "tokenizer.json").write_text("{}")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write_gguf()
    write_hugging_face()
    corpus = OUT.parents[1] / "fuzz" / "corpus"
    for name, file in {"gguf": "python.gguf", "safetensors": "hugging_face/model-00001-of-00002.safetensors"}.items():
        (corpus / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(OUT / file, corpus / name / pathlib.Path(file).name)
    (corpus / "safetensors" / "header").write_text(
        '{"__metadata__":{"a":"b"},"w":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}' + "\0" * 8
    )
