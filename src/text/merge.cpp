#include "text/merge.h"

#include <fmt/format.h>

#include "base/error.h"

namespace tl {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(const std::vector<std::string>& merges, const TokenIds& ids, size_t n_tokens,
                       const std::string& name)
    : ids_(ids), next_symbol_(static_cast<int32_t>(n_tokens)) {
  joins_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string_view merge = merges[rank];
    const size_t space = merge.find(' ', 1);  // a left part is never empty, but may begin with a space
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      throw Error(fmt::format("{}: merge {} is \"{}\"; expected two texts with a space between them", name,
                              rank, merge));
    }
    const int32_t left = intern(merge.substr(0, space));
    const int32_t right = intern(merge.substr(space + 1));
    std::string both(merge.substr(0, space));
    both += merge.substr(space + 1);
    joins_.emplace(pair_key(left, right), Join{static_cast<double>(rank), intern(both)});
  }
}

int32_t MergeTable::intern(std::string_view text) {
  if (const int32_t known = symbol(text); known >= 0) return known;
  extra_texts_.emplace_back(text);
  extra_.emplace(extra_texts_.back(), next_symbol_);
  return next_symbol_++;
}

int32_t MergeTable::symbol(std::string_view text) const {
  if (const auto it = ids_.find(text); it != ids_.end()) return it->second;
  if (const auto it = extra_.find(text); it != extra_.end()) return it->second;
  return -1;
}

std::optional<Join> MergeTable::find(int32_t left, int32_t right) const {
  const auto it = joins_.find(pair_key(left, right));
  if (it == joins_.end()) return std::nullopt;
  return it->second;
}

}  // namespace tl
