// From command-line options to a session and a host.
#pragma once

#include <functional>
#include <memory>

#include "cli/options.h"
#include "library/host.h"
#include "runtime/session.h"

namespace tl::cli {

/// Another kernel for a step of a new plan, or null: SessionOptions::kernel.
using KernelChoice = std::function<const Kernel*(const graph::Step&, const graph::Trace&)>;

/// A session on the backend that --device names, with -t threads and --activations and its relatives. Notices
/// go to standard error. `choice` may give other kernels than the backend's.
std::unique_ptr<Session> make_session(const ModelOptions& options, const KernelChoice& choice = {});

HostOptions host_options(const ModelOptions& options);

}  // namespace tl::cli
