// tl generate MODEL -p TEXT -n N: continue a text.
#include "llm/generate.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/drafting.h"
#include "cli/engine.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/profile.h"

namespace tl::cli {

namespace {

using nlohmann::ordered_json;

struct GenerateCommand {
  ModelOptions model = generating_options();
  PromptOptions prompt;
  GenerateOptions generate;
  DraftChoice draft;
  ProfileOptions profile;
  bool json = false, verbose = false, verbose_prompt = false;
};

ordered_json to_json(const TokenLogprob& t, const Tokenizer& tokenizer) {
  return {{"id", t.id}, {"token", tokenizer.piece(t.id)}, {"logprob", t.logprob}};
}

void print_json_result(const GenerateResult& result, const std::vector<int32_t>& prompt,
                       const Tokenizer& tokenizer, const GenerateOptions& options) {
  ordered_json j;
  j["prompt_tokens"] = prompt;
  j["text"] = result.text;
  j["tokens"] = ordered_json::array();
  for (const GeneratedToken& token : result.tokens) j["tokens"].push_back(token.id);
  if (options.n_logprobs > 0) {
    j["logprobs"] = ordered_json::array();
    for (const GeneratedToken& token : result.tokens) {
      ordered_json row = to_json({token.id, token.logprob}, tokenizer);
      row["top"] = ordered_json::array();
      for (const TokenLogprob& t : token.top) row["top"].push_back(to_json(t, tokenizer));
      j["logprobs"].push_back(std::move(row));
    }
  }
  j["stop_reason"] = name(result.reason);
  if (!result.stop_text.empty()) j["stop_text"] = result.stop_text;
  j["seed"] = result.seed;
  j["prompt_seconds"] = result.prompt_seconds;
  j["generate_seconds"] = result.generate_seconds;
  if (options.draft.drafter != nullptr) {
    j["draft"] = {{"drafts", result.draft.drafts},
                  {"drafted", result.draft.drafted},
                  {"accepted", result.draft.accepted},
                  {"seconds", result.draft.seconds}};
  }
  print_json(j);
}

/// One line per token: its text and log probability, then the most probable ones at its place.
void print_logprobs(const GenerateResult& result, const Tokenizer& tokenizer) {
  for (const GeneratedToken& token : result.tokens) {
    fmt::print("{:>7}  {:20} {:9.4f} |", token.id, escaped(tokenizer.piece(token.id)), token.logprob);
    for (const TokenLogprob& t : token.top)
      fmt::print("  {} {:.4f}", escaped(tokenizer.piece(t.id)), t.logprob);
    fmt::print("\n");
  }
}

void print_verbose(const GenerateResult& r, bool drafts) {
  const auto rate = [](double n, double seconds) { return seconds > 0 ? n / seconds : 0.0; };
  const auto n = static_cast<double>(r.tokens.size());
  fmt::print(stderr, "seed {}; prompt: {} tokens, {:.2f} s ({:.1f} tokens/s); answer: {} tokens, {:.2f} s ",
             r.seed, r.prompt_tokens, r.prompt_seconds,
             rate(static_cast<double>(r.prompt_tokens), r.prompt_seconds), r.tokens.size(),
             r.generate_seconds);
  fmt::print(stderr, "({:.1f} tokens/s); ended by {}\n", rate(n, r.generate_seconds), name(r.reason));
  if (drafts) fmt::print(stderr, "drafts: {}\n", to_string(r.draft));
}

void generate_command(GenerateCommand command) {
  (void)Sampler(command.generate.sampling);  // options out of range are refused before the model loads
  const auto engine = Engine::open(command.model);
  const Tokenizer& tokenizer = engine->tokenizer();
  const std::vector<int32_t> prompt = prompt_ids(command.prompt, tokenizer);
  if (command.verbose_prompt) print_prompt(prompt, tokenizer);
  command.generate.context_length = engine->context_length();
  command.generate.batch = command.model.batch_size();

  const bool stream = !command.json && command.generate.n_logprobs == 0;
  const std::unique_ptr<Drafter> drafter = make_drafter(command.draft, *engine, command.model);
  command.generate.draft.drafter = drafter.get();
  Profiler profiler(command.profile, engine->session());
  ProfiledModel model(*engine, profiler);
  const GenerateResult result =
      generate(tokenizer, model, prompt, command.generate, [&](std::string_view text) {
        if (!stream) return;
        std::fwrite(text.data(), 1, text.size(), stdout);
        flush_output();
      });

  if (command.json) {
    print_json_result(result, prompt, tokenizer, command.generate);
  } else if (command.generate.n_logprobs > 0) {
    print_logprobs(result, tokenizer);
  } else if (!result.text.ends_with('\n')) {
    fmt::print("\n");
  }
  flush_output();
  if (command.verbose) print_verbose(result, drafter != nullptr);
  profiler.report();
  if (result.reason == StopReason::context_full) {
    say(fmt::format("the context of {} tokens is full; -c enlarges it", engine->context_length()));
  }
  if (result.reason == StopReason::interrupted) throw Interrupted();
}

}  // namespace

void add_generate(CLI::App& app) {
  auto options = std::make_shared<GenerateCommand>();
  GenerateOptions& o = options->generate;
  CLI::App* command = app.add_subcommand("generate", "Continue a text");
  command->add_option("MODEL", options->model.model, "A model file, or a name from `tl models`")->required();
  add_prompt_options(*command, options->prompt);
  command
      ->add_option("-n,--predict", o.max_tokens,
                   "At most so many tokens; -1 until the model or the context ends")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 40));
  command->add_option("--stop", o.stop_texts, "End where this text appears (may be given several times)")
      ->option_text("TEXT")
      ->take_all()
      ->allow_extra_args(false);
  command->add_flag("--ignore-eos", o.ignore_eos, "Go on after a token that ends generation");
  command->add_option("--logprobs", o.n_logprobs, "Show each token's log probability and the N most probable")
      ->check(CLI::Range(0, 1000))
      ->option_text("N");
  command->add_flag("--json", options->json, "Print JSON when all is done");
  command->add_flag("--verbose-prompt", options->verbose_prompt,
                    "Show the prompt's token ids on standard error");
  command->add_flag("-v,--verbose", options->verbose, "Show seed and speed on standard error");
  add_sampling_options(*command, o.sampling);
  add_draft_options(*command, options->draft, o.draft);
  add_model_options(*command, options->model);
  add_profile_options(*command, options->profile);
  command->callback([options] { generate_command(*options); });
}

}  // namespace tl::cli
