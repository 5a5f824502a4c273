// The subcommands: one function per file adds one to the command line. Each keeps its options alive in the
// callback it registers; the callback does the work and reports failure by throwing (see main.cpp for exit
// codes).
#pragma once

namespace CLI {
class App;
}

namespace tl::cli {

void add_audit(CLI::App& app);
void add_bench(CLI::App& app);
void add_chat(CLI::App& app);
void add_check(CLI::App& app);
void add_compare(CLI::App& app);
void add_devices(CLI::App& app);
void add_diagnose(CLI::App& app);
void add_doc(CLI::App& app);
void add_fmt(CLI::App& app);
void add_generate(CLI::App& app);
void add_inspect(CLI::App& app);
void add_logits(CLI::App& app);
void add_lsp(CLI::App& app);
void add_models(CLI::App& app);
void add_perplexity(CLI::App& app);
void add_pull(CLI::App& app);
void add_quantize(CLI::App& app);
void add_repl(CLI::App& app);
void add_run(CLI::App& app);
void add_synth(CLI::App& app);
void add_test(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_trace(CLI::App& app);

}  // namespace tl::cli
