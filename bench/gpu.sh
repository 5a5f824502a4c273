#!/usr/bin/env bash
# bench/gpu.sh [FOLDER] [MODEL.gguf]: is the CUDA backend right, and how fast is it? Runs the conformance suite, also
# under compute-sanitizer, compares greedy tokens with the cpu backend, and measures speed on models it makes. FOLDER holds
# tl and conformance_test of a build with CUDA (default: build/bin), which may have been made elsewhere: beside the driver
# only the libraries that `ldd` names are needed. Logs go to gpu-logs/ (or $OUT), the table comes last. Nine minutes at most.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${1:-$root/build/bin} given=${2:-}
logs=${OUT:-gpu-logs}
for program in tl conformance_test; do
  [ -x "$bin/$program" ] || { echo "gpu.sh: there is no $program in $bin: build it with -DTL_CUDA=ON, or name its folder" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$logs"
PATH=$PATH:/usr/local/cuda/bin
table=()
row() { table+=("$(printf '%-34s %s' "$1" "$2")"); }

# run LOG SECONDS COMMAND…: at most so long, with its output in the log
run() {
  local log=$logs/$1 limit=$2
  shift 2
  timeout "$limit" "$@" >"$log" 2>&1
}

row "device" "$("$bin/tl" devices 2>/dev/null | sed -n 's/^cuda:0 *//p')"

if run conformance.txt 60 "$bin/conformance_test" --backend cuda; then result=ok; else result=FAILED; fi
row "conformance" "$result, $(grep -c '  OK ' "$logs/conformance.txt") tests"

sanitize() {  # TOOL WHAT SECONDS COMMAND…: says how it ended
  local tool=$1 log=$1-$2.txt result
  run "$log" "$3" compute-sanitizer --tool "$tool" --error-exitcode 9 "${@:4}"
  result=$?
  case $result in
    0) echo clean ;;
    124) echo "no error in $3 s, not ended" ;;
    *) tail -n 1 "$logs/$log" ;;
  esac
}

"$bin/tl" synth "$work/small.gguf" --layers 2 --hidden 256 --ffn 512 --heads 4 --kv-heads 2 --vocab 1000 >/dev/null
if command -v compute-sanitizer >/dev/null; then
  # All at once: they take minutes one after another. Twelve tokens: steps that are walked, replayed, and repeated as one graph.
  for tool in memcheck racecheck initcheck synccheck; do
    for cache in f32 f16 q8_0; do
      sanitize "$tool" "model-$cache" 90 "$bin/tl" generate "$work/small.gguf" --tokens "$(seq -s, 1 70)" -n 12 --ignore-eos --seed 1 \
        --cache-type $cache --device cuda >"$work/$tool-model-$cache.row" &
    done
  done
  wait
  # Every operation of the suite in a process of its own.
  checked() {  # TOOL OPERATION
    sanitize "$1" "$2" 200 "$bin/conformance_test" --backend cuda "--gtest_filter=*$2" >"$work/$1-$2.operation"
  }
  export bin logs work
  export -f run sanitize checked
  operations=$("$bin/conformance_test" --backend cuda --gtest_list_tests | grep -oE 'cuda_[a-z0-9_]+' | sort -u)
  for tool in racecheck memcheck initcheck synccheck; do
    for operation in $operations; do echo "$tool $operation"; done
  done | xargs -P "$(nproc)" -L 1 bash -c 'checked "$@"' _
  for tool in memcheck racecheck initcheck synccheck; do
    for cache in f32 f16 q8_0; do row "$tool, model-$cache" "$(cat "$work/$tool-model-$cache.row")"; done
    clean=$(grep -lx clean "$work/$tool"-*.operation | wc -l)
    row "$tool, operations" "$clean of $(wc -w <<<"$operations") clean"
    for operation in $operations; do
      grep -qx clean "$work/$tool-$operation.operation" || row "$tool, $operation" "$(cat "$work/$tool-$operation.operation")"
    done
  done
else
  row "compute-sanitizer" "not installed"
fi

# divergence FILE FILE: the mean Kullback-Leibler divergence, in nats, between rows of 1,000 logits
divergence() {
  python3 - "$@" <<'DIVERGENCE'
import array, math, sys
def rows(path):
    data = open(path, "rb").read()
    values = array.array("f", data[10 + int.from_bytes(data[8:10], "little"):])  # behind the .npy header
    for i in range(0, len(values), 1000):
        most = max(values[i:i + 1000])
        total = most + math.log(sum(math.exp(x - most) for x in values[i:i + 1000]))
        yield [x - total for x in values[i:i + 1000]]
each = [sum(math.exp(p) * (p - q) for p, q in zip(a, b)) for a, b in zip(rows(sys.argv[1]), rows(sys.argv[2]))]
print(f"{sum(each) / len(each):.1e}")
DIVERGENCE
}

# same WHAT FILE FILE: whether two files are equal
same() { if cmp -s "$2" "$3" && [ -s "$2" ]; then row "$1" equal; else row "$1" DIFFERENT; fi; }

