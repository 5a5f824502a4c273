#include "library/policy.h"

#include <array>

#include <fmt/format.h>

#include "lang/interpreter.h"
#include "library/library.h"

namespace tl {

using lang::Args;
using lang::Interpreter;
using lang::NativeRow;
using lang::Value;

std::string PolicyObject::text() const {
  if (device_) return fmt::format("device(\"{}\")", *device_);
  std::string text;
  for (const auto& [part, type] : types_)
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", part, type == "q8" ? "\"q8\"" : type);
  return "precision(" + text + ")";
}

Policy PolicyObject::applied_to(Policy outer) const {
  if (device_) outer.device = *device_;
  for (const auto& [part, type] : types_) set_precision(outer.precision, part, type);
  return outer;
}

namespace {

Value device(Interpreter& interpreter, Args& args) {
  const std::string& name = args.string(0);
  try {
    RuntimeHost::of(interpreter).backend(name);
  } catch (const Error& e) {
    args.fail(0, fmt::format("[device] {}", e.what()));
  }
  return Value(new PolicyObject(name));
}

Value precision(Interpreter&, Args& args) {
  std::vector<std::pair<std::string, std::string>> types;
  for (size_t i = 0; i < args.size(); ++i) {
    if (!args.has(i)) continue;
    const std::string& part = args.function().parameters[i].name;
    Precision tried;
    try {
      set_precision(tried, part, args.string(i));
    } catch (const Error& e) {
      args.fail(i, fmt::format("[precision] {}", e.what()));
    }
    types.emplace_back(part, args.string(i));
  }
  if (types.empty()) args.fail(0, "[precision] needs activations, residual or accumulate");
  return Value(new PolicyObject(std::move(types)));
}

constexpr auto kRows = std::to_array<NativeRow>({
    {"device(name: string) -> policy",
     R"(What `with` takes to compute a block on another device.

The name is "cpu", "reference" (float64), "cuda" or "cuda:1". Operations that the block makes are computed there,
those of functions it calls too; what stands outside stays where it was. `tl devices` lists what this machine has.

example:
> with device("reference") { print(exp([1.0, 2.0])) }
[2.7183, 7.3891]
source: TensorLogic's own
see: precision)",
     &device},
    {"precision(activations: string = void, residual: string = void, accumulate: string = void) -> policy",
     R"(What `with` takes to compute a block in other types of numbers, to see what they cost.

activations: what results of operations are rounded to: float16, bfloat16 or float32, or "q8" (the default),
with which they are rounded to 8 bits a block where they meet quantised weights. residual: the same for the
residual stream (embeddings, and what is added to them), if not as the others. accumulate: what sums of
products, norms and softmax are rounded to after every addition: float64, float32, float16 or bfloat16. What is
left out stays as it is around the block. Values keep their declared types, weights what is stored. The
command line's --activations, --residual and --accumulate do the same for a whole run.

formula: accumulate: s ← round(s + round(term)), one running sum an element
example:
> print(sum(ones([5000])))
> with precision(accumulate: float16) { print(sum(ones([5000]))) }
5000
2048
source: IEEE 754-2019, 5.9 and binary16
see: device, probe)",
     &precision},
});

}  // namespace

void add_policy_functions(lang::Library& library) { library.add("Policies", kRows); }

}  // namespace tl
