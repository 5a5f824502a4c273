// The parts of add_tensor_functions, one per file.
#pragma once

#include "lang/native.h"

namespace tl {

void add_create_functions(lang::Library& library);
void add_shape_functions(lang::Library& library);
void add_index_functions(lang::Library& library);
void add_math_functions(lang::Library& library);
void add_reduce_functions(lang::Library& library);

}  // namespace tl
