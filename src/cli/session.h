// From command-line options to a session and a host.
#pragma once

#include <memory>

#include "cli/options.h"
#include "library/host.h"
#include "runtime/session.h"

namespace tl::cli {

/// A session on the backend that --device names, with -t threads and --activations. Notices go to standard
/// error.
std::unique_ptr<Session> make_session(const ModelOptions& options);

HostOptions host_options(const ModelOptions& options);

}  // namespace tl::cli
