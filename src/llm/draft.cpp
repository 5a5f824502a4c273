#include "llm/draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"

namespace tl {

namespace {

/// A match of fewer tokens says too little of what follows.
constexpr size_t kShortestMatch = 3;
/// Of matches at least this long the latest is as good as any.
constexpr size_t kLongestMatch = 12;

constexpr int64_t kFarthest = 64;

/// How many of the last tokens before `end` are the last of all.
size_t match_length(std::span<const int32_t> ids, size_t end) {
  size_t n = 0;
  while (n < std::min(end, kLongestMatch) && ids[end - 1 - n] == ids[ids.size() - 1 - n]) ++n;
  return n;
}

/// The probability of the largest logit; NaN where the logits are of no use.
double probability_of_best(std::span<const float> logits, float best) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - best);
  return 1 / sum;
}

}  // namespace

/// What became of the draft before decides how far the next one reaches: wrong tokens cost their time.
void LookupDrafter::learn(std::span<const int32_t> ids) {
  if (last_.empty() || ids.size() <= last_at_) return;
  const auto came = ids.subspan(last_at_);
  const auto right = std::ranges::mismatch(last_, came).in1 - last_.begin();
  limit_ = right == std::ssize(last_) ? limit_ + limit_ / 2 : std::max<int64_t>(2, (limit_ + right) / 2);
  last_.clear();
}

std::vector<int32_t> LookupDrafter::propose(std::span<const int32_t> ids, int64_t most) {
  learn(ids);
  limit_ = std::min(limit_, kFarthest);
  size_t longest = 0, at = 0;
  for (size_t end = ids.size() - 1; end > 0 && longest < kLongestMatch; --end) {
    const size_t n = match_length(ids, end);
    if (n > longest) longest = n, at = end;
  }
  if (longest < kShortestMatch) return {};
  std::vector<int32_t> draft;
  for (int64_t i = 0; i < std::min(most, limit_); ++i, ++at)  // a period goes on into what is drafted
    draft.push_back(at < ids.size() ? ids[at] : draft[at - ids.size()]);
  last_ = draft;
  last_at_ = ids.size();
  return draft;
}

std::span<const float> ModelDrafter::feed(std::span<const int32_t> ids) {
  std::span<const float> logits;
  while (!ids.empty()) {
    const auto part = ids.first(std::min(ids.size(), static_cast<size_t>(batch_)));
    logits = model_->step(part);
    fed_.insert(fed_.end(), part.begin(), part.end());
    ids = ids.subspan(part.size());
  }
  return logits;
}

std::vector<int32_t> ModelDrafter::propose(std::span<const int32_t> ids, int64_t most) {
  const auto known = [](int64_t n_vocab) { return [n_vocab](int32_t id) { return id < n_vocab; }; };
  if (!std::ranges::all_of(ids, known(model_->n_vocab()))) return {};
  const auto shared = std::ranges::mismatch(fed_, ids).in1 - fed_.begin();
  const auto keep = static_cast<size_t>(std::min(shared, std::ssize(ids) - 1));
  model_->truncate(static_cast<int64_t>(keep));
  fed_.resize(keep);
  std::vector<int32_t> draft;
  std::span<const float> logits = feed(ids.subspan(keep));
  for (;;) {
    const auto best = std::ranges::max_element(logits);
    const auto id = static_cast<int32_t>(best - logits.begin());
    if (!known(tokenizer_.vocab_size())(id)) break;
    if (!(probability_of_best(logits, *best) >= min_probability_)) break;
    draft.push_back(id);
    if (std::ssize(draft) == most || tokenizer_.is_end_of_generation(id)) break;
    logits = feed(std::span(&id, 1));
  }
  return draft;
}

void require_same_tokens(const Tokenizer& target, const Tokenizer& draft) {
  const int32_t shared = std::min(target.vocab_size(), draft.vocab_size());
  for (int32_t id = 0; id < shared; ++id) {
    if (target.piece(id) == draft.piece(id)) continue;
    throw Error(
        fmt::format("the draft model has another vocabulary: token {} is '{}' there and '{}' in the model; "
                    "a draft model must share the model's tokens (--draft lookup needs none)",
                    id, draft.token_text(id), target.token_text(id)));
  }
}

std::vector<int32_t> Lookahead::draft(std::span<const int32_t> ids, int64_t most) {
  most = std::min(most, options_.max);
  if (options_.drafter == nullptr || most < std::max<int64_t>(1, options_.min)) return {};
  const auto start = std::chrono::steady_clock::now();
  std::vector<int32_t> draft = options_.drafter->propose(ids, most);
  statistics_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  TL_CHECK(std::ssize(draft) <= most, "a draft is longer than was asked for");
  if (std::ssize(draft) < options_.min) draft.clear();
  return draft;
}

std::span<const float> Lookahead::after(std::span<const int32_t> ids, int64_t most) {
  const auto row = [this] {
    const auto width = static_cast<size_t>(model_.n_vocab());
    return rows_.subspan(accepted_ * width, width);
  };
  if (accepted_ < draft_.size() && draft_[accepted_] == ids.back()) {
    ++accepted_;
    ++statistics_.accepted;
    return row();
  }
  settle();
  const std::vector<int32_t> draft = this->draft(ids, most);
  if (draft.empty()) return model_.step(ids.last(1));
  std::vector<int32_t> fed = {ids.back()};
  fed.insert(fed.end(), draft.begin(), draft.end());
  rows_ = model_.step(fed, true);
  draft_ = draft;
  ++statistics_.drafts;
  statistics_.drafted += std::ssize(draft);
  return row();
}

void Lookahead::settle() {
  if (accepted_ < draft_.size())
    model_.truncate(model_.position() - (std::ssize(draft_) - static_cast<int64_t>(accepted_)));
  draft_.clear();
  accepted_ = 0;
}

}  // namespace tl
