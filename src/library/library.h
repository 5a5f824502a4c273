// The built-in functions of the language, by subject: rows of signature, documentation and pointer. The
// tests run the examples in the documentation.
#pragma once

#include "lang/native.h"

namespace tl {

/// Making, shaping, computing and reducing tensors: zeros, reshape, exp, sum …
void add_tensor_functions(lang::Library& library);
/// Layers, attention, masks, losses, graphs: linear, softmax, rope, apply_mask, mse, transe_score …
void add_neural_functions(lang::Library& library);
/// Choosing tokens from logits: temperature_sample, top_k, sample …
void add_sampling_functions(lang::Library& library);
/// Names for traces and checks of values: probe, check_finite.
void add_inspection_functions(lang::Library& library);
/// What `with` blocks are computed by: device, precision.
void add_policy_functions(lang::Library& library);

}  // namespace tl
