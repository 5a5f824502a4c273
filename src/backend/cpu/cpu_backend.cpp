#include "backend/cpu/isa.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/memory.h"

namespace tl {

namespace cpu {
namespace {

/// Whether a kernel wants its inputs in row-major order.
enum class Inputs : bool { strided, contiguous };

KernelTable make_table() {
  KernelTable table{};
  add_elementwise(table);
  add_reductions(table);
  const auto add = [&](Op op, void (*run)(const KernelArgs&), Inputs inputs) {
    table[static_cast<size_t>(op)] = {run, DType::f32, inputs == Inputs::contiguous};
  };
  add(Op::iota, iota, Inputs::strided);
  add(Op::affine_mask, affine_mask, Inputs::strided);
  add(Op::random_uniform, random_uniform, Inputs::strided);
  add(Op::random_normal, random_normal, Inputs::strided);
  add(Op::reshape, copy, Inputs::strided);
  add(Op::concat, concat, Inputs::strided);
  add(Op::pad, pad, Inputs::strided);
  add(Op::take, take, Inputs::strided);
  add(Op::gather, gather, Inputs::strided);
  add(Op::scatter, scatter, Inputs::strided);
  add(Op::cache_append, cache_append, Inputs::strided);
  add(Op::argmax, argmax, Inputs::strided);
  add(Op::argmin, argmin, Inputs::strided);
  add(Op::cumsum, cumsum, Inputs::strided);
  add(Op::sort, sort, Inputs::strided);
  add(Op::argsort, argsort, Inputs::strided);
  add(Op::top_k, top_k, Inputs::strided);
  add(Op::draw, draw, Inputs::strided);
  add(Op::contract, contract, Inputs::strided);
  add(Op::matmul, matmul, Inputs::strided);
  add(Op::linear, linear, Inputs::contiguous);
  add(Op::embedding, embedding, Inputs::contiguous);
  add(Op::softmax, softmax, Inputs::strided);
  add(Op::log_softmax, log_softmax, Inputs::strided);
  add(Op::rms_norm, rms_norm, Inputs::contiguous);
  add(Op::layer_norm, layer_norm, Inputs::contiguous);
  add(Op::rope, rope, Inputs::contiguous);
  add(Op::attention, attention, Inputs::strided);
  return table;
}

class CpuBackend final : public Backend {
 public:
  std::string_view name() const override { return "cpu"; }
  const KernelTable& kernels() const override { return table_; }
  DType storage(DType dtype) const override { return dtype; }
  bool fuses() const override { return true; }
  bool caches_blocks() const override { return true; }
  std::string description() const override { return isa().description; }
  std::shared_ptr<Storage> allocate(size_t bytes) const override { return result_memory(bytes); }

 private:
  KernelTable table_ = make_table();
};

}  // namespace
}  // namespace cpu

const Backend& cpu_backend() {
  static const cpu::CpuBackend backend;
  return backend;
}

}  // namespace tl