# Tokens fed one by one take joined launches, two by two single ones; all at once, as asked, many rows. Beyond 256 keys attention
# takes several blocks.
for type in q4_0 q8_0 f16 bf16 q4_k q6_k; do
  "$bin/tl" synth "$work/batch.gguf" --type $type --layers 2 --hidden 256 --ffn 512 --heads 4 --kv-heads 2 --vocab 1000 >/dev/null
  run "exact-$type.txt" 40 "$bin/tl" logits "$work/batch.gguf" --tokens "$(seq -s, 1 300)" --device reference --out "$work/exact.npy"
  for cache in f32 f16 q8_0; do
    logits() { run "batch-$type.txt" 40 "$bin/tl" logits "$work/batch.gguf" --tokens "$(seq -s, 1 300)" --cache-type $cache --device cuda "$@"; }
    logits -b 1 --out "$work/1.npy"
    logits -b 2 --out "$work/2.npy"
    logits -b 300 --batch-invariant --out "$work/300.npy"
    logits -b 300 --out "$work/prompt.npy"
    same "$type, cache $cache: 1 by 1 and 2 by 2" "$work/1.npy" "$work/2.npy"
    same "… and at once, --batch-invariant" "$work/1.npy" "$work/300.npy"
    row "… KL from float64, 1 by 1, at once" "$(divergence "$work/exact.npy" "$work/1.npy") $(divergence "$work/exact.npy" "$work/prompt.npy")"
  done
done

# Prompts as real models have them: tiles of all sizes, in several turns. Attention sees a float16 cache, as it does by default.
for type in f16 bf16 q4_0 q8_0 q4_k q6_k; do
  # Of bfloat16 the embedding, which one kernel reads as it is, is the output matrix too, which another turns into halves.
  tied=()
  [ $type = bf16 ] && tied=(--tied)
  "$bin/tl" synth "$work/wide.gguf" --type $type --layers 2 --vocab 1000 "${tied[@]}" >/dev/null
  for tokens in 130 500 700 1700; do
    ids=$(seq -s, 1 900),$(seq -s, 1 800)
    ids=$(cut -d, -f "1-$tokens" <<<"$ids")
    run "wide-$type.txt" 40 "$bin/tl" logits "$work/wide.gguf" --tokens "$ids" -b 2048 --device cuda --out "$work/wide-$tokens.npy"
    run "wide-$type.txt" 40 "$bin/tl" logits "$work/wide.gguf" --tokens "$ids" -b 2048 --activations float32 --out "$work/exact.npy"
    row "$type, TinyLlama's width, $tokens at once" "KL from cpu with float32 $(divergence "$work/exact.npy" "$work/wide-$tokens.npy")"
  done
  # Behind the header 700 rows of 1,000 numbers. (Fewer rows may have their long sums divided.)
  if cmp -s -i 128 -n 2800000 "$work/wide-700.npy" "$work/wide-1700.npy"; then result=equal; else result=DIFFERENT; fi
  row "… the first 700 of 1700" "$result to those 700 alone"
done

# answer NAME OPTION…: the ids that follow a prompt
answer() {
  run "answer-$1.txt" 40 "$bin/tl" generate "$work/small.gguf" --tokens 1,5,9,5,9,5,9 -n 400 --ignore-eos --json "${@:2}"
  python3 -c 'import json,sys; print(json.load(sys.stdin)["tokens"])' <"$logs/answer-$1.txt" >"$work/$1.ids" 2>/dev/null
}
# Log probabilities need all logits, so that the host chooses.
for sampling in "--temp 0" "--temp 0.8 --seed 7" "--temp 3 --top-k 1000 --top-p 1 --min-p 0 --seed 7" "--temp 1 --top-k 5 --seed 9"; do
  read -ra chosen <<<"$sampling"
  answer device --device cuda "${chosen[@]}"
  answer host --device cuda "${chosen[@]}" --logprobs 1
  same "chosen on the GPU and here, $sampling" "$work/device.ids" "$work/host.ids"
done
answer plain --device cuda --temp 0
answer drafted --device cuda --temp 0 --draft lookup
same "400 tokens with --draft lookup" "$work/plain.ids" "$work/drafted.ids"

for device in cpu cuda; do
  cat >"$work/$device.tl" <<PROGRAM
let x = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]
fn scaled(x) { softmax(x @ transpose(x)) * 8.0 }
main {
    with device("$device") {
        print(scaled(x), sum(x), argmax(x, 1))
        let y = scaled(x)
        z[i, k] = y[i, j] x[j, k]
        print(z)
    }
    print(x + 1.0)
}
PROGRAM
  run "program-$device.txt" 40 "$bin/tl" run "$work/$device.tl"
done
same "a program with device(\"cuda\")" "$logs/program-cpu.txt" "$logs/program-cuda.txt"

# Most of these tokens come from steps that are repeated as one graph.
"$bin/tl" synth "$work/small-f16.gguf" --type f16 --layers 2 --hidden 256 --ffn 512 --heads 4 --kv-heads 2 --vocab 1000 >/dev/null
for device in cpu cuda; do
  run "tokens-$device.txt" 40 "$bin/tl" generate "$work/small-f16.gguf" --tokens 1,5,9 -n 400 --temp 0 --ignore-eos \
    --activations float32 --device $device --json
