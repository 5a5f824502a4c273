#!/usr/bin/env python3
"""Writes what a Hugging Face model computes on the CPU, module by module, as a trace that `tl compare` reads.

  python transformers_trace.py FOLDER (-p TEXT | --tokens 1,2,3) -o hf.tlt [--dtype float64] [--names GLOB]

FOLDER holds config.json and the weights (and the tokenizer, for -p). Needs the packages torch and transformers, which
requirements.txt leaves out for their size. Every module's output is recorded under the module's name
("model.layers.3.mlp.down_proj"). Two things to know when comparing: the output of the last layer here is that before
the final norm, whereas `output_hidden_states` would give it after; and rows of q_proj and k_proj stand in another order
than in GGUF files of the llama architecture, which `tl compare` sees through.
"""
import argparse
import fnmatch
import pathlib
import sys

import numpy as np
import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import tlt  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("-o", "--out", required=True)
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("-p", "--prompt")
    prompt.add_argument("--tokens")
    parser.add_argument("--names", default="*", help="record the modules whose names match")
    parser.add_argument("--dtype", default="float32", choices=["float16", "bfloat16", "float32", "float64"])
    args = parser.parse_args()

    if args.tokens:
        ids = [int(i) for i in args.tokens.split(",")]
    else:
        ids = transformers.AutoTokenizer.from_pretrained(args.model)(args.prompt)["input_ids"]
    # "eager" computes attention by separate operations, whose modules are seen.
    model = transformers.AutoModelForCausalLM.from_pretrained(
        args.model, dtype=getattr(torch, args.dtype), attn_implementation="eager").eval()
    values = {}

    def keep(name):
        def hook(_, __, output):
            value = output[0] if isinstance(output, tuple) else output
            if torch.is_tensor(value):
                value = value.detach().squeeze(0)
                values[name] = (value.float() if value.dtype == torch.bfloat16 else value).numpy().copy()
        return hook

    for name, module in model.named_modules():
        if name and fnmatch.fnmatchcase(name, args.names):
            module.register_forward_hook(keep(name))
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits
    if not np.isfinite(logits.float().numpy()).all():
        print("note: the logits hold NaN or infinity", file=sys.stderr)
    with tlt.Writer(args.out, tool="transformers", model=str(args.model), device="cpu", activations="float32",
                    tokens=ids) as out:
        for name, value in values.items():
            out.add(name, value)
    print(f"{args.out}: {len(values)} values of {len(ids)} tokens")


if __name__ == "__main__":
    main()
