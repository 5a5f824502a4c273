#include "backend/reference/kernels.h"

namespace tl {

namespace reference {
namespace {

KernelTable make_table() {
  KernelTable table{};
  add_elementwise(table);
  add_reductions(table);
  const auto add = [&](Op op, void (*run)(const KernelArgs&)) { table[static_cast<size_t>(op)].run = run; };
  add(Op::iota, iota);
  add(Op::affine_mask, affine_mask);
  add(Op::random_uniform, random_uniform);
  add(Op::random_normal, random_normal);
  add(Op::reshape, copy);
  add(Op::concat, concat);
  add(Op::pad, pad);
  add(Op::take, take);
  add(Op::gather, gather);
  add(Op::scatter, scatter);
  add(Op::argmax, argmax);
  add(Op::argmin, argmin);
  add(Op::cumsum, cumsum);
  add(Op::sort, sort);
  add(Op::argsort, argsort);
  add(Op::top_k, top_k);
  add(Op::draw, draw);
  add(Op::contract, contract);
  add(Op::matmul, matmul);
  add(Op::linear, linear);
  add(Op::embedding, embedding);
  add(Op::softmax, softmax);
  add(Op::log_softmax, log_softmax);
  add(Op::rms_norm, rms_norm);
  add(Op::layer_norm, layer_norm);
  add(Op::rope, rope);
  add(Op::attention, attention);
  add(Op::cache_append, cache_append);
  for (auto& kernel : table) {
    kernel.compute = DType::f64;
    kernel.contiguous = false;
  }
  return table;
}

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  const KernelTable& kernels() const override { return table_; }
  DType storage(DType dtype) const override { return is_float(dtype) ? DType::f64 : dtype; }
  bool fuses() const override { return false; }
  const Kernel* summing(Op op, DType type) const override {
    if (summing_kernel(op, DType::f32) == nullptr) return nullptr;
    return type == DType::f64 ? &table_[static_cast<size_t>(op)] : summing_kernel(op, type);
  }
  std::string description() const override { return "float64"; }

 private:
  KernelTable table_ = make_table();
};

}  // namespace
}  // namespace reference

const Backend& reference_backend() {
  static const reference::ReferenceBackend backend;
  return backend;
}

}  // namespace tl
