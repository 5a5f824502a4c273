// The merging that both kinds of tokenizer are made of: of all neighbours that may join, the best pair joins
// first.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tl {

/// A stretch of the text being merged, and the symbol it is (-1: none).
struct Piece {
  size_t begin, length;
  int32_t symbol;
};

/// What two neighbours become, and when: the lowest cost goes first, among equals the leftmost.
struct Join {
  double cost;
  int32_t symbol;
};

/// Joins neighbouring pieces until no pair may join. `join(left, right)` says whether and how two may. Takes
/// O(n log n) for n pieces.
template <class JoinRule>
void merge_pieces(std::vector<Piece>& pieces, const JoinRule& join) {
  struct Candidate {
    Join join;
    size_t left, right, length;  // `length` tells a candidate whose pieces have grown since
  };
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.join.cost != b.join.cost ? a.join.cost > b.join.cost : a.left > b.left;
  };
  std::priority_queue<Candidate, std::vector<Candidate>, decltype(later)> queue(later);
  const size_t n = pieces.size();  // also stands for "no neighbour"
  std::vector<size_t> next(n), previous(n);
  const auto consider = [&](size_t left, size_t right) {
    if (left == n || right == n) return;
    if (const std::optional<Join> j = join(pieces[left], pieces[right])) {
      queue.push({*j, left, right, pieces[left].length + pieces[right].length});
    }
  };
  for (size_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? n : i - 1;
    next[i] = i + 1;
  }
  for (size_t i = 0; i + 1 < n; ++i) consider(i, i + 1);
  while (!queue.empty()) {
    const Candidate c = queue.top();
    queue.pop();
    Piece &left = pieces[c.left], &right = pieces[c.right];
    if (left.length == 0 || right.length == 0 || left.length + right.length != c.length) continue;
    left.length = c.length;
    left.symbol = c.join.symbol;
    right.length = 0;
    next[c.left] = next[c.right];
    if (next[c.left] != n) previous[next[c.left]] = c.left;
    consider(previous[c.left], c.left);
    consider(c.left, next[c.left]);
  }
  std::erase_if(pieces, [](const Piece& p) { return p.length == 0; });
}

/// A list of merges as a table from pairs of symbols to rank and result. Token ids are the symbols of tokens;
/// texts that only occur inside merges get symbols beyond them.
class MergeTable {
 public:
  using TokenIds = std::unordered_map<std::string_view, int32_t>;

  /// `ids` must outlive the table. Throws Error naming `name` and the merge that is not "LEFT RIGHT".
  MergeTable(const std::vector<std::string>& merges, const TokenIds& ids, size_t n_tokens,
             const std::string& name);

  /// The symbol of a text, or -1.
  int32_t symbol(std::string_view text) const;
  /// Rank and result of joining two symbols, if a merge does.
  std::optional<Join> find(int32_t left, int32_t right) const;

 private:
  int32_t intern(std::string_view text);

  const TokenIds& ids_;
  int32_t next_symbol_;
  std::deque<std::string> extra_texts_;
  TokenIds extra_;
  std::unordered_map<uint64_t, Join> joins_;
};

}  // namespace tl
