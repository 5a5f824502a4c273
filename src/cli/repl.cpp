// tl repl: the language, line by line.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/source.h"
#include "cli/commands.h"
#include "cli/doc_page.h"
#include "cli/line_editor.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/trace_table.h"
#include "inspect/recording.h"
#include "lang/analysis.h"
#include "lang/completion.h"
#include "lang/workspace.h"
#include "library/model_functions.h"

namespace tl::cli {

namespace {

constexpr const char* kName = "<input>";
constexpr const char* kPrompt = "> ";
constexpr const char* kContinuation = ". ";

/// Where the lines of earlier runs are kept.
std::string history_file() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  const std::string state = variable("XDG_STATE_HOME"), home = variable("HOME");
  if (state.empty() && home.empty()) return "";
  return (state.empty() ? home + "/.local/state" : state) + "/tensorlogic/history";
}

/// Reads texts, obeys commands, runs the rest and prints what comes out.
class Repl {
 public:
  explicit Repl(RuntimeHost& host)
      : host_(host), workspace_(standard_library(), host, {{host.options().programs_dir}}) {}

  /// The number of texts and commands that failed.
  int run() {
    LineEditor editor(kPrompt, {history_file(), [this](std::string_view line) { return complete(line); }});
    interactive_ = editor.interactive();
    if (interactive_) fmt::print("TensorLogic. :help lists the commands; Ctrl-C stops, Ctrl-D ends.\n");
    while (!finished_) {
      try {
        editor.set_prompt(pending_.empty() ? kPrompt : kContinuation);
        const auto line = editor.read_line();
        if (line) {
          take(*line);
        } else {
          finished_ = true;
          if (!pending_.empty()) evaluate(std::exchange(pending_, {}));
        }
      } catch (const Interrupted&) {
        if (!interactive_) throw;  // from a pipe nobody could go on
        interrupt_requested = false;
        pending_.clear();
        fmt::print("{}", stopped_ ? "(stopped)\n" : "");
      } catch (const ProgramError& error) {
        complain(use_colour(2) ? error.coloured() : error.what());
      } catch (const Error& error) {
        complain(fmt::format("tl: error: {}", error.what()));
      }
      stopped_ = false;
      flush_output();
    }
    return n_errors_;
  }

 private:
  struct Command {
    const char* name;
    const char* argument;
    const char* help;
    void (Repl::*run)(const std::string& argument);
  };
  static const std::array<Command, 7> kCommands;

  void complain(const std::string& text) {
    std::fflush(stdout);
    fmt::print(stderr, "{}\n", text);
    ++n_errors_;
  }

  /// One more line. An empty one ends what could go on, but for open brackets.
  void take(const std::string& line) {
    const bool is_blank = line.find_first_not_of(" \t\r") == std::string::npos;
    if (pending_.empty()) {
      if (is_blank) return;
      if (const size_t at = line.find_first_not_of(" \t"); line[at] == ':') return obey(line.substr(at));
    }
    pending_ += line + "\n";
    if (is_blank ? lang::is_enclosed(pending_) : lang::is_unfinished(pending_)) return;
    evaluate(std::exchange(pending_, {}));
  }

  lang::Value run(const std::string& name, std::string text) {
    stopped_ = true;  // if anything stops from here on, it is the program
    lang::Value value = workspace_.run(name, std::move(text));
    for (const Diagnostic& d : workspace_.remarks())
      if (d.severity == Severity::warning) fmt::print(stderr, "{}\n", render(d, use_colour(2)));
    return value;
  }

  void show(const lang::Value& value) {
    if (!value.is_nothing()) fmt::print("{}\n", workspace_.interpreter().text(value, /*quoted=*/true));
  }

  void evaluate(std::string text) {
    show(run(kName, std::move(text)));
    workspace_.run_main();
  }

  // Commands

  void obey(const std::string& line) {
    const size_t space = std::min(line.find(' '), line.size());
    const std::string name = line.substr(0, space);
    const size_t begin = line.find_first_not_of(' ', space);
    const std::string argument = begin == std::string::npos ? "" : line.substr(begin);
    std::vector<std::string> known;
    for (const Command& command : kCommands) {
      if (name == command.name || (name.size() == 2 && name[1] == command.name[1])) {
        if (command.argument[0] != '\0' && argument.empty())
          throw Error(fmt::format("{} needs {}", command.name, command.argument));
        return (this->*command.run)(argument);
      }
      known.emplace_back(command.name);
    }
    const std::string nearest = nearest_name(name, known);
    const std::string hint = nearest.empty() ? ":help lists them" : fmt::format("did you mean {}?", nearest);
    throw Error(fmt::format("there is no command {}; {}", name, hint));
  }

  void help(const std::string&) {
    for (const Command& c : kCommands)
      fmt::print("{:12} {}\n", fmt::format("{} {}", c.name, c.argument), c.help);
    fmt::print(
        "Lines go on while a bracket is open or an operator is last. Tab completes names and members.\n");
  }

  void type(const std::string& text) {
    const lang::Value value = run(kName, text);
    if (value.is(lang::ValueKind::function)) {
      const lang::FunctionObject& f = value.function();
      fmt::print("{}\n", f.user ? lang::signature_text(*f.user) : f.native->signature);
      return;
    }
    const lang::NativeFunction* type = standard_library().find("type");
    lang::Interpreter& interpreter = workspace_.interpreter();
    fmt::print("{}\n", interpreter.text(interpreter.call(lang::Value::function(type), {{value}})));
  }

