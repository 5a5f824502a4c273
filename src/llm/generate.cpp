#include "llm/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <utility>

#include "base/interrupt.h"
#include "text/stream.h"

namespace tl {

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The token with its logprob and the n most probable at its place (equal ones by id).
GeneratedToken with_logprobs(int32_t id, std::span<const float> logits, int n) {
  GeneratedToken token{id, 0, {}};
  if (n <= 0) return token;
  const std::vector<double> logprobs = log_probabilities(logits);
  std::vector<int32_t> order(logprobs.size());
  std::iota(order.begin(), order.end(), 0);
  const auto end = order.begin() + std::min<std::ptrdiff_t>(n, std::ssize(order));
  const auto at = [&](int32_t i) { return logprobs[static_cast<size_t>(i)]; };
  std::partial_sort(order.begin(), end, order.end(),
                    [&](int32_t a, int32_t b) { return at(a) != at(b) ? at(a) > at(b) : a < b; });
  token.logprob = at(id);
  for (auto it = order.begin(); it != end; ++it) token.top.push_back({*it, at(*it)});
  return token;
}

/// What is known of the next token: the logits that it is sampled from, or itself.
struct Outlook {
  std::span<const float> logits;
  std::optional<int32_t> drawn = {};
};

/// The length of the longest end of `text` that begins `stop` without completing it.
size_t overlap(std::string_view text, std::string_view stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n) {
    if (text.ends_with(stop.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

std::string_view name(StopReason reason) {
  switch (reason) {
    case StopReason::end_of_generation:
      return "end_of_generation";
    case StopReason::max_tokens:
      return "max_tokens";
    case StopReason::stop_text:
      return "stop_text";
    case StopReason::context_full:
      return "context_full";
    case StopReason::interrupted:
      return "interrupted";
  }
  return "";
}

StopTextFilter::StopTextFilter(std::vector<std::string> stop_texts) : stop_texts_(std::move(stop_texts)) {
  std::erase(stop_texts_, "");
}

std::string StopTextFilter::push(std::string_view text) {
  if (!met_.empty()) return "";
  held_ += text;
  size_t first = std::string::npos, hold = 0;
  for (const std::string& stop : stop_texts_) {
    if (const size_t at = held_.find(stop); at < first) {
      first = at;
      met_ = stop;
    }
    hold = std::max(hold, overlap(held_, stop));
  }
  const size_t safe = met_.empty() ? held_.size() - hold : first;
  std::string out = held_.substr(0, safe);
  held_.erase(0, met_.empty() ? safe : std::string::npos);
  return out;
}

std::string StopTextFilter::flush() { return std::exchange(held_, {}); }

void require_prompt_fits(std::span<const int32_t> prompt, int64_t context_length) {
  if (prompt.empty()) throw Error("the prompt has no tokens: there is nothing to continue");
  if (std::ssize(prompt) <= context_length) return;
  throw Error(fmt::format(
      "the prompt has {} tokens, but the context holds {}: enlarge it with -c, or shorten the prompt",
      prompt.size(), context_length));
}

GenerateResult generate(const Tokenizer& tokenizer, LanguageModel& model, std::span<const int32_t> prompt,
                        const GenerateOptions& options,
                        const std::function<void(std::string_view)>& on_text) {
  require_prompt_fits(prompt, options.context_length);
  TL_CHECK(options.batch > 0, "batch must be positive");
  TL_CHECK(options.cached >= 0 && options.cached < std::ssize(prompt), "the last prompt token must be fed");

  GenerateResult result;
  Sampler sampler(options.sampling);
  StreamDecoder decoder(tokenizer);
  StopTextFilter filter(options.stop_texts);
  result.seed = sampler.seed();
  result.prompt_tokens = std::ssize(prompt) - options.cached;
  const auto show = [&](const std::string& text) {
    if (text.empty()) return;
    result.text += text;
    if (on_text) on_text(text);
  };

  std::vector<int32_t> ids(prompt.begin(), prompt.end());  // all that the penalties may see
  Lookahead lookahead(model, options.draft);
  /// How many tokens behind the one that is fed next can still be sampled, and lie in the context.
  const auto room = [&] {
    const int64_t context = options.context_length - std::ssize(ids);
    const int64_t wanted = options.max_tokens - std::ssize(result.tokens) - 1;
    return options.max_tokens < 0 ? context : std::min(context, wanted);
  };
  const bool needs_all = options.n_logprobs > 0 || options.draft.drafter != nullptr;
  const int64_t deciding = std::min(sampler.deciding().value_or(0), model.n_vocab());
  const bool model_draws = !needs_all && deciding > 0 && deciding <= model.most_candidates();
  std::optional<Draw> drawn_next;
  /// The outlook after some new tokens, the last of which is the last of all.
  const auto feed = [&](std::span<const int32_t> fed) {
    if (!model_draws) return Outlook{model.step(fed)};
    Draw draw = drawn_next ? *drawn_next : sampler.next_draw(deciding);
    drawn_next.reset();
    if (room() > 0) {
      drawn_next = sampler.next_draw(deciding);
      draw.bits_after = drawn_next->bits;
    }
    return Outlook{{}, model.step_and_draw(fed, draw)};
  };
  const auto sample_until_end = [&](Outlook next) {
    while (std::ssize(result.tokens) != options.max_tokens) {
      const int32_t id = next.drawn ? *next.drawn : sampler.sample(next.logits, ids);
      if (tokenizer.is_end_of_generation(id) && !options.ignore_eos) return StopReason::end_of_generation;
      result.tokens.push_back(with_logprobs(id, next.logits, options.n_logprobs));
      show(filter.push(decoder.push(id)));
      if (!filter.met().empty()) return StopReason::stop_text;
      if (std::ssize(result.tokens) == options.max_tokens) break;
      if (std::ssize(ids) == options.context_length) return StopReason::context_full;
      check_interrupt();
      ids.push_back(id);
      next = needs_all ? Outlook{lookahead.after(ids, room())} : feed(std::span(ids).last(1));
    }
    return StopReason::max_tokens;
  };

  auto start = std::chrono::steady_clock::now();
  try {
    Outlook next;
    for (auto rest = prompt.subspan(static_cast<size_t>(options.cached)); !rest.empty();) {
      check_interrupt();
      const size_t n = std::min(rest.size(), static_cast<size_t>(options.batch));
      next = n == rest.size() ? feed(rest) : Outlook{model.step(rest.first(n))};
      rest = rest.subspan(n);
    }
    result.prompt_seconds = seconds_since(start);
    start = std::chrono::steady_clock::now();
    result.reason = sample_until_end(next);
  } catch (const Interrupted&) {
    result.reason = StopReason::interrupted;
  }
  lookahead.settle();
  result.generate_seconds = result.prompt_seconds > 0 ? seconds_since(start) : 0;
  result.draft = lookahead.statistics();
  show(filter.push(decoder.flush()));
  show(filter.flush());
  result.stop_text = filter.met();
  if (!result.stop_text.empty()) result.reason = StopReason::stop_text;
  return result;
}

}  // namespace tl
