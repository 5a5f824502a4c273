#!/usr/bin/env python3
"""Writes tests/golden/text/smollm2_lines.txt: mixed lines and what the `tokenizers` package makes of them.

  python tokenizers_compare.py MODEL.gguf OUT_FOLDER [--llama]

MODEL.gguf is a SmolLM2 model (its vocabulary and merges are taken). Needs the packages gguf and tokenizers, and for
--llama also llama-cpp-python: then llama.cpp's ids are compared with those of `tokenizers` and differences counted.

Each line of smollm2_lines.txt is "P HASH TEXT": P is 1 where special tokens are parsed, HASH is FNV-1a over the ids
(four little-endian bytes each), TEXT has "\\n", "\\t", "\\\\" and "\\xAB" escaped. smollm2_ids.txt holds every 23rd
line with its ids: "P IDS<TAB>TEXT".
What is not UTF-8 is given to `tokenizers` with one U+FFFD for each offending byte, as llama.cpp reads it.
"""
import argparse
import random
import sys
import unicodedata
from pathlib import Path

import gguf
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

WORDS = """the of and to in is that it was for on are with they be at one have this from by hot but some what there we
can out other were all your when up use how said an each she which do their time if will way about many then them would
write like these her long make thing see him two has look more day could go come did number sound no most people my over
know water than call first who may down side been now find any new work part take get place made live where after back
little only round man year came show every good me give our under name very through just form sentence great think say
help low line differ turn cause much mean before move right boy old too same tell does set three want air well also play
don't it's we'll I'm you've he'd they're o'clock rock'n'roll DON'T IT'S 'tis 'Twas naïve façade résumé coöperate Zürich
antidisestablishmentarianism floccinaucinihilipilification HTTPServer camelCase snake_case kebab-case iPhone eBay""".split()
CODE = [
    "def {a}({b}, *args, **kwargs):\n    return {b}[{n}:] if {b} else None",
    "for (int {a} = 0; {a} < {n}; ++{a}) {{ {b}[{a}] += {n}.{n}f; }}",
    "\tif ({a} != nullptr && {b}->next()) {{\n\t\treturn &{a}->{b};\n\t}}",
    "SELECT {a}, COUNT(*) FROM `{b}` WHERE id >= {n} GROUP BY {a};",
    "<div class=\"{a}\" id='{b}'>{n}&nbsp;</div>",
    "let {a}: Vec<{b}> = (0..{n}).map(|x| x * {n}).collect();",
    "#include <{a}/{b}.h>  // {n}",
    "{{\"{a}\": [{n}, null, true], \"{b}\": {{\"x\": -{n}e-{n}}}}}",
    "$ {a} --{b}={n} | grep -v '^#' > /dev/null 2>&1",
    "C[i,j] = sum_k A[i,k] * B[k,j]  -> {a}[?, {n}]",
    "https://example.org/{a}/{b}?q={n}&x=%20#{a}",
    "    {a}    =    {b}\t\t# {n}",
    "r'\\d+\\.{a}\\s*' \\{b}\\n \\\\{n}",
]
SCRIPTS = [(0x4E00, 0x9FFF), (0x3040, 0x30FF), (0xAC00, 0xD7A3), (0x0400, 0x04FF), (0x0370, 0x03FF), (0x0590, 0x05FF),
           (0x0600, 0x06FF), (0x0900, 0x097F), (0x0E00, 0x0E7F), (0x1F00, 0x1FFF), (0x10A0, 0x10FF), (0x0530, 0x058F),
           (0x1E00, 0x1EFF), (0x20000, 0x2A6DF), (0x1D400, 0x1D7FF), (0x2070, 0x218F), (0x2460, 0x24FF),
           (0xFF00, 0xFFEF), (0x0660, 0x0669), (0x0966, 0x096F)]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "🤷🏻‍♀️", "1️⃣", "🧑‍🚀", "✨", "🫠", "☕", "⚠️", "🀄"]
MARKS = [chr(c) for c in list(range(0x300, 0x36F)) + [0x20DD, 0x20E3, 0x0E31, 0x0941, 0x064B, 0xFE0F, 0x200D]]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\u00a0", "\u3000", "\u2003", "\u202f", "\u0085", "\u180e",
          "\u200b", "\u2028", "\v", "\f", "\u1680", "\x1c", "\ufeff"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<|im_start", "im_end|>",
           "<empty_output>"]


def word(r):
    return r.choice(WORDS)


def prose(r):
    text = ""
    for _ in range(r.randint(2, 9)):
        w = word(r)
        w = r.choice([w, w, w, w.capitalize(), w.upper()])
        text += w + r.choice([" ", " ", " ", " ", ", ", ". ", "; ", " - ", "—", "... ", "!? ", "'", "\" ", ") (", " $"])
    return text.rstrip() if r.random() < 0.8 else text


def code(r):
    return r.choice(CODE).format(a=word(r).replace("'", ""), b=word(r), n=r.randint(0, 10 ** r.randint(1, 9)))


def numbers(r):
    return " ".join(r.choice([str(r.randint(0, 10 ** r.randint(1, 15))), f"{r.random():.{r.randint(1, 9)}f}",
                              f"-{r.random():e}", f"{r.randint(1, 12):02d}:{r.randint(0, 59):02d}", "½²₃Ⅷ①٣४", "0x7fFF",
                              f"v{r.randint(0, 9)}.{r.randint(0, 99)}", f"{r.randint(0, 999)}px"]) for _ in range(3))


