// In which types a session keeps and sums floats, where that is narrower or wider than its backend does.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "tensor/dtype.h"

namespace tl {

/// Whatever the types say, weights stay as they are stored, and values keep their declared type: they are
/// rounded to what the narrower one can hold. Where that changes anything, no operations are fused.
struct Precision {
  Activations activations = Activations::q8;  ///< how quantised weights meet them
  std::optional<DType> results;               ///< every result of an operation, but for the residual stream
  /// The embeddings and whatever is added to them (Node::is_residual); none: as `results`.
  std::optional<DType> residual;
  std::optional<DType> sums;  ///< sums of products, norms and softmax, after every addition
  bool operator==(const Precision&) const = default;
};

/// Sets one part by the name and type that the language and the command line give it: "activations" (q8,
/// float32, float16, bfloat16), "residual" (float32, float16, bfloat16) or "accumulate" (these and float64).
/// Throws Error naming the types that there are.
void set_precision(Precision& precision, std::string_view part, std::string_view type);

/// How it keeps activations: "q8", "float32", "float16", "bfloat16".
std::string_view activations_name(const Precision& precision);

}  // namespace tl
