// tl chat [MODEL]: a conversation in the terminal.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <memory>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/source.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/drafting.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "cli/pull.h"
#include "formats/registry.h"
#include "llm/vocabulary.h"

namespace tl::cli {

namespace {

constexpr const char* kDefaultModel = "smollm2-135m";

struct ChatOptions {
  ModelOptions model = generating_options();
  GenerateOptions generate;
  DraftChoice draft;
  std::string system, template_file;
};

/// Reads lines, obeys commands, prints answers.
class Chat {
 public:
  Chat(Engine& engine, Conversation conversation) : engine_(engine), conversation_(std::move(conversation)) {}

  void run() {
    LineEditor editor("> ");
    interactive_ = editor.interactive();
    if (interactive_) {
      fmt::print("{}. /help lists the commands; Ctrl-C stops an answer, Ctrl-D ends.\n",
                 engine_.file().get_string("general.name", engine_.file().path()));
    }
    while (!finished_) {
      try {
        const auto line = editor.read();
        if (!line) return;
        if (!line->empty()) obey(*line);
      } catch (const Interrupted&) {
        if (!interactive_) throw;  // from a pipe nobody could go on
        interrupt_requested = false;
      } catch (const UsageError& error) {
        say(error.what());
      } catch (const Error& error) {
        if (!interactive_) throw;
        say(fmt::format("error: {}", error.what()));
      }
    }
  }

 private:
  struct Command {
    const char* name;
    const char* argument;
    const char* help;
    void (Chat::*run)(const std::string& argument);
  };
  static const std::array<Command, 7> kCommands;

  void obey(const std::string& line) {
    if (line[0] != '/') return answer(line);
    const size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    std::string argument =
        space == std::string::npos ? "" : line.substr(line.find_last_not_of(' ', space) + 1);
    argument.erase(0, argument.find_first_not_of(' '));
    std::vector<std::string> known;
    for (const Command& command : kCommands) {
      if (name == command.name) {
        if (std::string_view(command.argument) == "FILE" && argument.empty()) {
          throw UsageError(fmt::format("{} needs a file name", name));
        }
        return (this->*command.run)(argument);
      }
      known.emplace_back(command.name);
    }
    const std::string nearest = nearest_name(name, known);
    const std::string hint = nearest.empty() ? "/help lists them" : fmt::format("did you mean {}?", nearest);
    throw UsageError(fmt::format("there is no command {}; {}", name, hint));
  }

  void answer(const std::string& text) {
    bool at_start = true;
    last_ = conversation_.ask(text, [&](std::string_view piece) {
      if (at_start) piece.remove_prefix(std::min(piece.find_first_not_of(" \n"), piece.size()));
      at_start = at_start && piece.empty();
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      flush_output();
    });
    fmt::print("{}\n", last_.reason == StopReason::interrupted && interactive_ ? " (stopped)" : "");
    flush_output();
    if (last_.reason == StopReason::context_full) {
      say(fmt::format("the context of {} tokens is full: /clear starts afresh, -c gives a larger one",
                      engine_.context_length()));
    }
    if (last_.reason == StopReason::interrupted && !interactive_) throw Interrupted();
    interrupt_requested = false;
  }

  void help(const std::string&) {
    for (const Command& c : kCommands)
      fmt::print("{:16} {}\n", fmt::format("{} {}", c.name, c.argument), c.help);
    fmt::print("A line that ends in \\ goes on in the next. Ctrl-C stops an answer, Ctrl-D ends.\n");
  }
  void clear(const std::string&) { conversation_.clear(); }
  void system(const std::string& text) { conversation_.set_system(text); }
  void save(const std::string& path) {
    save_conversation(path, conversation_.messages());
    fmt::print("{} messages saved\n", conversation_.messages().size());
  }
  void load(const std::string& path) {
    conversation_.set_messages(load_conversation(path));
    fmt::print("{} messages loaded\n", conversation_.messages().size());
  }
  void stats(const std::string&) {
    const auto rate = [](int64_t n, double seconds) {
      return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
    };
    fmt::print("context      {} of {} tokens, {} messages\n", conversation_.tokens(),
               engine_.context_length(), conversation_.messages().size());
    const SamplingOptions& s = conversation_.sampling();
    fmt::print("sampling     temp {}, top-k {}, top-p {}, min-p {}\n", s.temp, s.top_k, s.top_p, s.min_p);
    if (last_.prompt_tokens == 0) return;  // nothing was answered yet
    fmt::print("last prompt  {} new tokens, {:.2f} s, {:.1f} tokens/s\n", last_.prompt_tokens,
               last_.prompt_seconds, rate(last_.prompt_tokens, last_.prompt_seconds));
    fmt::print("last answer  {} tokens, {:.2f} s, {:.1f} tokens/s, ended by {}\n", last_.tokens.size(),
               last_.generate_seconds, rate(std::ssize(last_.tokens), last_.generate_seconds),
               name(last_.reason));
    if (conversation_.has_drafter()) fmt::print("drafts       {}\n", to_string(last_.draft));
    fmt::print("seed         {}\n", last_.seed);
  }
  void exit(const std::string&) { finished_ = true; }

