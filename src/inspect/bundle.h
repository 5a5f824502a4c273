// A failing operation by itself: its inputs, what it gave and what it should have given, and a program of a
// few lines that runs it.
#pragma once

#include <string>

#include "inspect/diagnosis.h"

namespace tl::inspect {

/// Writes `folder`/case.gguf and `folder`/reproduce.tl for a fault that `replay` found in `observed`. The
/// folder is made if it is not there. Throws Error where something cannot be written, and where an input of
/// the operation was not kept.
void write_bundle(const std::string& folder, Replay& replay, const Recording& observed, const Fault& fault);

}  // namespace tl::inspect
