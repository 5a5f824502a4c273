// What is right by the rules and hardly what was meant.
#include <algorithm>

#include <fmt/format.h>

#include "lang/checker_detail.h"
#include "lang/text_functions.h"

namespace tl::lang {

using namespace ast;

/// xs.append(1) alone, as in Python, changes nothing.
void Checker::warn_of_unused(const Stmt& s) {
  if (s.kind != StmtKind::expression) return;
  const auto* call = ast::if_is<Call>(ast::as<Expression>(s).value.get());
  const auto* callee = call != nullptr ? ast::if_is<Name>(call->callee.get()) : nullptr;
  if (callee == nullptr || callee->native == nullptr || callee->native->name != "append") return;
  diagnostics_.push_back({Severity::warning,
                          call->span,
                          "the list with the new element is not used: append leaves its list as it is",
                          {},
                          "xs += [value] changes xs in place"});
}

/// An index name that stands once is summed; one that looks like an int in scope was rather meant to be that.
/// The first `n_left` of the names that were met stand on the left side.
void Checker::warn_of_slips(size_t n_left) {
  std::vector<std::string> ints;
  for (const Variable& v : variables_)
    if (v.known.kind == TypeKind::integer) ints.push_back(v.name);
  for (size_t i = n_left; i < met_indices_.size(); ++i) {
    const Name* n = met_indices_[i];
    const auto is_same = [&](const Name* other) { return other->text == n->text; };
    if (n->text.size() < 3 || std::count_if(met_indices_.begin(), met_indices_.end(), is_same) != 1) continue;
    const std::string near = nearest_name(n->text, ints);
    if (near.empty()) continue;
    diagnostics_.push_back({Severity::warning,
                            n->span,
                            fmt::format("'{}' is summed as an index here", n->text),
                            {},
                            fmt::format("did you mean ({})?", near)});
  }
}

namespace {

bool is_integral(const Known& k) {
  return k.kind == TypeKind::integer || (k.is_tensor() && k.dtype && is_int(*k.dtype));
}
bool is_arithmetic(BinaryOp op) { return op >= BinaryOp::add; }

/// "{loss:.2f}", as Python's f-strings have it; "" where there is none.
std::string named_place(const std::string& text) {
  const auto is_letter = [](char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; };
  for (size_t i = text.find('{'); i != std::string::npos; i = text.find('{', i + 1)) {
    const size_t end = text.find_first_of("{} \n", i + 1);
    if (end != std::string::npos && text[end] == '}' && is_letter(text[i + 1]))
      return text.substr(i, end + 1 - i);
  }
  return {};
}

}  // namespace

/// sum(a == b) / n is the share of those that are equal in NumPy; here it is an int, and mostly 0.
void Checker::warn_of_share(const Binary& e, const Known& left, const Known& right) {
  const auto* call = if_is<Call>(e.left.get());
  const auto* callee = call != nullptr ? if_is<Name>(call->callee.get()) : nullptr;
  const bool is_sum = callee != nullptr && callee->native != nullptr && callee->native->name == "sum";
  if (e.op != BinaryOp::divide || !is_sum || call->arguments.empty() || !is_integral(right)) return;
  const auto* summed = if_is<Binary>(call->arguments[0].value.get());
  if (!is_integral(left) && (summed == nullptr || is_arithmetic(summed->op))) return;
  diagnostics_.push_back({Severity::warning,
                          e.span,
                          "int / int truncates: this is no share",
                          {},
                          "mean(x) is the share of the true ones; 1.0 * sum(x) / n divides floats"});
}

/// print("{} {}", x), and print("{x}", x).
void Checker::warn_of_places(const Call& e, const NativeFunction& f) {
  const auto* text = e.arguments.empty() ? nullptr : if_is<String>(e.arguments[0].value.get());
  if ((f.name != "print" && f.name != "format") || text == nullptr || e.arguments.size() < 2) return;
  const size_t places = count_places(text->value), values = e.arguments.size() - 1;
  const std::string named = named_place(text->value);
  const auto warn = [&](std::string message, std::string help) {
    diagnostics_.push_back({Severity::warning, text->span, std::move(message), {}, std::move(help)});
  };
  if (places > values)
    warn(fmt::format("{} places, and {} value{} to fill them", places, values, values == 1 ? "" : "s"), {});
  else if (places < values && !named.empty())
    warn(fmt::format("'{}' is no place for a value", named), "places are {} and {:.2f}, filled in turn");
}

}  // namespace tl::lang
