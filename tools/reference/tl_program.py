"""Runs tensorlogic's command line."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Tl:
    def __init__(self, program=None, threads=None):
        self.program = str(program or os.environ.get("TL_BIN") or ROOT / "build/bin/tl")
        self.options = ["-t", str(threads)] if threads else []

    def run(self, *args):
        """Standard output of a command; its own message ends this program where it fails."""
        command = [self.program, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)[:300]}\n{done.stderr}exit status {done.returncode}")
        return done.stdout

    def peak_bytes(self, *args):
        """The most memory that a command had resident, the mapped file included. A process's figure begins with that
        of the one that forked it, so a small one stands between."""
        measure = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
        command = [sys.executable, "-c", measure, self.program, *map(str, args), *self.options]
        return 1024 * int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)

    def logits(self, model, ids, *options):
        """Logits after every id: float32, [len(ids), n_vocab]."""
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/logits.npy"
            tokens = ",".join(map(str, ids))
            self.run("logits", model, "--tokens", tokens, "--out", file, "--top", 0, *self.options, *options)
            logits = np.load(file)
        if not np.isfinite(logits).all():
            raise SystemExit(f"{model}: logits hold NaN or infinity")
        return logits

    def generate(self, model, ids, n, *options):
        """The ids that follow greedily, and standard output's JSON as a whole."""
        tokens = ",".join(map(str, ids))
        return json.loads(
            self.run("generate", model, "--tokens", tokens, "-n", n, "--temp", 0, "--json", "--ignore-eos",
                     *self.options, *options)
        )

    def quantized(self, model, folder, kind):
        """`model` rewritten in another type, once."""
        out = pathlib.Path(folder) / f"{pathlib.Path(model).name.split('.')[0]}.{kind}.gguf"
        if not out.exists() or out.stat().st_mtime < pathlib.Path(model).stat().st_mtime:
            out.parent.mkdir(parents=True, exist_ok=True)
            self.run("quantize", model, out, kind)
        return out
