#include "inspect/diagnosis.h"

#include <cmath>

#include "base/interrupt.h"
#include "inspect/structure.h"

namespace tl::inspect {

namespace {

/// The layer of a value: told by its role, else by its path in the reference's program.
int layer_of_record(const Replay& replay, int record) {
  const int by_role = layer_of(replay.role(record));
  return by_role >= 0 ? by_role : layer_of(replay.reference().records[static_cast<size_t>(record)].name);
}

/// "rope", or "rope or linear" where values between them have no partner.
std::string names_of(const std::vector<const Record*>& operations) {
  std::string text;
  for (const Record* r : operations)
    if (text.find(r->op) == std::string::npos) text += (text.empty() ? "" : " or ") + r->op;
  return text;
}

}  // namespace

Fault first_fault(Replay& replay) {
  for (const int record : replay.judged()) {
    check_interrupt();
    const Tensor expected = replay.expected(record), observed = replay.observed(record);
    const Difference d = difference(expected, observed);
    const double error = d.relative();
    if (error <= replay.explained(record)) continue;
    Fault fault;
    fault.record = record;
    fault.name = replay.partner(record).name;
    fault.place = replay.partner(record).place;
    fault.role = replay.role(record);
    fault.error = error;
    fault.explained = replay.explained(record);
    fault.difference = d;
    fault.candidates = explain(replay, record, error);
    if (fault.candidates.empty()) {
      fault.operation = names_of(replay.operations(record));
      fault.layer = layer_of_record(replay, record);
    } else {
      fault.operation = fault.candidates.front().operation;
      fault.layer = fault.candidates.front().layer;
    }
    return fault;
  }
  return {};
}

}  // namespace tl::inspect
