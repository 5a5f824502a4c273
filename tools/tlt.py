#!/usr/bin/env python3
"""Trace files of TensorLogic (.tlt), read and written. docs/trace-format.md describes them.

    import tlt
    trace = tlt.read("run.tlt")
    trace.info["tokens"]                               # what was run
    record = trace["forward/layer[3]/attention/scores"]
    record["statistics"]["rms"], record["shape"]       # always there
    record["array"]                                    # the elements, where they were kept (tl trace --full GLOB)

    with tlt.Writer("other.tlt", tool="my engine", tokens=[1, 2, 3]) as out:
        out.add("l_out-0", array, op="add", inputs=["ffn_inp-0"])

Run as a program it prints the names, shapes and root mean squares of a file.
"""
import json
import signal
import struct
import sys
import zlib

import numpy as np

MAGIC = b"TensorLogicTrace"
DTYPES = {"float32": np.float32, "float16": np.float16, "float64": np.float64, "int8": np.int8, "int32": np.int32,
          "int64": np.int64, "bool": np.bool_, "bfloat16": np.uint16}  # NumPy has no bfloat16: its bits


class Trace(dict):
    """The records of a trace by name, in their order; `info` says what was run."""


def _blocks(data, path):
    at = len(MAGIC)
    while at + 16 <= len(data):
        kind, crc, size = struct.unpack_from("<4sIQ", data, at)
        payload = data[at + 16 : at + 16 + size]
        if len(payload) != size or zlib.crc32(payload) != crc:
            raise ValueError(f"{path}: damaged block at byte {at}")
        yield kind, payload
        at += 16 + size + -size % 16


def read(path):
    data = memoryview(np.memmap(path, np.uint8, "r"))
    if data[:16] != MAGIC:
        raise ValueError(f"{path}: no trace file")
    trace, record, whole = Trace(), None, False
    for kind, payload in _blocks(data, path):
        if kind == b"INFO":
            trace.info = json.loads(bytes(payload))
        elif kind == b"RECD":
            record = json.loads(bytes(payload))
            trace[record["name"]] = record
        elif kind == b"DATA":
            record["array"] = np.frombuffer(payload, DTYPES[record["dtype"]]).reshape(record["shape"])
        elif kind == b"END ":
            whole = json.loads(bytes(payload))["records"] == len(trace)
    if not whole:
        raise ValueError(f"{path}: the trace is cut off")
    return trace


def statistics(array):
    """The numbers that comparisons use, over finite elements."""
    x = np.asarray(array, np.float64).ravel()
    finite = x[np.isfinite(x)]
    s = {"count": x.size, "nan": int(np.isnan(x).sum()), "inf": int(np.isinf(x).sum()), "zero": int((x == 0).sum())}
    if finite.size:
        s.update(min=finite.min(), max=finite.max(), mean=finite.mean(), std=finite.std(),
                 rms=np.sqrt(np.mean(finite**2)))
    return s


class Writer:
    """A trace written record by record; readable once it is closed."""

    def __init__(self, path, **info):
        self.file, self.numbers = open(path, "wb"), {}
        self.file.write(MAGIC)
        self._block(b"INFO", json.dumps({"version": 1, **info}).encode())

    def _block(self, kind, payload):
        self.file.write(struct.pack("<4sIQ", kind, zlib.crc32(payload), len(payload)) + payload + bytes(-len(payload) % 16))

    def add(self, name, array, op="", inputs=(), keep=True):
        """`inputs` are names; those that were not added are left out. `keep`: the elements too."""
        array = np.ascontiguousarray(array)
        data = array.tobytes()
        record = {"name": name, "op": op, "dtype": array.dtype.name, "shape": list(array.shape),
                  "inputs": [self.numbers[i] for i in inputs if i in self.numbers], "statistics": statistics(array)}
        self._block(b"RECD", json.dumps({**record, "values": len(data)} if keep else record).encode())
        if keep:
            self._block(b"DATA", data)
        self.numbers[name] = len(self.numbers)

    def close(self):
        self._block(b"END ", json.dumps({"records": len(self.numbers)}).encode())
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `tlt.py FILE | head` ends quietly
    for record in read(sys.argv[1]).values():
        print(record["name"], record["op"], record["dtype"], record["shape"], record.get("statistics", {}).get("rms", ""))
