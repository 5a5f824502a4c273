// The built-in functions of the language, by subject: rows of signature, documentation and pointer. Each
// documentation ends in a line "Example: EXPRESSION // WHAT IT PRINTS", which the tests run.
#pragma once

#include "lang/native.h"

namespace tl {

/// Making, shaping, computing and reducing tensors: zeros, reshape, exp, sum …
void add_tensor_functions(lang::Library& library);
/// Layers, activations, attention, masks and losses: linear, softmax, rope, apply_mask, mse …
void add_neural_functions(lang::Library& library);
/// Choosing tokens from logits: temperature_sample, top_k, sample …
void add_sampling_functions(lang::Library& library);
/// Names for traces and checks of values: probe, check_finite.
void add_inspection_functions(lang::Library& library);

}  // namespace tl
