#include "inspect/diagnosis.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>

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

/// What is wrong with a value, if its difference from what the operations give is more than rounding
/// explains.
std::optional<Fault> judged(Replay& replay, int record) {
  check_interrupt();
  const Tensor expected = replay.expected(record), observed = replay.observed(record);
  const Difference d = difference(expected, observed);
  if (d.relative() <= replay.explained(record)) return std::nullopt;
  Fault fault;
  fault.record = record;
  fault.name = replay.partner(record).name;
  fault.place = replay.partner(record).place;
  fault.role = replay.role(record);
  fault.error = d.relative();
  fault.explained = replay.explained(record);
  fault.difference = d;
  return fault;
}

void name_fault(Replay& replay, Fault& fault) {
  fault.candidates = explain(replay, fault.record, fault.error);
  if (fault.candidates.empty()) {
    fault.operation = names_of(replay.operations(fault.record));
    fault.layer = layer_of_record(replay, fault.record);
  } else {
    fault.operation = fault.candidates.front().operation;
    fault.layer = fault.candidates.front().layer;
  }
}

/// The role without step and layer: "attn_q.rope".
std::string kind_of(const Replay& replay, int record) {
  const std::string& role = replay.role(record);
  const size_t at = role.find("blk.");
  if (at != std::string::npos) return role.substr(role.find('.', at + 4) + 1);
  return role.empty() ? replay.reference().records[static_cast<size_t>(record)].op : role;
}

}  // namespace

Fault first_fault(Replay& replay) {
  for (const int record : replay.judged())
    if (std::optional<Fault> fault = judged(replay, record)) {
      name_fault(replay, *fault);
      return *fault;
    }
  return {};
}

std::vector<FurtherFault> further_faults(Replay& replay, const Fault& first) {
  std::vector<FurtherFault> found{{first, 1}};
  std::map<std::string, size_t> kinds{{kind_of(replay, first.record), 0}};  // places in `found`
  constexpr size_t kUnknown = SIZE_MAX;
  for (const int record : replay.judged()) {
    if (record <= first.record) continue;
    std::optional<Fault> fault = judged(replay, record);
    if (!fault) continue;
    const auto [kind, is_new] = kinds.try_emplace(kind_of(replay, record), kUnknown);
    if (is_new) {
      name_fault(replay, *fault);
      const auto same = std::find_if(found.begin(), found.end(), [&](const FurtherFault& f) {
        return !fault->candidates.empty() && !f.fault.candidates.empty() &&
               f.fault.candidates[0].name == fault->candidates[0].name;
      });
      kind->second = static_cast<size_t>(same - found.begin());
      if (fault->candidates.empty())
        kind->second = kUnknown;
      else if (same == found.end())
        found.push_back({*fault, 0});
    }
    if (kind->second != kUnknown) ++found[kind->second].places;
  }
  return found;
}

}  // namespace tl::inspect
