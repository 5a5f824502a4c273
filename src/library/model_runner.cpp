#include "library/model_runner.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "graph/builder.h"
#include "lang/program.h"
#include "library/model_functions.h"

namespace tl {

std::string model_program(const std::string& architecture, const std::string& programs_dir) {
  namespace fs = std::filesystem;
  const fs::path path = fs::path(programs_dir) / (architecture + ".tl");
  std::error_code ignored;
  if (fs::exists(path, ignored)) return path.string();
  std::vector<std::string> known;
  for (const auto& entry : fs::directory_iterator(programs_dir, ignored))
    if (entry.path().extension() == ".tl") known.push_back(entry.path().stem().string());
  std::sort(known.begin(), known.end());
  throw Error(fmt::format(
      "no model program for the architecture '{}' in {} (there are: {}); write one that defines "
      "forward(m, ids, cache) and pass it with --program",
      architecture, programs_dir, known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
}

ModelRunner::ModelRunner(std::shared_ptr<const Model> model, RuntimeHost& host)
    : model_(std::move(model)),
      host_(host),
      object_(new CacheObject(KvCache(model_->config(), host.default_context(*model_), host.cache_types()))),
      model_value_(new ModelObject(model_)),
      cache_value_(object_) {
  const HostOptions& options = host.options();
  const std::string path = options.program.empty()
                               ? model_program(model_->config().architecture, options.programs_dir)
                               : options.program;
  auto program = lang::Program::load(path, standard_library(), {{options.programs_dir}});
  program->require_ok();
  if (program->find("forward") == nullptr)
    throw Error(fmt::format("{}: a model program defines fn forward(m, ids, cache)", path));
  interpreter_ = std::make_unique<lang::Interpreter>(std::move(program), host);
}

Tensor ModelRunner::walk(const Tensor& ids, Wanted wanted) {
  const int64_t n = ids.elements(), position = cache().length();
  Session& session = host_.session();
  const graph::NodeRef tokens = graph::constant(ids);
  graph::set_label(tokens, "ids");
  const lang::Value arguments[] = {model_value_, lang::Value(tokens), cache_value_};
  lang::StepNumbers::watch(&cache());
  const lang::Value result = interpreter_->call("forward", arguments);
  const bool may_learn = position > 0 && graph::PolicyScope::current() == 0 &&
                         !lang::StepNumbers::are_fixed() && session.may_replay();
  if (!result.is_tensor() || result.tensor()->shape().rank() != 2 || result.tensor()->shape()[0] != n)
    throw Error(fmt::format("forward must give logits [{}, vocabulary], and gave {}", n, result.describe()));
  graph::NodeRef logits = result.tensor();
  if (!wanted.all_rows && n > 1) logits = graph::slice(logits, 0, -1, std::nullopt);
  if (wanted.best > 0) logits = graph::top_k(logits, wanted.best);
  if (lang::StepNumbers::are_fixed()) replays_.clear();  // it may have left something behind for others
  if (StepReplay* replay = replay_of(n, wanted)) {
    if (may_learn)
      replay->learn(session, logits, tokens, position);
    else
      replay->forget();
  }
  const Tensor values = host_.compute(logits);
  if (!cache().is_settled()) replays_.clear();
  return values;
}

/// A generation's steps have one row, or few where drafts are verified. Only one is the last and all at once.
StepReplay* ModelRunner::replay_of(int64_t rows, Wanted wanted) {
  constexpr int64_t kFew = 64;
  return rows == 1 || (wanted.all_rows && rows < kFew) ? &replays_[{rows, wanted.best}] : nullptr;
}

std::span<const float> ModelRunner::step(std::span<const int32_t> ids, bool all_rows) {
  logits_ = {};  // its memory is free for the new ones
  const Tensor values = feed(ids, {.all_rows = all_rows});
  logits_ = values.dtype() == DType::f32 && values.is_contiguous() ? values : converted(values, DType::f32);
  return {logits_.data<float>(), static_cast<size_t>(logits_.elements())};
}

std::vector<Candidate> ModelRunner::step_best(std::span<const int32_t> ids, int64_t k) {
  const Tensor values = feed(ids, {.best = k});
  std::vector<Candidate> best;
  for (int64_t i = 0; i < k; ++i)
    best.push_back({static_cast<int32_t>(load_double(values, k + i)), load_double(values, i)});
  return best;
}

/// Logits that are at hand need no operation that looks for the largest.
int64_t ModelRunner::most_best() const {
  return host_.session().backend().has_own_memory() ? std::min(n_vocab(), kMostTopK) : 0;
}

Tensor ModelRunner::feed(std::span<const int32_t> ids, Wanted wanted) {
  const auto n = static_cast<int64_t>(ids.size());
  Tensor input(DType::i64, {n});
  std::copy(ids.begin(), ids.end(), input.data<int64_t>());
  const int64_t before = cache().length();
  try {
    Session& session = host_.session();
    if (n_copies_ != cache().n_copies() || !cache().is_settled()) replays_.clear();
    n_copies_ = cache().n_copies();
    StepReplay* replay = graph::PolicyScope::current() == 0 ? replay_of(n, wanted) : nullptr;
    if (replay == nullptr || !replay->knows(before) || !session.may_replay()) return walk(input, wanted);
    cache().advance(n);
    Tensor values = replay->run(session, before, input);
    if (n > 1) replay->release();
    return values;
  } catch (...) {
    cache().truncate(before);
    throw;
  }
}

}  // namespace tl
