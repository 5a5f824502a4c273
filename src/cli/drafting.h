// --draft and what belongs to it.
#pragma once

#include <memory>
#include <string>

#include "cli/engine.h"
#include "llm/draft.h"

namespace CLI {
class App;
}

namespace tl::cli {

/// Who guesses tokens ahead, and how far.
struct DraftChoice {
  std::string drafter;            ///< "": nobody; "lookup"; else a model
  double min_probability = 0.75;  ///< of a token that a model guesses
};

/// Adds --draft, --draft-max, --draft-min and --draft-p-min; the lengths go to `lengths`.
void add_draft_options(CLI::App& command, DraftChoice& choice, DraftOptions& lengths);

/// The drafter that was chosen, or null. A model is opened beside `target`, which must outlive it. Throws
/// Error where its tokens are others, or as Engine::open does.
std::unique_ptr<Drafter> make_drafter(const DraftChoice& choice, Engine& target, const ModelOptions& options);

/// "12 tokens in 3 drafts, 9 accepted (75.0 %), 0.01 s"
std::string to_string(const DraftStatistics& statistics);

}  // namespace tl::cli
