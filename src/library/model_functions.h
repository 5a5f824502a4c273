// load_model, tokenize, kv_cache … as programs call them, and the whole library of the language.
#pragma once

#include "lang/native.h"

namespace tl {

void add_model_functions(lang::Library& library);

/// Everything a program can call: the language's own functions, tensors, neural networks, sampling, models.
/// Made once.
const lang::Library& standard_library();

}  // namespace tl
