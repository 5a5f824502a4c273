#!/usr/bin/env python3
"""Writes tests/golden/text/tokenizer_json/: small tokenizer.json files and the ids that `tokenizers` gives with them.

  python tokenizers_json_golden.py FOLDER

FOLDER is tests/golden/text. Each kind of tokenizer that models ship is trained here on a few sentences. NAME.json is the
file, NAME.txt has a line "IDS<TAB>TEXT" per text, with special tokens parsed and added; TEXT is escaped as in
smollm2_lines.txt. Needs the package tokenizers.
"""
import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tokenizers_compare import KINDS, escape, invalid, special

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
CORPUS = ["The quick brown fox doesn't jump over the lazy dog; it's asleep, and they're all tired of 12345 jumps.",
          "Der Fuchs läuft über die Straße, während die Hündin schläft. Naïve façade, résumé, Zürich, 日本語の文章。",
          "def forward(self, x):\n    return self.norm(x) + self.attention(x, mask=None)\n",
          "there their them then these those the and that this with when where what which while who why"] * 3


def byte_level(split=None, digits=False, nfc=False, use_regex=True):
    t = Tokenizer(models.BPE())
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)]
    if split:
        steps.insert(0, pre_tokenizers.Split(Regex(split), behavior="isolated"))
    if digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    t.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    if nfc:
        t.normalizer = normalizers.NFC()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=420, show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens(["<|begin_of_text|>", "<|im_start|>", "<|im_end|>"])
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<strip>", lstrip=True, normalized=False)])
    return t


def sentencepiece(metaspace):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False,
                                  special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    # Trained word by word, as SentencePiece does, so that merges do not cross spaces.
    t.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    t.train_from_iterator(CORPUS, trainer)
    t.pre_tokenizer = None
    data = json.loads(t.to_str())
    data["added_tokens"] = [a for a in data["added_tokens"] if a["id"] < 3]
    if metaspace:
        data["normalizer"] = None
        data["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": metaspace, "split": False}
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return t


def main():
    out = Path(sys.argv[1]) / "tokenizer_json"
    out.mkdir(exist_ok=True)
    llama3 = byte_level(split=LLAMA3, use_regex=False)
    begin = llama3.token_to_id("<|begin_of_text|>")
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)])])
    data = json.loads(llama3.to_str())
    data["model"]["ignore_merges"] = True
    # A token that merges do not lead to shows whether they are ignored.
    size = max(data["model"]["vocab"].values()) + 1
    shift = {a["id"]: a["id"] + 1 for a in data["added_tokens"]}
    for a in data["added_tokens"]:
        a["id"] = shift.get(a["id"], a["id"])
    data["model"]["vocab"]["Ġattention"] = size
    ids = data["post_processor"]["processors"][1]["special_tokens"]["<|begin_of_text|>"]
    ids["ids"] = [begin + 1]
    llama3 = Tokenizer.from_str(json.dumps(data))
    all_kinds = {
        "gpt2": byte_level(), "smollm": byte_level(digits=True), "llama3": llama3,
        "qwen2": byte_level(split=QWEN2, use_regex=False, nfc=True),
        "llama2": sentencepiece(None), "mistral_first": sentencepiece("first"), "metaspace_always": sentencepiece("always"),
        "metaspace_never": sentencepiece("never"),
    }
    r = random.Random(5)
    texts = ["", " ", "  ", "Hello", " Hello", "a<|im_end|> b<s>c</s> d", " <tool> x <strip> y  <strip>", "<s>", "</s> a",
             "the attention  the", "<unk> x", "▁x ▁", "12345 IT'S they'RE", "e\u0301 \u1112\u1161\u11ab Å \u212b"]
    texts += [k(r) for k in KINDS if k not in (invalid, special) for _ in range(8)]
    for name, t in all_kinds.items():
        data = json.loads(t.to_str())
        if name in ("gpt2", "llama2"):  # merges were written as one text each until 2024
            data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        (out / f"{name}.json").write_bytes(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
        t = Tokenizer.from_str(json.dumps(data))
        lines = [f"{' '.join(map(str, t.encode(text).ids))}\t{escape(text.encode())}\n" for text in texts]
        (out / f"{name}.txt").write_bytes("".join(lines).encode())
    print(f"{len(all_kinds)} tokenizers, {len(texts)} texts each")


if __name__ == "__main__":
    main()
