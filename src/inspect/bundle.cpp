#include "inspect/bundle.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/file.h"
#include "formats/gguf.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

constexpr int kReduced = 26;  // labels of equations are letters

std::string letter(int label) { return std::string(1, static_cast<char>('a' + label % kReduced)); }

/// "(2*a + b + 1) / 3"
std::string spelled(const AxisIndex& axis, int64_t offset) {
  std::string text;
  for (const AxisIndex::Term& t : axis.terms)
    text += (text.empty() ? "" : " + ") +
            (t.coefficient == 1 ? letter(t.label) : fmt::format("{} * {}", t.coefficient, letter(t.label)));
  if (offset != 0 || text.empty()) text += fmt::format("{}{}", text.empty() ? "" : " + ", offset);
  const bool is_sum = axis.terms.size() != 1 || offset != 0;
  return axis.divisor == 1 ? text : fmt::format("{} / {}", is_sum ? "(" + text + ")" : text, axis.divisor);
}

/// An operation as a program writes it, of the names in `in`; "" where the language has no word for it.
std::string spelled(const Record& r, const std::vector<std::string>& in) {
  const auto call = [&](const std::string& more) {
    return fmt::format("let found = {}({}{})", r.op, fmt::join(in, ", "), more);
  };
  for (const auto& [op, sign] :
       {std::pair{"add", "+"}, std::pair{"sub", "-"}, std::pair{"mul", "*"}, std::pair{"div", "/"}})
    if (r.op == op) return fmt::format("let found = {} {} {}", in[0], sign, in[1]);
  if (r.op == "rms_norm") return call(fmt::format(", eps: {}", r.params.floats[0]));
  if (r.op == "rope")
    return fmt::format("let found = rope({}, {}, {}, style: \"{}\", dims: {}, scale: {}{})", in[0],
                       r.params.ints[0], r.params.floats[0],
                       std::get<RopeAttrs>(r.attrs).style == RopeStyle::norm ? "norm" : "neox",
                       r.params.ints[1], r.params.floats[1], in.size() > 1 ? ", factors: " + in[1] : "");
  if (r.op == "softmax") {
    const std::string x = in.size() > 1 ? fmt::format("select({} != 0, {}, -1e30)", in[1], in[0]) : in[0];
    return fmt::format("let found = softmax({}, {})", x, std::get<AxisAttrs>(r.attrs).axis);
  }
  if (r.op == "contract") {
    const auto& attrs = std::get<ContractAttrs>(r.attrs);
    if (attrs.reduction != Reduction::sum || attrs.n_labels > kReduced) return {};
    std::vector<std::string> left, factors;
    for (int l = 0; l < attrs.n_result_labels; ++l) left.push_back(letter(l));
    auto at = static_cast<size_t>(attrs.n_labels);
    for (size_t k = 0; k < in.size(); ++k) {
      std::vector<std::string> axes;
      for (const AxisIndex& axis : attrs.operands[k]) axes.push_back(spelled(axis, r.params.ints[at++]));
      factors.push_back(fmt::format("{}[{}]", in[k], fmt::join(axes, ", ")));
    }
    return fmt::format("found[{}] = {}", fmt::join(left, ", "), fmt::join(factors, " * "));
  }
  for (const char* op :
       {"linear", "embedding", "matmul", "silu", "gelu", "sigmoid", "exp", "sqrt", "rsqrt", "neg", "relu"})
    if (r.op == op) return call("");
  if (r.op == "reshape" || r.op == "broadcast")
    return fmt::format("let found = {}({}, [{}])", r.op == "reshape" ? "reshape" : "broadcast_to", in[0],
                       fmt::join(r.shape, ", "));
  return {};
}

/// What to do with a value of one shape so that it has the other's axes: the reference's may stand in another
/// order. "" where that is nothing.
std::string reordered(const Tensor& from, const Tensor& to) {
  if (from.shape() == to.shape()) return {};
  std::vector<int> order(static_cast<size_t>(from.rank()));
  std::iota(order.begin(), order.end(), 0);
  if (from.rank() == to.rank()) do {
      Shape extents, strides;
      for (const int axis : order)
        extents.push_back(from.shape()[axis]), strides.push_back(from.strides()[axis]);
      if (extents == to.shape() &&
          difference(to, converted(from.view(extents, strides), DType::f64)).nmse == 0)
        return fmt::format(".permute([{}])", fmt::join(order, ", "));
    } while (std::next_permutation(order.begin(), order.end()));
  return fmt::format(".reshape([{}])", fmt::join(to.shape(), ", "));
}

/// Tensors that go into one file under names.
class Case {
 public:
  void add(const std::string& name, const Tensor& t) {
    const bool is_stored = is_quantised(t.dtype()) || t.dtype() == DType::f16 || t.dtype() == DType::bf16;
    if (is_stored)
      tensors_.emplace_back(name, t);
    else if (is_float(t.dtype()))
      tensors_.emplace_back(name, converted(t, DType::f32));
    else
      tensors_.emplace_back(name, converted(t, DType::i32));
  }

