#include "lang/stand_ins.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "graph/node.h"
#include "lang/program.h"

namespace tl::lang {

using ast::TypeKind;

// ------------------------------------------------------------------------------------------------
// assignments

namespace {

/// More cannot be counted safely once operations multiply them.
constexpr int64_t kMostElements = int64_t{1} << 50;

/// What is open in some operands: extents, ints and element types; and numbers for them.
class Unknowns {
 public:
  explicit Unknowns(std::span<const Known> operands) {
    for (const Known& known : operands) collect(known);
  }

  /// Whether stand-ins can be made, and how many extents are open.
  bool is_possible() const { return is_possible_; }
  size_t n_extents() const { return symbols_.size(); }
  size_t n_types() const { return n_types_; }
  /// Whether the operands stand for all values they may have: no unknown number decides anything.
  bool is_exact() const { return is_exact_; }
  const std::vector<int64_t>& constants() const { return constants_; }
  const std::string& symbol(size_t i) const { return symbols_[i]; }

  /// Numbers for the open extents and types for the open element types.
  struct Assignment {
    std::vector<int64_t> sizes;
    std::vector<DType> dtypes;
  };
  std::vector<Value> make(std::span<const Known> operands, const Assignment& assignment) const {
    Place place;
    std::vector<Value> values;
    for (const Known& known : operands) values.push_back(make(known, assignment, place));
    return values;
  }

 private:
  struct Place {
    size_t extent = 0, dtype = 0;
  };

  void collect(const Extent& extent, bool is_number) {
    if (extent.kind == Extent::Kind::constant) {
      if (std::find(constants_.begin(), constants_.end(), extent.size) == constants_.end())
        constants_.push_back(extent.size);
      return;
    }
    if (extent.kind == Extent::Kind::unknown && is_number) is_exact_ = false;
    if (extent.kind == Extent::Kind::symbol &&
        std::find(symbols_.begin(), symbols_.end(), extent.symbol) != symbols_.end())
      return;
    symbols_.push_back(extent.symbol);
  }

  void collect(const Known& known) {
    switch (known.kind) {
      case TypeKind::nothing:
        return;
      case TypeKind::integer:
        return collect(known.number, true);
      case TypeKind::floating:
        is_exact_ = is_exact_ && !known.literal.is_nothing();
        return;
      case TypeKind::boolean:
      case TypeKind::string:
        is_possible_ = is_possible_ && !known.literal.is_nothing();
        return;
      case TypeKind::list:
        if (!known.items) break;
        for (const Known& item : *known.items) collect(item);
        return;
      case TypeKind::tensor:
        if (!known.shape) break;
        if (!known.dtype) ++n_types_;
        for (const Extent& extent : *known.shape) collect(extent, false);
        return;
      default:
        break;
    }
    is_possible_ = false;
  }

  int64_t size(const Extent& extent, const Assignment& assignment, Place& place) const {
    if (extent.kind == Extent::Kind::constant) return extent.size;
    if (extent.kind == Extent::Kind::symbol) {
      const auto at = std::find(symbols_.begin(), symbols_.end(), extent.symbol) - symbols_.begin();
      return assignment.sizes[static_cast<size_t>(at)];
    }
    while (!symbols_[place.extent].empty()) ++place.extent;
    return assignment.sizes[place.extent++];
  }

  Value make(const Known& known, const Assignment& assignment, Place& place) const {
    switch (known.kind) {
      case TypeKind::integer:
        return Value(size(known.number, assignment, place));
      case TypeKind::floating:
        return known.literal.is_nothing() ? Value(1.0) : known.literal;
      case TypeKind::boolean:
      case TypeKind::string:
        return known.literal;
      case TypeKind::list: {
        std::vector<Value> items;
        for (const Known& item : *known.items) items.push_back(make(item, assignment, place));
        return Value(std::move(items));
      }
      case TypeKind::tensor: {
        auto node = std::make_shared<graph::Node>();
        node->type.dtype = known.dtype ? *known.dtype : assignment.dtypes[place.dtype++];
        int64_t elements = 1;
        for (const Extent& extent : *known.shape) {
          const int64_t n = size(extent, assignment, place);
          if (__builtin_mul_overflow(elements, std::max<int64_t>(1, n), &elements) ||
              elements > kMostElements)
            throw NotKnown();
          node->type.shape.push_back(n);
        }
        return Value(std::move(node));
      }
      default:
        return {};
    }
  }