done
text() { sed -n 's/^ *"text": //p' "$logs/tokens-$1.txt"; }
if [ "$(text cpu)" = "$(text cuda)" ] && [ -n "$(text cpu)" ]; then result=equal; else result=DIFFERENT; fi
row "400 greedy tokens, cpu and cuda" "$result"

# greedy DEVICE ACTIVATIONS PROMPT: the tokens that follow in the model given, with the best two at each place
greedy() {
  "$bin/tl" generate "$given" -p "$3" -n 64 --temp 0 --logprobs 2 --activations "$2" --device "$1" --json \
    >"$work/$1-$2.json" 2>>"$logs/greedy.err"
}
# parting FILE FILE: nothing where two answers are equal, else the place where they part, the tokens there, and how far the
# best logit is above the next in each
parting() {
  python3 - "$work/$1.json" "$work/$2.json" <<'PARTING'
import json, sys
a, b = (json.load(open(path)) for path in sys.argv[1:])
n = next((i for i, (x, y) in enumerate(zip(a["tokens"], b["tokens"])) if x != y), None)
if n is None and len(a["tokens"]) != len(b["tokens"]):
    print("one ends after token", min(len(a["tokens"]), len(b["tokens"])))
if n is not None:
    best = [r["logprobs"][n]["top"] for r in (a, b)]
    gaps = ["%.3f" % (t[0]["logprob"] - t[1]["logprob"]) for t in best]
    print(f"token {n}: {best[0][0]['token']!r} {best[1][0]['token']!r} {' '.join(gaps)}")
PARTING
}
if [ -n "$given" ]; then
  total=0
  declare -A agree=()
  while read -r prompt; do
    total=$((total + 1))
    for answer in "cpu float32" "cpu q8" "cuda float32" "cuda q8"; do
      read -ra how <<<"$answer"
      greedy "${how[@]}" "$prompt"
    done
    for pair in "cpu-float32 cuda-float32" "cpu-float32 cuda-q8" "cpu-q8 cuda-q8"; do
      read -ra two <<<"$pair"
      parting=$(parting "${two[@]}") || parting="no answer"
      if [ -z "$parting" ]; then agree[$pair]=$((${agree[$pair]:-0} + 1)); else echo "$prompt | $pair | $parting" >>"$logs/greedy.txt"; fi
    done
  done <<'PROMPTS'
The capital of France is
Once upon a time there was
The three laws of motion say that
In the year 1969
def fibonacci(n):
A good recipe for bread
The best way to learn
Water boils at
My favourite book is
The history of Rome begins
Explain gravity to a child:
To be or not to be
SELECT name FROM
The Pythagorean theorem
Dear Sir or Madam
Light travels
The mitochondria
In machine learning, a
Two plus two
The weather today
PROMPTS
  for pair in "${!agree[@]}"; do row "64 tokens, $pair" "${agree[$pair]} of $total prompts"; done
  run diagnose.txt 60 "$bin/tl" diagnose "$given" -p "Once upon a time there was" --device cuda
  row "KL from float64, nats" "$(sed -n 's/^KL from float64, nats *//p' "$logs/diagnose.txt")"
  models=("$given")
else
  models=()
fi
if [ -x "$bin/products_bench" ]; then  # needs cuBLASLt, which a toolkit has
  LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64 run products.txt 60 "$bin/products_bench"
  while read -r line; do row "products" "$line"; done < <(grep -E '^us a layer|^together' "$logs/products.txt" || tail -n 1 "$logs/products.txt")
fi
for type in q4_0 q8_0 f16 bf16 q4_k q6_k; do
  "$bin/tl" synth "$work/$type.gguf" --type $type >/dev/null && models+=("$work/$type.gguf")
done
for model in "${models[@]}"; do
  name=$(basename "$model" .gguf)
  run "bench-$name.txt" 60 "$bin/tl" bench "$model" --device cuda -p 512 2048 -b 2048 -n 128 -d 0 1024 -r 5 --json
  while read -r test speed; do row "$name $test" "$speed"; done < <(python3 - "$logs/bench-$name.txt" <<'SHOW'
import json, sys
text = open(sys.argv[1]).read()
report = json.loads(text[text.index("{"):])
for t in report["tests"]:
    limit = t.get("limit_tokens_per_second", 0)
    share = f' tokens/s, {100 * t["tokens_per_second"] / limit:.1f} % of what a copy reads and writes' if limit else " tokens/s"
    print(t["test"].replace(" ", ""), f'{t["tokens_per_second"]:.0f}{share}')
print("firsttoken", f'{report["starts"][0]["first_token_seconds"]:.2f} s')
print("copy", f'{report["limits"][0]["read_bytes_per_second"] / 1e9:.0f} GB/s')
SHOW
  )
done
printf '%s\n' "${table[@]}" | tee "$logs/table.txt"
