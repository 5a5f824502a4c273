#!/usr/bin/env python3
"""Writes tests/golden/blocks/*.bin with ggml's own block code.

Needs numpy and llama-cpp-python (for its libggml-base.so):
    python3 -m venv VENV && VENV/bin/pip install numpy llama-cpp-python && VENV/bin/python tools/reference/blocks_golden.py

decode_TYPE.bin: u32 blocks, the blocks, their elements as float32.
encode_TYPE.bin: u32 elements, the values as float32, ggml's blocks of them.
"""
import ctypes
import importlib.util
import pathlib
import struct

import numpy as np

LIB = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib" / "libggml-base.so"
GGML = ctypes.CDLL(str(LIB))
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "blocks"

# name: elements, bytes, byte offsets of float16 scales, ggml's suffix
FORMATS = {
    "q4_0": (32, 18, [0], "q4_0"),
    "q4_1": (32, 20, [0, 2], "q4_1"),
    "q5_0": (32, 22, [0], "q5_0"),
    "q5_1": (32, 24, [0, 2], "q5_1"),
    "q8_0": (32, 34, [0], "q8_0"),
    "q2_k": (256, 84, [80, 82], "q2_K"),
    "q3_k": (256, 110, [108], "q3_K"),
    "q4_k": (256, 144, [0, 2], "q4_K"),
    "q5_k": (256, 176, [0, 2], "q5_K"),
    "q6_k": (256, 210, [208], "q6_K"),
}
# Scales that every file visits: zero, minus zero, least and largest subnormal, least normal, negative ones, largest.
SCALES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xBC00, 0x2E66, 0xAE66, 0x7BFF]


def random_blocks(rng, elements, size, scales, n):
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)  # every nibble, every 6-bit scale occurs
    ramp = (np.arange(size) * 17 % 256).astype(np.uint8)
    blocks[0] = ramp
    for i in range(n):
        for k, at in enumerate(scales):
            scale = SCALES[(i + 3 * k) % len(SCALES)] if i < len(SCALES) else None
            if scale is None:
                scale = int(np.float16(rng.normal(0, 0.05)).view(np.uint16))
            blocks[i, at : at + 2] = np.frombuffer(struct.pack("<H", scale), np.uint8)
    return np.ascontiguousarray(blocks)


def decode(suffix, blocks, count):
    out = np.empty(count, np.float32)
    getattr(GGML, "dequantize_row_" + suffix)(
        blocks.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(count)
    )
    return out


def encode(suffix, values, size):
    out = np.zeros(size, np.uint8)
    getattr(GGML, f"quantize_row_{suffix}_ref")(
        values.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(values.size)
    )
    return out


def encode_values(rng):
    """2048 values: normal, heavy-tailed, one-sided, with outliers, tiny, ties between q and q + 1, constants, zeros."""
    ties = np.concatenate([[-8.0], (np.arange(31) - 15) / 2.0])
    parts = [
        rng.normal(0, 0.02, 512),
        rng.standard_t(3, 512) * 0.05,
        np.abs(rng.normal(0, 1, 256)),
        -np.abs(rng.normal(0, 100, 128)),
        rng.normal(0, 1e-6, 256),
        np.tile(ties, 4),
        np.tile(ties * 0.1, 2),
        np.full(32, 0.7),
        np.full(32, -0.7),
        np.zeros(64),
        rng.uniform(-1, 1, 64),
    ]
    values = np.concatenate(parts).astype(np.float32)
    assert values.size == 2048, values.size
    values[100] = 3.0
    return values


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for number, (name, (elements, size, scales, suffix)) in enumerate(FORMATS.items()):
        rng = np.random.default_rng(100 + number)
        n = 24 if elements == 32 else 12
        blocks = random_blocks(rng, elements, size, scales, n)
        values = decode(suffix, blocks, n * elements)
        (OUT / f"decode_{name}.bin").write_bytes(struct.pack("<I", n) + blocks.tobytes() + values.tobytes())
    values = encode_values(np.random.default_rng(7))
    for name in ["q4_0", "q4_1", "q8_0", "q4_k", "q6_k"]:
        elements, size, _, suffix = FORMATS[name]
        blocks = encode(suffix, values, values.size // elements * size)
        (OUT / f"encode_{name}.bin").write_bytes(struct.pack("<I", values.size) + values.tobytes() + blocks.tobytes())


if __name__ == "__main__":
    main()
