// Generated calls of every operation: element types x layouts x odd shapes.
#pragma once

#include <vector>

#include "inspect/operation.h"
#include "ops/values.h"

namespace tl::test {

/// Lengths around every vector width, unrolling and block size in use.
constexpr int64_t kSizes[] = {1,  2,  3,  4,  5,  7,   8,   9,   15,  16,  17,  31,  32, 33,
                              63, 64, 65, 95, 96, 127, 128, 129, 255, 256, 257, 511, 513};
constexpr DType kFloats[] = {DType::f32, DType::f16, DType::bf16, DType::f64};
constexpr DType kInts[] = {DType::i8, DType::i32, DType::i64};
/// Every type that weights may have.
constexpr DType kWeights[] = {DType::f32,  DType::f16,  DType::bf16, DType::q4_0, DType::q4_1,
                              DType::q5_0, DType::q5_1, DType::q8_0, DType::q2_k, DType::q3_k,
                              DType::q4_k, DType::q5_k, DType::q6_k};

/// Collects cases; each begins with a seed of its own.
class Cases {
 public:
  /// `base` is the float type of the cases that do not vary the type: the one the backend computes in, so
  /// that every operation rounds.
  explicit Cases(DType base_type) : base(base_type) {}
  const DType base;

  /// A generator for the inputs of the next case.
  Random& begin() {
    random_ = Random(++seed_);
    return random_;
  }
  void add(Op op, const std::string& what, std::vector<Tensor> in, Attrs attrs = {}, Params params = {},
           Activations activations = Activations::float32) {
    all.push_back({op, what + " seed " + std::to_string(seed_), std::move(in), std::move(attrs),
                   std::move(params), activations});
  }
  std::vector<Case> all;

 private:
  uint64_t seed_ = 0;
  Random random_{0};
};

void add_elementwise_cases(Cases& cases);
void add_reduction_cases(Cases& cases);
void add_shape_cases(Cases& cases);
void add_index_cases(Cases& cases);
void add_contract_cases(Cases& cases);
void add_matrix_cases(Cases& cases);
void add_norm_cases(Cases& cases);
void add_attention_cases(Cases& cases);

}  // namespace tl::test