  Engine& engine_;
  Conversation conversation_;
  GenerateResult last_;
  bool interactive_ = false, finished_ = false;
};

const std::array<Chat::Command, 7> Chat::kCommands = {{
    {"/help", "", "show this", &Chat::help},
    {"/clear", "", "forget the conversation", &Chat::clear},
    {"/system", "TEXT", "set the system message (none: remove it) and start afresh", &Chat::system},
    {"/save", "FILE", "write the conversation to a JSON file", &Chat::save},
    {"/load", "FILE", "take up a saved conversation", &Chat::load},
    {"/stats", "", "context in use, speed of the last answer", &Chat::stats},
    {"/exit", "", "end (Ctrl-D does too)", &Chat::exit},
}};

/// A model of the registry is sampled as its authors recommend, where the command line says nothing else: a
/// small one rambles at a temperature that suits large ones.
void sample_as_recommended(const CLI::App& command, const std::string& model, SamplingOptions& sampling) {
  const RegistryRow* row = find_registered(model);
  if (!row) return;
  if (command.count("--temp") == 0) sampling.temp = row->temp;
  if (command.count("--top-p") == 0) sampling.top_p = row->top_p;
}

ChatTemplate chat_template_of(const ModelFile& file, const std::string& template_file) {
  if (!template_file.empty()) return ChatTemplate::parse(read_file(template_file), template_file);
  const std::string text = model_chat_template(file);
  if (text.empty()) {
    throw Error(
        fmt::format("{} has no chat template: it may be a base model (use tl generate), or give one with "
                    "--template FILE",
                    file.path()));
  }
  return ChatTemplate::parse(text, "chat template of " + file.path());
}

void chat(const CLI::App& command, ChatOptions options) {
  (void)Sampler(options.generate.sampling);  // options out of range are refused before the model loads
  const bool is_default = options.model.model.empty();
  sample_as_recommended(command, is_default ? kDefaultModel : options.model.model, options.generate.sampling);
  if (is_default) options.model.model = pull(kDefaultModel);
  const auto engine = Engine::open(options.model);
  options.generate.batch = options.model.batch_size();
  const std::unique_ptr<Drafter> drafter = make_drafter(options.draft, *engine, options.model);
  options.generate.draft.drafter = drafter.get();
  Conversation conversation(*engine, chat_template_of(engine->file(), options.template_file),
                            options.generate);
  conversation.set_system(options.system);
  Chat(*engine, std::move(conversation)).run();
}

}  // namespace

void add_chat(CLI::App& app) {
  auto options = std::make_shared<ChatOptions>();
  GenerateOptions& o = options->generate;
  CLI::App* command = app.add_subcommand("chat", "Talk with a model");
  command->add_option("MODEL", options->model.model,
                      fmt::format("A model file, or a name from `tl models`; without it, {}", kDefaultModel));
  command->add_option("--system", options->system, "The system message")->option_text("TEXT");
  command->add_option("--template", options->template_file, "A Jinja chat template, instead of the model's")
      ->option_text("FILE");
  command->add_option("-n,--predict", o.max_tokens, "At most so many tokens per answer; -1 is no limit")
      ->check(CLI::Range(int64_t{-1}, int64_t{1} << 40));
  command
      ->add_option("--stop", o.stop_texts,
                   "End an answer where this text appears (may be given several times)")
      ->option_text("TEXT")
      ->take_all()
      ->allow_extra_args(false);
  add_sampling_options(*command, o.sampling);
  add_draft_options(*command, options->draft, o.draft);
  add_model_options(*command, options->model);
  command->callback([command, options] { chat(*command, *options); });
}

}  // namespace tl::cli
