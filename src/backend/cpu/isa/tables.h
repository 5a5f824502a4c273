// Which file of this folder fills which part of the table.
#pragma once

#include "backend/cpu/isa.h"

namespace tl::cpu::TL_ISA {

void add_elementwise(Isa& table);
void add_rows(Isa& table);
void add_linear_q8(Isa& table);
void add_linear_float(Isa& table);
void add_gemm(Isa& table);
void add_attention(Isa& table);
void add_limits(Isa& table);

/// The whole table of this instruction set.
const Isa& table();

}  // namespace tl::cpu::TL_ISA