  std::vector<std::string> symbols_;  ///< of the open extents; "" for one without a name
  std::vector<int64_t> constants_;
  size_t n_types_ = 0;
  bool is_possible_ = true, is_exact_ = true;
};

using Assignment = Unknowns::Assignment;

/// Numbers for open extents, to be recognised in a result. What two rows of a family agree on does not hang
/// on the numbers. Primes come first; where an operation divides extents, numbers that many divide; where it
/// wants extents to be equal of which no name says so, one for all of these.
struct Family {
  std::array<int64_t, 12> large, small;
  bool unites_nameless = false;
};
constexpr std::array<int64_t, 12> kLargePrimes{101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157};
constexpr std::array<int64_t, 12> kSmallPrimes{53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 47, 43};
constexpr Family kFamilies[] = {
    {kLargePrimes, kSmallPrimes},
    {{840 * 11, 840 * 13, 840 * 17, 840 * 19, 840 * 23, 840 * 29, 840 * 31, 840 * 37, 840 * 41, 840 * 43,
      840 * 47, 840 * 53},
     {360 * 59, 360 * 61, 360 * 67, 360 * 71, 360 * 73, 360 * 79, 360 * 83, 360 * 89, 360 * 97, 360 * 101,
      360 * 103, 360 * 107}},
    {kLargePrimes, kSmallPrimes, true},
};

/// The numbers of a row for the open extents, without those that an operand has as an extent.
std::vector<int64_t> recognisable(std::span<const int64_t> row, const Unknowns& unknowns,
                                  bool unites_nameless) {
  const auto& constants = unknowns.constants();
  std::vector<int64_t> sizes;
  size_t next = 0;
  const auto take = [&] {
    while (next < row.size() && std::find(constants.begin(), constants.end(), row[next]) != constants.end())
      ++next;
    if (next == row.size()) throw NotKnown();
    return row[next++];
  };
  const int64_t nameless = take();
  for (size_t i = 0; i < unknowns.n_extents(); ++i)
    sizes.push_back(unites_nameless && unknowns.symbol(i).empty() ? nameless : take());
  return sizes;
}

constexpr size_t kMostExtents = 6;
constexpr size_t kMostItems = 32;

/// The value as far as one assignment tells.
Known seen(const Value& value, const Unknowns& unknowns, const Assignment& assignment) {
  const auto extent = [&](int64_t n) {
    const auto at = std::find(assignment.sizes.begin(), assignment.sizes.end(), n);
    if (at == assignment.sizes.end()) return Extent::constant(n);
    const std::string& symbol = unknowns.symbol(static_cast<size_t>(at - assignment.sizes.begin()));
    return symbol.empty() ? Extent{} : Extent::named(symbol);
  };
  Known known;
  switch (value.kind()) {
    case ValueKind::nothing:
      known.kind = TypeKind::nothing;
      break;
    case ValueKind::boolean:
      known.kind = TypeKind::boolean;
      if (assignment.sizes.empty()) known.literal = value;
      break;
    case ValueKind::integer:
      known.kind = TypeKind::integer;
      known.number = extent(value.integer());
      break;
    case ValueKind::floating:
      known.kind = TypeKind::floating;
      if (assignment.sizes.empty() && unknowns.is_exact()) known.literal = value;
      break;
    case ValueKind::string:
      known.kind = TypeKind::string;
      if (assignment.sizes.empty()) known.literal = value;
      break;
    case ValueKind::list: {
      known.kind = TypeKind::list;
      if (value.list().size() > kMostItems) break;
      auto items = std::make_shared<std::vector<Known>>();
      for (const Value& item : value.list()) items->push_back(seen(item, unknowns, assignment));
      known.items = std::move(items);
      break;
    }
    case ValueKind::tensor:
      known.kind = TypeKind::tensor;
      if (unknowns.n_types() == 0) known.dtype = value.tensor()->dtype();
      known.shape.emplace();
      for (const int64_t n : value.tensor()->shape()) known.shape->push_back(extent(n));
      break;
    default:
      break;
  }
  return known;
}

/// What holds in both samples. `all_ones`: the second one gave every open extent the size 1.
Known agreed(const Known& a, const Known& b, bool all_ones);

Extent agreed(const Extent& a, const Extent& b, bool all_ones) {
  if (!all_ones) return a == b ? a : Extent{};
  // 1 may be any of the open extents, or the number itself.
  const bool is_one = b.kind != Extent::Kind::constant || b.size == 1;
  if (a.kind == Extent::Kind::symbol) return is_one ? a : Extent{};
  if (a.kind == Extent::Kind::constant && b.kind == Extent::Kind::constant && a.size == b.size) return a;
  return a.kind == Extent::Kind::constant && a.size == 1 && is_one ? a : Extent{};
}

Known agreed(const Known& a, const Known& b, bool all_ones) {
  if (a.kind != b.kind) return {};
  Known out = a;
  if (a.dtype != b.dtype) out.dtype.reset();
  out.number = agreed(a.number, b.number, all_ones);
  if (a.shape && (!b.shape || a.shape->size() != b.shape->size())) out.shape.reset();
  if (out.shape)
    for (size_t i = 0; i < out.shape->size(); ++i)
      (*out.shape)[i] = agreed((*a.shape)[i], (*b.shape)[i], all_ones);
  if (a.items) {
    out.items = nullptr;
    if (b.items && a.items->size() == b.items->size()) {
      auto items = std::make_shared<std::vector<Known>>();
      for (size_t i = 0; i < a.items->size(); ++i)
        items->push_back(agreed((*a.items)[i], (*b.items)[i], all_ones));
      out.items = std::move(items);
    }
  }
  return out;
}

/// The outcome for one assignment.
struct Outcome {
  std::optional<Value> value;
  std::optional<Diagnostic> error;
};

Outcome run(const Unknowns& unknowns, std::span<const Known> operands, const Assignment& assignment,
            const StandIns::Operation& operation) {
  std::vector<Value> values = unknowns.make(operands, assignment);
  try {
    return {operation(values), {}};
  } catch (const ProgramError& e) {
    return {{}, e.diagnostics().front()};
  } catch (const Error& e) {
    return {{}, Diagnostic{Severity::error, {}, e.what(), {}, {}}};
  }
}

/// Every way to give the open extents sizes that could make a difference and the open element types one of
/// each sort. Empty if there are too many.
std::vector<Assignment> all_assignments(const Unknowns& unknowns, const Assignment& sample) {
  constexpr size_t kMost = 400;
  std::vector<Assignment> all{{}};
  const auto extend = [&](const auto& choices, auto member) {
    std::vector<Assignment> longer;
    for (const Assignment& a : all)
      for (const auto& choice : choices) {
        longer.push_back(a);
        (longer.back().*member).push_back(choice);
      }
    all = std::move(longer);
    return all.size() <= kMost;
  };
  for (size_t i = 0; i < unknowns.n_extents(); ++i) {
    std::vector<int64_t> sizes{sample.sizes[i], 1, 2, 64};
    for (const int64_t c : unknowns.constants())
      if (c > 0 && std::find(sizes.begin(), sizes.end(), c) == sizes.end()) sizes.push_back(c);
    if (!extend(sizes, &Assignment::sizes)) return {};
  }
  for (size_t i = 0; i < unknowns.n_types(); ++i)
    if (!extend(std::array{DType::f32, DType::i64, DType::boolean}, &Assignment::dtypes)) return {};
  return all;
}

/// The message of a sample, with names for the numbers that stood for open extents.
std::string with_names(const std::string& message, const Unknowns& unknowns, const Assignment& assignment) {
  std::string out;
  const auto is_digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  for (size_t i = 0; i < message.size();) {
    size_t end = i;
    while (end < message.size() && is_digit(message[end])) ++end;
    if (end == i) {
      out += message[i++];
      continue;
    }
    const std::string digits = message.substr(i, end - i);
    const auto at = std::find_if(assignment.sizes.begin(), assignment.sizes.end(),
                                 [&](int64_t size) { return std::to_string(size) == digits; });
    if (at == assignment.sizes.end()) {
      out += digits;
    } else {
      const std::string& symbol = unknowns.symbol(static_cast<size_t>(at - assignment.sizes.begin()));
      out += symbol.empty() ? "?" : symbol;
    }
    i = end;
  }
  return out;
}

/// What a family of numbers shows of the result, if the operation takes them.
std::optional<Known> result_by(const Family& family, const Unknowns& unknowns,
                               std::span<const Known> operands, const StandIns::Operation& operation) {
  const std::vector<DType> floats(unknowns.n_types(), DType::f32);
  const Assignment large{recognisable(family.large, unknowns, family.unites_nameless), floats};
  const Outcome first = run(unknowns, operands, large, operation);
  if (!first.value) return std::nullopt;
  Known known = seen(*first.value, unknowns, large);
  if (unknowns.n_extents() == 0) return known;
  const Assignment small{recognisable(family.small, unknowns, family.unites_nameless), floats};
  const Assignment ones{std::vector<int64_t>(unknowns.n_extents(), 1), floats};
  if (const Outcome o = run(unknowns, operands, small, operation); o.value)
    known = agreed(known, seen(*o.value, unknowns, small), false);
  if (const Outcome o = run(unknowns, operands, ones, operation); o.value)
    known = agreed(known, seen(*o.value, unknowns, ones), true);
  return known;
}

Finding find(std::span<const Known> operands, const StandIns::Operation& operation, bool refusal_is_proof) {
  const Unknowns unknowns(operands);
  if (!unknowns.is_possible() || unknowns.n_extents() > kMostExtents) return {};
  for (const Family& family : kFamilies) {
    if (auto known = result_by(family, unknowns, operands, operation)) return {std::move(*known), {}};
    if (unknowns.n_extents() == 0) break;
  }
  if (!unknowns.is_exact()) return {};
  const Assignment large{recognisable(kLargePrimes, unknowns, false),
                         std::vector<DType>(unknowns.n_types(), DType::f32)};
  const bool is_open = unknowns.n_extents() > 0 || unknowns.n_types() > 0;
  if (is_open) {
    if (unknowns.n_extents() > 0 && !refusal_is_proof) return {};
    const auto all = all_assignments(unknowns, large);
    const bool some_fit = all.empty() || std::any_of(all.begin(), all.end(), [&](const Assignment& a) {
                            return run(unknowns, operands, a, operation).value.has_value();
                          });
    if (some_fit) return {};
  }
  Finding finding;
  finding.error = run(unknowns, operands, large, operation).error;
  if (!finding.error) return {};
  finding.error->message = with_names(finding.error->message, unknowns, large);
  for (auto& note : finding.error->notes) note.message = with_names(note.message, unknowns, large);
  return finding;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------- trying

/// A world in which nothing can be computed, shown or asked.
class StandIns::NoHost : public Host {
 public:
  void print(std::string_view) override { throw NotKnown(); }
  std::string input(std::string_view) override { throw NotKnown(); }
  Tensor evaluate(const graph::NodeRef&) override { throw NotKnown(); }
};

StandIns::StandIns(const Library& library) : library_(library) {}
StandIns::~StandIns() = default;

Interpreter& StandIns::interpreter() {
  if (!interpreter_) {
    host_ = std::make_unique<NoHost>();
    Limits limits;
    limits.steps = 10'000;
    limits.elements = 1 << 12;
    interpreter_ = std::make_unique<Interpreter>(Program::from_text("", "", library_), *host_, limits);
  }
  return *interpreter_;
}

Finding StandIns::try_out(std::span<const Known> operands, const Operation& operation,
                          bool refusal_is_proof) {
  try {
    return find(operands, operation, refusal_is_proof);
  } catch (const std::exception&) {  // it needs content, or more than a trial should take: nothing is known
    return {};
  }
}

}  // namespace tl::lang