  void write(const std::string& path) const {
    GgufWriter writer(path);
    writer.set("general.architecture", MetaValue::of_string("tensors"));
    writer.set("tensorlogic.rope_style", MetaValue::of_string("norm"));
    for (const char* key :
         {"block_count", "embedding_length", "feed_forward_length", "attention.head_count", "context_length"})
      writer.set(fmt::format("tensors.{}", key), MetaValue::of_u32(1));
    writer.set("tensors.attention.layer_norm_rms_epsilon", MetaValue::of_f32(1));
    const Tensor nothing = converted(Tensor(DType::f32, {1, 1}), DType::f32);  // every model has one
    writer.add_tensor("token_embd.weight", DType::f32, {1, 1});
    for (const auto& [name, t] : tensors_)
      writer.add_tensor(name, t.dtype(), t.rank() > 0 ? t.shape() : Shape{1});
    const auto put = [&](const Tensor& t) {
      writer.write({t.bytes(), static_cast<size_t>(bytes_of(t.dtype(), t.elements()))});
    };
    std::fill_n(nothing.bytes(), 4, std::byte{0});
    put(nothing);
    for (const auto& [name, t] : tensors_) put(t);
    writer.finish();
  }

 private:
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

/// What the failing operation read: put into the case, and as lines of the program.
struct Inputs {
  std::vector<std::string> names;  ///< "x0", or a number
  std::string lines;
  bool is_whole = true;  ///< every input was kept
};

Inputs add_inputs(Case& tensors, const Replay& replay, const Recording& observed, const Record& failing) {
  Inputs in;
  const bool reads_stored = failing.op == "linear" || failing.op == "embedding";
  for (const int input : failing.inputs) {
    const Record& r = observed.records[static_cast<size_t>(input)];
    if (r.op == "scalar") {
      in.names.push_back(fmt::format("{}", load_double(r.value, 0)));
      continue;
    }
    in.names.push_back(fmt::format("x{}", in.names.size()));
    const Tensor value = r.is_weight ? replay.stored_weight(r.name) : r.value;
    if (!value) {  // the memory of a cache
      in.is_whole = false;
      continue;
    }
    in.lines += fmt::format("    let {0} = get_tensor(c, \"{0}\"){1}  // {2}\n", in.names.back(),
                            r.is_weight && !reads_stored ? " as float32" : "", r.name);
    tensors.add(in.names.back(), value);
  }
  return in;
}

constexpr const char* kProgram = R"(
// x0, x1 …: what it read; observed: what it gave; expected: what the reference's operations give from the same.

fn distance(a, b) {
    return sqrt(sum((a - b) * (a - b)) / sum(b * b))
}

main {
    let path = "case.gguf"
    if len(args) > 0 {
        path = args[0]
    }
    let c = load_model(path)
    let observed = get_tensor(c, "observed") as float32
    let expected = get_tensor(c, "expected") as float32
    print("observed from expected: {}", distance(observed, expected))
)";

std::string program_of(const Record& failing, const Inputs& in, const Fault& fault,
                       const std::string& order) {
  std::string text =
      fmt::format("// {} ({}), by itself: tl run --activations float32 reproduce.tl\n", fault.name,
                  fault.place.empty() ? failing.op : failing.op + ", " + fault.place);
  text += fault.candidates.empty()
              ? "// None of the known faults."
              : fmt::format("// {}: {}.", fault.candidates[0].name, fault.candidates[0].sentence);
  text += kProgram;
  const std::string line = in.is_whole ? spelled(failing, in.names) : "";
  if (line.empty())
    return text +
           fmt::format("    // The operation '{}' cannot be written here by itself.\n}}\n", failing.op);
  return text + in.lines + "    " + line + "\n    let again = found" + order +
         "\n    print(\"run again, from observed: {}\", distance(again, observed))\n"
         "    print(\"run again, from expected: {}\", distance(again, expected))\n}\n";
}

}  // namespace

void write_bundle(const std::string& folder, Replay& replay, const Recording& observed, const Fault& fault) {
  const Record& failing = replay.partner(fault.record);
  const std::filesystem::path path(folder);
  std::error_code failed;
  std::filesystem::create_directories(path, failed);
  if (failed) throw Error(fmt::format("{}: {}", folder, failed.message()));
  Case tensors;
  const Inputs in = add_inputs(tensors, replay, observed, failing);
  const Tensor ours = replay.observed(fault.record);
  tensors.add("observed", ours);
  tensors.add("expected", replay.expected(fault.record));
  tensors.write((path / "case.gguf").string());
  AtomicFile file((path / "reproduce.tl").string());
  file.write(program_of(failing, in, fault, reordered(failing.value, ours)));
  file.commit();
}

}  // namespace tl::inspect
