"""The LLaMA family in NumPy, in float64: an independent reference for tensorlogic's and llama.cpp's numbers.

Equations: Touvron et al., "LLaMA" (2023); RoPE with neighbouring pairs (2i, 2i+1), as GGUF files of that architecture
store queries and keys. Weights are decoded by the gguf package (float32, exact to its rounding) and used in float64.
"""
import gguf
import numpy as np

FLOATS = {"F32", "F16", "BF16"}


def rounded(x, _):
    """x rounded to 8 bits per block of 32, as the cpu backend multiplies quantised weights with."""
    blocks = x.reshape(*x.shape[:-1], -1, 32)
    step = np.abs(blocks).max(-1, keepdims=True) / 127
    return (np.rint(np.divide(blocks, step, where=step > 0, out=np.zeros_like(blocks))) * step).reshape(x.shape)


def noisy(x, rng):
    """x with uniform noise of the size of that rounding: half a step to either side."""
    blocks = x.reshape(*x.shape[:-1], -1, 32)
    step = np.abs(blocks).max(-1, keepdims=True) / 127
    return (blocks + step * rng.uniform(-0.5, 0.5, blocks.shape)).reshape(x.shape)


class Run:
    """One list of ids on its way through the layers. `disturb(x, rng)` replaces what quantised weights are
    multiplied with."""

    def __init__(self, ids, disturb=None, seed=0):
        self.ids, self.disturb, self.rng = np.asarray(ids), disturb, np.random.default_rng(seed)
        self.x = None


class Float64Llama:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.tensors = {t.name: t for t in self.reader.tensors}
        arch = self.field("general.architecture")
        if arch != "llama":
            raise SystemExit(f"{path}: this reference knows the architecture llama, not {arch}")
        scaling = self.field("llama.rope.scaling.type", "none")
        if scaling != "none" or "rope_freqs.weight" in self.tensors:
            raise SystemExit(f"{path}: this reference knows no RoPE scaling")
        self.n_layers = self.field("llama.block_count")
        self.n_heads = self.field("llama.attention.head_count")
        self.n_kv_heads = self.field("llama.attention.head_count_kv", self.n_heads)
        self.hidden = self.field("llama.embedding_length")
        self.head_dim = self.field("llama.attention.key_length", self.hidden // self.n_heads)
        self.rotated = self.field("llama.rope.dimension_count", self.head_dim)
        self.base = self.field("llama.rope.freq_base", 10000.0)
        # The file's epsilon is a float32, and so is what every engine computes with.
        self.eps = self.field("llama.attention.layer_norm_rms_epsilon")

    def field(self, key, default=None):
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    def weight(self, name):
        t = self.tensors[name]
        return gguf.dequantize(t.data, t.tensor_type).astype(np.float64)

    def norm(self, x, w):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * w

    def products(self, runs, inputs, *names):
        """For each name, the inputs of all runs times that weight. The inputs are disturbed once."""
        disturbed = np.concatenate([r.disturb(x, r.rng) if r.disturb else x for r, x in zip(runs, inputs)])
        ends, plain = np.cumsum([len(r.ids) for r in runs])[:-1], np.concatenate(inputs)
        for name in names:
            x = plain if self.tensors[name].tensor_type.name in FLOATS else disturbed
            yield np.split(x @ self.weight(name).T, ends)

    def rope(self, x):
        n = np.arange(self.rotated // 2)
        angle = np.arange(x.shape[0])[:, None, None] * self.base ** (-2 * n / self.rotated)
        cos, sin = np.cos(angle), np.sin(angle)
        even, odd = x[..., 0 : self.rotated : 2], x[..., 1 : self.rotated : 2]
        out = x.copy()
        out[..., 0 : self.rotated : 2] = even * cos - odd * sin
        out[..., 1 : self.rotated : 2] = even * sin + odd * cos
        return out

    def attention(self, q, k, v):
        n = q.shape[0]
        q = self.rope(q.reshape(n, self.n_heads, self.head_dim))
        k = self.rope(k.reshape(n, self.n_kv_heads, self.head_dim))
        v = v.reshape(n, self.n_kv_heads, self.head_dim)
        group = self.n_heads // self.n_kv_heads
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("ihd,jhd->hij", q, k, optimize=True) / np.sqrt(self.head_dim)
        scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("hij,jhd->ihd", e / e.sum(-1, keepdims=True), v, optimize=True).reshape(n, -1)

    def layer(self, runs, i):
        def blk(*names):
            return [f"blk.{i}.{name}.weight" for name in names]

        w = self.weight(*blk("attn_norm"))
        qkv = self.products(runs, [self.norm(r.x, w) for r in runs], *blk("attn_q", "attn_k", "attn_v"))
        mixed = [self.attention(q, k, v) for q, k, v in zip(*qkv)]
        (out,) = self.products(runs, mixed, *blk("attn_output"))
        for r, y in zip(runs, out):
            r.x = r.x + y
        w = self.weight(*blk("ffn_norm"))
        gate, up = self.products(runs, [self.norm(r.x, w) for r in runs], *blk("ffn_gate", "ffn_up"))
        (out,) = self.products(runs, [g / (1 + np.exp(-g)) * u for g, u in zip(gate, up)], *blk("ffn_down"))
        for r, y in zip(runs, out):
            r.x = r.x + y

    def forward(self, runs, n_layers=None):
        """Takes the runs through embedding and layers; yields the number of layers done, beginning with 0."""
        table = self.tensors["token_embd.weight"]
        for r in runs:
            r.x = gguf.dequantize(table.data[r.ids], table.tensor_type).astype(np.float64)
        yield 0
        for i in range(self.n_layers if n_layers is None else n_layers):
            self.layer(runs, i)
            yield i + 1

    def head(self, runs):
        """Logits of each run from where it stands: final norm and output."""
        name = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        w = self.weight("output_norm.weight")
        (logits,) = self.products(runs, [self.norm(r.x, w) for r in runs], name)
        return logits

    def logits(self, lists):
        """Yields the logits of each list of ids: float64, [len(ids), n_vocab]. All lists pass the layers together."""
        runs = [Run(ids) for ids in lists]
        for _ in self.forward(runs):
            pass
        for i in range(0, len(runs), 4):  # so many, that logits in float64 stay below a gigabyte
            yield from self.head(runs[i : i + 4])