def script(r):
    low, high = r.choice(SCRIPTS)
    chars = []
    while len(chars) < r.randint(2, 9):
        c = chr(r.randint(low, high))
        chars.append(c if unicodedata.category(c) != "Cn" else " ")
    return "".join(chars) + r.choice(["", " ", word(r), "!", "。", "１２"])


def emoji(r):
    return "".join(r.choice(EMOJI) + r.choice(["", " ", word(r), "!"]) for _ in range(r.randint(1, 4)))


def combining(r):
    return "".join(c + "".join(r.choice(MARKS) for _ in range(r.randint(0, 3)))
                   for c in unicodedata.normalize("NFD", word(r) + r.choice(["é", " ñ", "ệ", "한", "Å"])))


def spaces(r):
    return "".join(r.choice(SPACES) * r.randint(1, 3) + r.choice(["", "", word(r), "'s", "7", "!"])
                   for _ in range(r.randint(1, 6)))


def any_character(r):
    chars = []
    while len(chars) < r.randint(2, 8):
        c = chr(r.choice([r.randint(0, 0x24F), r.randint(0, 0xFFFF), r.randint(0x10000, 0x1FAFF)]))
        if unicodedata.category(c) not in ("Cn", "Cs", "Co"):
            chars.append(c)
    return "".join(chars)


def special(r):
    return "".join(r.choice([r.choice(SPECIAL), word(r), " ", "\n", prose(r)]) for _ in range(r.randint(2, 5)))


def invalid(r):
    base = bytearray(r.choice([prose, script, emoji, combining])(r).encode()[:40])
    for _ in range(r.randint(1, 4)):
        at = r.randint(0, len(base))
        choice = r.random()
        if choice < 0.4:
            base[at:at] = bytes([r.randint(0x80, 0xFF)])
        elif choice < 0.7:
            del base[at:at + 1]
        else:
            base[at:at] = r.choice([b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3", b"\xff\xfe", b"\x80\x80", b"\xe4\xb8"])
    return bytes(base)


KINDS = [prose, code, numbers, script, emoji, combining, spaces, any_character, special, invalid]


def replace_bytes(data):
    out = ""
    while data:
        try:
            return out + data.decode()
        except UnicodeDecodeError as e:
            out += data[:e.start].decode() + "\ufffd"
            data = data[e.start + 1:]
    return out


def escape(data):
    out = ""
    while data:
        for n in (1, 2, 3, 4):
            try:
                c = data[:n].decode()
                break
            except UnicodeDecodeError:
                c = None
        if c is None:
            out += f"\\x{data[0]:02x}"
            n = 1
        elif c in "\n\t\\":
            out += {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}[c]
        elif ord(c) < 32 or ord(c) == 127:
            out += f"\\x{ord(c):02x}"
        else:
            out += c
        data = data[n:]
    return out


def fnv(ids):
    h = 2166136261
    for i in ids:
        for b in i.to_bytes(4, "little"):
            h = (h ^ b) * 16777619 & 0xFFFFFFFF
    return h


def read_tokenizers(path):
    """One tokenizer without and one with its control tokens found in text."""
    reader = gguf.GGUFReader(path)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ")) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    result = []
    for parse in (False, True):
        t = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False)])
        if parse:
            t.add_special_tokens([AddedToken(s, normalized=False, special=True)
                                  for s, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL])
        result.append(t)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--lines", type=int, default=5200)
    parser.add_argument("--llama", action="store_true")
    args = parser.parse_args()
    r = random.Random(20240731)
    texts = []
    seen = set()
    while len(texts) < args.lines:
        text = KINDS[len(texts) % len(KINDS)](r)
        data = text if isinstance(text, bytes) else text.encode()
        if data and data not in seen:
            seen.add(data)
            texts.append(data)
    tokenizers = read_tokenizers(args.model)
    lines, full = [], []
    expected = []
    for i, data in enumerate(texts):
        parse = int(i % len(KINDS) == KINDS.index(special) and i % 20 < 10)
        ids = tokenizers[parse].encode(replace_bytes(data), add_special_tokens=False).ids
        expected.append((parse, ids))
        lines.append(f"{parse} {fnv(ids):08x} {escape(data)}\n")
        if i % 23 == 0:
            full.append(f"{parse} {' '.join(map(str, ids))}\t{escape(data)}\n")
    out = Path(args.out)
    (out / "smollm2_lines.txt").write_bytes("".join(lines).encode())
    (out / "smollm2_ids.txt").write_bytes("".join(full).encode())
    print(f"{len(lines)} lines")
    if args.llama:
        import llama_cpp
        model = llama_cpp.Llama(args.model, vocab_only=True, verbose=False)
        different = 0
        for data, (parse, ids) in zip(texts, expected):
            theirs = model.tokenize(data, add_bos=False, special=bool(parse))
            if theirs != ids:
                different += 1
                print(f"llama.cpp differs: {data!r}\n  tokenizers {ids}\n  llama.cpp  {theirs}")
        print(f"llama.cpp differs on {different} of {len(lines)} lines")


if __name__ == "__main__":
    sys.exit(main())
