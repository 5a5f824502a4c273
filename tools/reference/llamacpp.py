"""llama.cpp through llama-cpp-python's low-level interface: exact token ids in, all logits and layer values out."""
import ctypes
import importlib.util
import pathlib

import llama_cpp as lc
import numpy as np

GGML = ctypes.CDLL(str(pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib/libggml-base.so"))
GGML.ggml_get_name.argtypes = [ctypes.c_void_p]
GGML.ggml_get_name.restype = ctypes.c_char_p
for _name in ("ggml_nelements", "ggml_nrows"):
    getattr(GGML, _name).argtypes = [ctypes.c_void_p]
    getattr(GGML, _name).restype = ctypes.c_int64
GGML.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]

KV_TYPES = {"f32": 0, "f16": 1}  # ggml's numbers


@lc.llama_log_callback
def _only_errors(level, text, _):
    if level == 4:  # GGML_LOG_LEVEL_ERROR
        print(text.decode("utf-8", "replace"), end="", flush=True)


lc.llama_log_set(_only_errors, None)


class LlamaCpp:
    """A model file. `capture` names tensors of the graph that every evaluation keeps in `values`, as float32 rows.

    kv: type of the KV cache (llama.cpp's default is f16). repack: let llama.cpp rearrange weights for its fastest
    kernels (its default), which changes the order of its sums.
    """

    def __init__(self, path, n_ctx=512, threads=2, kv="f16", repack=True, flash=False, capture=()):
        params = lc.llama_model_default_params()
        params.n_gpu_layers = 0
        params.use_extra_bufts = repack
        self.model = lc.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.n_vocab = lc.llama_vocab_n_tokens(self.vocab)
        self.n_ctx = n_ctx
        self.wanted, self.values = set(capture), {}
        context = lc.llama_context_default_params()
        context.n_ctx = context.n_batch = context.n_ubatch = n_ctx
        context.n_threads = context.n_threads_batch = threads
        context.type_k = context.type_v = KV_TYPES[kv]
        context.flash_attn = flash
        context.no_perf = True
        if capture:
            self.callback = lc.ggml_backend_sched_eval_callback(self._evaluated)  # kept alive by this object
            context.cb_eval = self.callback
        self.context = lc.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit(f"llama.cpp makes no context for {path}")
        self.batch = lc.llama_batch_init(n_ctx, 0, 1)

    def close(self):
        lc.llama_batch_free(self.batch)
        lc.llama_free(self.context)
        lc.llama_model_free(self.model)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _evaluated(self, tensor, ask, _):
        name = GGML.ggml_get_name(tensor).decode()
        if ask:
            return name in self.wanted
        if name in self.wanted:
            n, rows = GGML.ggml_nelements(tensor), GGML.ggml_nrows(tensor)
            out = np.empty((rows, n // rows), np.float32)
            GGML.ggml_backend_tensor_get(tensor, out.ctypes.data, 0, out.nbytes)
            self.values[name] = out
        return True

    def tokenize(self, text, special=True):
        """Ids of `text`, with the BOS that the model's metadata asks for, special tokens recognised."""
        data = text.encode()
        ids = (lc.llama_token * (len(data) + 8))()
        n = lc.llama_tokenize(self.vocab, data, len(data), ids, len(ids), True, special)
        return list(ids[:n])

    def piece(self, token):
        out = ctypes.create_string_buffer(256)
        n = lc.llama_token_to_piece(self.vocab, token, out, len(out), 0, True)
        return out.raw[:n]

    def text(self, ids):
        return b"".join(self.piece(i) for i in ids).decode("utf-8", "replace")

    def _decode(self, ids, position):
        if position + len(ids) > self.n_ctx:
            raise SystemExit(f"{position + len(ids)} tokens do not fit a context of {self.n_ctx}")
        b = self.batch
        for i, token in enumerate(ids):
            b.token[i] = token
            b.pos[i] = position + i
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = 0
            b.logits[i] = 1
        b.n_tokens = len(ids)
        if lc.llama_decode(self.context, b) != 0:
            raise SystemExit("llama_decode failed")
        rows = np.ctypeslib.as_array(lc.llama_get_logits(self.context), (len(ids), self.n_vocab))
        return rows.copy()

    def _clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)

    def logits(self, ids, step=None):
        """Logits after every id: float32, [len(ids), n_vocab]. step: ids given at a time (default: all at once)."""
        self._clear()
        step = step or len(ids)
        return np.concatenate([self._decode(ids[i : i + step], i) for i in range(0, len(ids), step)])

    def greedy(self, ids, n):
        """The n ids that follow greedily, and the logits that each was chosen from [n, n_vocab]. Tokens that end a
        text do not end it here."""
        self._clear()
        rows, out = [self._decode(ids, 0)[-1]], []
        while True:
            out.append(int(rows[-1].argmax()))
            if len(out) == n:
                return out, np.array(rows)
            rows.append(self._decode(out[-1:], len(ids) + len(out) - 1)[0])
