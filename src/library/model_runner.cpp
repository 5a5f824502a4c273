#include "library/model_runner.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "graph/builder.h"
#include "lang/program.h"
#include "library/model_functions.h"
#include "llm/sampling.h"

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

Tensor ModelRunner::walk(std::span<const Tensor> inputs, const Wanted& wanted) {
  const int64_t n = inputs[0].elements(), position = cache().length();
  Session& session = host_.session();
  std::vector<graph::NodeRef> given;
  for (const Tensor& input : inputs) {
    given.push_back(graph::constant(input));
    graph::set_label(given.back(), given.size() == 1 ? "ids" : "random_bits");
  }
  const lang::Value arguments[] = {model_value_, lang::Value(given[0]), cache_value_};
  lang::StepNumbers::watch(&cache());
  const lang::Value result = interpreter_->call("forward", arguments);
  const bool may_learn =
      graph::PolicyScope::current() == 0 && !lang::StepNumbers::are_fixed() && session.may_replay();
  if (!result.is_tensor() || result.tensor()->shape().rank() != 2 || result.tensor()->shape()[0] != n)
    throw Error(fmt::format("forward must give logits [{}, vocabulary], and gave {}", n, result.describe()));
  graph::NodeRef logits = result.tensor();
  if (!wanted.all_rows && n > 1) logits = graph::slice(logits, 0, -1, std::nullopt);
  const auto& draw = wanted.draw;
  const graph::NodeRef root =
      draw ? graph::draw(graph::top_k(logits, draw->candidates), given[1], draw->options) : logits;
  if (lang::StepNumbers::are_fixed()) forget_replays();  // it may have left something behind for others
  // At the beginning there are no keys yet: nothing like the later steps, of which as much is known as
  // before.
  if (StepReplay* replay = position > 0 ? replay_of(n, wanted) : nullptr) {
    if (may_learn)
      replay->learn(session, root, given, position);
    else
      replay->forget();
  }
  Tensor values = host_.compute(root);
  if (!cache().is_settled()) forget_replays();
  return values;
}

/// A generation's steps have one row, or few where drafts are verified. Only one is the last and all at once.
StepReplay* ModelRunner::replay_of(int64_t rows, const Wanted& wanted) {
  constexpr int64_t kFew = 64;
  if (rows != 1 && !(wanted.all_rows && rows < kFew)) return nullptr;
  if (!wanted.draw) return &replays_[rows];
  const auto& [candidates, options, bits, bits_after] = *wanted.draw;
  if (!draw_replay_ || draw_replay_->candidates != candidates || draw_replay_->options != options)
    draw_replay_ = DrawReplay{candidates, options};
  return &draw_replay_->replay;
}

void ModelRunner::forget_replays() {
  replays_.clear();
  draw_replay_.reset();
}

std::span<const float> ModelRunner::step(std::span<const int32_t> ids, bool all_rows) {
  logits_ = {};  // its memory is free for the new ones
  const Tensor values = feed(ids, {.all_rows = all_rows});
  logits_ = values.dtype() == DType::f32 && values.is_contiguous() ? values : converted(values, DType::f32);
  return {logits_.data<float>(), static_cast<size_t>(logits_.elements())};
}

int32_t ModelRunner::step_and_draw(std::span<const int32_t> ids, const Draw& draw) {
  return drawn_token(load_int(feed(ids, {.draw = draw}), 0));
}

/// Logits that are at hand need no operation that draws from them.
int64_t ModelRunner::most_candidates() const {
  return host_.session().backend().has_own_memory() ? std::min(n_vocab(), kMostTopK) : 0;
}

Tensor ModelRunner::feed(std::span<const int32_t> ids, const Wanted& wanted) {
  const auto n = static_cast<int64_t>(ids.size());
  std::vector<Tensor> inputs = {Tensor(DType::i64, {n})};
  std::copy(ids.begin(), ids.end(), inputs[0].data<int64_t>());
  const auto bits_of = [](int64_t bits) {
    return Tensor::from<int64_t>(DType::i64, {1}, std::span<const int64_t>(&bits, 1));
  };
  if (wanted.draw) inputs.push_back(bits_of(wanted.draw->bits));
  const int64_t before = cache().length();
  try {
    Session& session = host_.session();
    if (n_copies_ != cache().n_copies() || !cache().is_settled()) forget_replays();
    n_copies_ = cache().n_copies();
    StepReplay* replay = graph::PolicyScope::current() == 0 ? replay_of(n, wanted) : nullptr;
    if (replay == nullptr || !replay->knows(before) || !session.may_replay()) return walk(inputs, wanted);
    cache().advance(n);
    std::vector<Tensor> after;
    const bool has_room = cache().length() < cache().capacity();
    if (wanted.draw && wanted.draw->bits_after && has_room)
      after = {Tensor(), bits_of(*wanted.draw->bits_after)};
    Tensor values = replay->run(session, before, inputs, after);
    if (n > 1) replay->release();
    return values;
  } catch (...) {
    cache().truncate(before);
    throw;
  }
}

}  // namespace tl