  void doc(const std::string& name) {
    const auto symbol = workspace_.program().visible().find(name);
    if (symbol != workspace_.program().visible().end() && symbol->second.function) {
      fmt::print("{}\n", lang::signature_text(*symbol->second.function));
      const std::string comment = lang::comment_above(*symbol->second.function);
      if (!comment.empty()) fmt::print("\n{}\n", comment);
      return;
    }
    print_page(name);
  }

  /// The tensors that the variables hold, also within lists and records.
  std::set<graph::NodeRef> tensors() {
    std::set<graph::NodeRef> found;
    const auto collect = [&](const auto& self, const lang::Value& value) -> void {
      if (value.is_tensor()) found.insert(value.tensor());
      if (value.is(lang::ValueKind::list))
        for (const lang::Value& item : value.list()) self(self, item);
      if (value.is(lang::ValueKind::record))
        for (const auto& field : value.fields()) self(self, field.second);
    };
    for (const auto& [name, symbol] : workspace_.program().visible())
      if (!symbol.function) collect(collect, workspace_.interpreter().global(symbol));
    return found;
  }

  /// What the text gives to variables is computed too: without that only a plan would be made here.
  void time(const std::string& text) {
    const std::set<graph::NodeRef> before = tensors();
    const auto start = std::chrono::steady_clock::now();
    compute(text, before);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    fmt::print("{:.6f} s\n", seconds.count());
  }

  void compute(const std::string& text, const std::set<graph::NodeRef>& before) {
    show(run(kName, text));
    for (const graph::NodeRef& node : tensors())
      if (!before.contains(node)) workspace_.interpreter().evaluate(node);
  }

  void trace(const std::string& text) {
    const std::set<graph::NodeRef> before = tensors();
    Session& session = host_.session();
    inspect::Recorder recorder(session.pool(), {});
    session.set_observer(&recorder);
    try {
      compute(text, before);
    } catch (...) {
      session.set_observer(nullptr);
      throw;
    }
    session.set_observer(nullptr);
    std::vector<const inspect::Record*> records;
    for (const inspect::Record& r : recorder.records())
      if (!r.is_leaf()) records.push_back(&r);
    print_records(records);
  }

  void load(const std::string& path) {
    run(path, read_file(path));
    if (workspace_.program().main()) fmt::print("its main {{ … }} was not run\n");
  }

  void quit(const std::string&) { finished_ = true; }

  // Completion

  Completion complete(std::string_view line) {
    if (pending_.empty() && line.starts_with(':') && line.find(' ') == std::string_view::npos) {
      std::vector<std::string> names;
      for (const Command& c : kCommands) names.emplace_back(c.name);
      return {0, lang::matching(names, line)};
    }
    const size_t command = pending_.empty() && line.starts_with(':') ? line.find(' ') : 0;
    const std::string text = pending_ + std::string(line.substr(command));
    const auto place = lang::completion_place(text, static_cast<uint32_t>(text.size()));
    if (!place.is_name) return {};
    std::vector<std::string> names = place.is_member ? members_of(place.object) : names_in_scope();
    names = lang::matching(std::move(names), place.prefix);
    // A method call may be any function.
    if (names.empty() && place.is_member) names = lang::matching(functions(), place.prefix);
    return {line.size() - place.prefix.size(), std::move(names)};
  }

  /// The members of what a path stands for. Paths call nothing, so that looking changes nothing.
  std::vector<std::string> members_of(const std::string& path) {
    if (path.empty()) return {};
    std::vector<std::string> names;
    try {
      const lang::Value value = workspace_.run(kName, path);
      if (value.is(lang::ValueKind::object)) return value.object().members();
      if (value.is(lang::ValueKind::record))
        for (const auto& [field, content] : value.fields()) names.push_back(field);
    } catch (const Error&) {  // no such thing: nothing to offer
    }
    return names;
  }

  std::vector<std::string> functions() const {
    std::vector<std::string> names = standard_library().names();
    for (const auto& [name, symbol] : workspace_.program().visible())
      if (symbol.function) names.push_back(name);
    return names;
  }

  std::vector<std::string> names_in_scope() const {
    std::vector<std::string> names = lang::words_of_the_language();
    for (const std::string& name : standard_library().names()) names.push_back(name);
    for (const auto& [name, symbol] : workspace_.program().visible()) names.push_back(name);
    return names;
  }

  RuntimeHost& host_;
  lang::Workspace workspace_;
  std::string pending_;  ///< lines of a text that is not complete
  int n_errors_ = 0;
  bool interactive_ = false, finished_ = false;
  bool stopped_ = false;  ///< whether an interruption concerns a running program
};

const std::array<Repl::Command, 7> Repl::kCommands = {{
    {":help", "", "show this", &Repl::help},
    {":type", "EXPR", "the type of a value; of a function its signature", &Repl::type},
    {":doc", "NAME", "what a function does", &Repl::doc},
    {":time", "EXPR", "how long it takes to compute, after its value; also of assignments", &Repl::time},
    {":trace", "EXPR", "every value that computing it makes, after its value; also of assignments",
     &Repl::trace},
    {":load", "FILE", "take in a program: its functions and globals, without running its main", &Repl::load},
    {":quit", "", "end (Ctrl-D does too)", &Repl::quit},
}};

void repl(const ModelOptions& options) {
  const auto session = make_session(options);
  RuntimeHost host(*session, host_options(options));
  const int n_errors = Repl(host).run();
  if (n_errors > 0 && !is_terminal(0))
    throw Error(fmt::format("{} input{} failed", n_errors, n_errors == 1 ? "" : "s"));
}

}  // namespace

void add_repl(CLI::App& app) {
  auto options = std::make_shared<ModelOptions>();
  CLI::App* command = app.add_subcommand("repl", "Try the language: what you enter is run at once");
  add_model_options(*command, *options);
  command->callback([options] { repl(*options); });
}

}  // namespace tl::cli
