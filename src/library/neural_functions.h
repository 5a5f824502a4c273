// The parts of add_neural_functions, one per file.
#pragma once

#include "lang/native.h"

namespace tl {

void add_layer_functions(lang::Library& library);
void add_attention_functions(lang::Library& library);
void add_loss_functions(lang::Library& library);
void add_knowledge_functions(lang::Library& library);

}  // namespace tl
