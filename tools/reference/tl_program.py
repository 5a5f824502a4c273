"""Runs tensorlogic's command line."""
import json
import os
import pathlib
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Tl:
    def __init__(self, program=None, threads=None):
        self.program = str(program or os.environ.get("TL_BIN") or ROOT / "build/bin/tl")
        self.options = ["-t", str(threads)] if threads else []
        self.peak_bytes = 0  # resident memory of the last run, mapped file included

    def run(self, *args):
        """Standard output of a command; its own message ends this program where it fails."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen([self.program, *map(str, args)], stdout=out, stderr=err)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.peak_bytes = usage.ru_maxrss * 1024
            out.seek(0), err.seek(0)
            if child.returncode != 0:
                raise SystemExit(f"{' '.join(child.args)[:300]}\n{err.read().decode()}exit status {child.returncode}")
            return out.read().decode("utf-8", "replace")

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
