#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "graph/builder.h"

namespace tl::graph {

namespace {

[[noreturn]] void refuse(std::string_view equation, const std::string& why) {
  throw Error(fmt::format("[einsum] \"{}\": {}", equation, why));
}

/// One side's index letters; batch dimensions ("...") are spelled by the characters from kBatch on.
constexpr char32_t kBatch = 0x110000;
using Letters = std::vector<char32_t>;

struct Parsed {
  std::vector<std::string> inputs;
  std::string output;
  bool has_output = false;
};

Parsed split(std::string_view equation) {
  Parsed parsed;
  std::string text;
  for (const char c : equation)
    if (c != ' ') text += c;
  if (const auto arrow = text.find("->"); arrow != std::string::npos) {
    parsed.output = text.substr(arrow + 2);
    parsed.has_output = true;
    text.resize(arrow);
  }
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i != text.size() && text[i] != ',') continue;
    parsed.inputs.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  return parsed;
}

/// Letters of one term, with "..." replaced by `n_batch` batch letters (aligned at the right, as NumPy
/// broadcasts).
Letters letters(std::string_view equation, const std::string& term, int n_batch, int max_batch) {
  Letters out;
  for (size_t i = 0; i < term.size(); ++i) {
    const char c = term[i];
    if (c == '.') {
      if (term.compare(i, 3, "...") != 0)
        refuse(equation, "a '.' stands alone; batch dimensions are written '...'");
      i += 2;
      for (int b = max_batch - n_batch; b < max_batch; ++b) out.push_back(kBatch + static_cast<char32_t>(b));
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      out.push_back(static_cast<char32_t>(c));
    } else {
      refuse(equation, fmt::format("'{}' is no index; use letters", c));
    }
  }
  return out;
}

int batch_rank(std::string_view equation, const std::string& term, int rank) {
  if (term.find("...") == std::string::npos) return 0;
  const auto named = static_cast<int>(term.size()) - 3;
  if (named > rank)
    refuse(equation, fmt::format("'{}' names {} axes, and its tensor has {}", term, named, rank));
  return rank - named;
}

Letters default_output(const std::vector<Letters>& inputs) {
  std::map<char32_t, int> uses;
  for (const auto& term : inputs)
    for (const char32_t c : term) ++uses[c];
  Letters out;
  for (const auto& [c, n] : uses)
    if (c >= kBatch) out.push_back(c);
  for (const auto& [c, n] : uses)
    if (c < kBatch && n == 1) out.push_back(c);
  return out;
}

}  // namespace

NodeRef einsum(std::string_view equation, const std::vector<NodeRef>& tensors) {
  const Parsed parsed = split(equation);
  if (parsed.inputs.size() != tensors.size())
    refuse(equation,
           fmt::format("names {} operands, and {} were given", parsed.inputs.size(), tensors.size()));
  int max_batch = 0;
  for (size_t i = 0; i < tensors.size(); ++i)
    max_batch = std::max(max_batch, batch_rank(equation, parsed.inputs[i], tensors[i]->shape().rank()));

  std::vector<Letters> terms;
  std::map<char32_t, int> labels;
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Shape& shape = tensors[i]->shape();
    terms.push_back(
        letters(equation, parsed.inputs[i], batch_rank(equation, parsed.inputs[i], shape.rank()), max_batch));
    if (static_cast<int>(terms.back().size()) != shape.rank())
      refuse(equation, fmt::format("'{}' names {} axes, and its tensor is {}", parsed.inputs[i],
                                   terms.back().size(), to_string(shape)));
    for (int a = 0; a < shape.rank(); ++a) {
      const char32_t c = terms.back()[static_cast<size_t>(a)];
      const auto [at, is_new] = labels.emplace(c, static_cast<int>(sizes.size()));
      if (is_new) {
        sizes.push_back(shape[a]);
        continue;
      }
      int64_t& size = sizes[static_cast<size_t>(at->second)];
      if (c >= kBatch && size == 1) size = shape[a];
      if (size != shape[a] && !(c >= kBatch && shape[a] == 1))
        refuse(equation,
               fmt::format("index '{}' is {} in one operand and {} in '{}'",
                           c >= kBatch ? '.' : static_cast<char>(c), size, shape[a], parsed.inputs[i]));
    }
  }
  const Letters out =
      parsed.has_output ? letters(equation, parsed.output, max_batch, max_batch) : default_output(terms);
  std::vector<int> result;
  for (const char32_t c : out) {
    const auto at = labels.find(c);
    if (at == labels.end())
      refuse(equation, fmt::format("the output index '{}' is in no operand", static_cast<char>(c)));
    if (std::find(result.begin(), result.end(), at->second) != result.end())
      refuse(equation, fmt::format("the output index '{}' stands twice", static_cast<char>(c)));
    result.push_back(at->second);
  }
  std::vector<Operand> operands;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Operand operand{tensors[i], {}};
    for (size_t a = 0; a < terms[i].size(); ++a) {
      const int label = labels.at(terms[i][a]);
      const bool repeated =
          tensors[i]->shape()[static_cast<int>(a)] == 1 && sizes[static_cast<size_t>(label)] != 1;
      operand.axes.push_back(repeated ? Operand::Axis{} : Operand::Axis{{{label, 1}}, 0, 1});
    }
    operands.push_back(std::move(operand));
  }
  return contract(std::move(operands), result, sizes);
}

}  // namespace tl::graph
