#include "backend/cpu/isa.h"
#include "backend/cpu/isa/tables.h"

namespace tl::cpu::TL_ISA {

namespace {

Isa make_table() {
  Isa table = {};
  table.name = TL_ISA_NAME;
  table.description = TL_ISA_DESCRIPTION;
  add_elementwise(table);
  add_rows(table);
  add_linear_q8(table);
  add_linear_float(table);
  add_gemm(table);
  add_attention(table);
  add_limits(table);
  return table;
}

}  // namespace

const Isa& table() {
  static const Isa instance = make_table();
  return instance;
}

}  // namespace tl::cpu::TL_ISA
