// What a backend is: a name, a table of kernels, and a storage policy. Backends know the op table and
// tensors, never the graph, and never each other.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/thread_pool.h"
#include "ops/op.h"
#include "tensor/tensor.h"

namespace tl {

/// How quantised weights meet activations.
enum class Activations : uint8_t {
  q8,       ///< rounded to 8 bits per block of 32: the default where weights are quantised
  float32,  ///< not rounded
};

/// Everything a kernel sees. Inputs and output may be strided unless its table entry asks for contiguous
/// ones; the output is preallocated with the inferred type (for cache_append it is the view of the state
/// itself).
struct KernelArgs {
  std::span<const Tensor> in;
  const Tensor& out;
  const Attrs& attrs;
  const Params& params;
  ThreadPool& pool;
  Activations activations = Activations::q8;
  bool batch_invariant = false;  ///< a row's bits may not depend on how many rows there are

  template <class A>
  const A& attr() const {
    return std::get<A>(attrs);
  }
};

/// One entry of a backend's table.
struct Kernel {
  void (*run)(const KernelArgs&) = nullptr;  ///< null: this backend has no kernel for the op
  /// Float inputs and outputs of other types are converted to this type around the kernel, but for inputs
  /// that reads_stored() names. Kernels of the cpu backend compute in f32, those of reference in f64.
  DType compute = DType::f32;
  bool contiguous =
      true;  ///< inputs that are not contiguous are copied first, but for those of reads_stored()
};

using KernelTable = std::array<Kernel, kOpCount>;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  virtual const KernelTable& kernels() const = 0;
  /// The type in which a result of `dtype` is kept: the same on cpu, f64 for every float on reference.
  virtual DType storage(DType dtype) const = 0;
  /// Whether fused operations (attention, swiglu) may replace what they stand for.
  virtual bool fuses() const = 0;
  /// A kernel for an operation that sums (products, norms, softmax …) whose sums are rounded to `type` after
  /// every addition; null where the operation sums nothing, or this backend has no such kernel.
  virtual const Kernel* summing(Op op, DType type) const {
    (void)op, (void)type;
    return nullptr;
  }
  /// Whether a cache may be kept in blocks of 8 bits (Q8_0).
  virtual bool caches_blocks() const { return false; }
  /// Whether results are born in memory that is not the host's, so that it costs something to look at them.
  virtual bool has_own_memory() const { return false; }
  /// Bytes a second that a large copy within that memory reads and writes, together, measured now; 0 where
  /// there is none, or no room for the copy.
  virtual double copy_bandwidth() const { return 0; }
  /// What `tl devices` says about it: "AVX2 FMA F16C".
  virtual std::string description() const = 0;
  /// Memory for a result, uninitialised: on a device, where its kernels write it.
  virtual std::shared_ptr<Storage> allocate(size_t bytes) const { return Storage::allocate(bytes); }
  /// A contiguous copy converted to `dtype`, as tl::converted() makes it.
  virtual Tensor converted(const Tensor& t, DType dtype) const { return tl::converted(t, dtype); }
};

/// The float64 definition of every operation: the only oracle inside the project.
const Backend& reference_backend();
/// SIMD kernels, chosen for this processor at first use.
const Backend& cpu_backend();

}  // namespace tl
