#include "cli/session.h"

#include <fmt/format.h>

#include "cli/devices.h"
#include "cli/output.h"
#include "inspect/plant.h"

namespace tl::cli {

namespace {

/// The planter says at its end, with the session, what it found no place for: a run that looks healthy then
/// is.
void plant(SessionOptions& session, const std::vector<std::string>& texts, const KernelChoice& otherwise) {
  std::vector<inspect::Plant> plants;
  for (const std::string& text : texts) plants.push_back(inspect::parse_plant(text));
  const std::shared_ptr<inspect::Planter> planter(
      new inspect::Planter(std::move(plants)), [notice = session.notice](const inspect::Planter* p) {
        for (const std::string& name : p->unused())
          notice(fmt::format("this run has no place for the fault {}", name));
        delete p;
      });
  session.rewrite = [planter](std::span<const graph::NodeRef> roots) { planter->rewrite(roots); };
  session.kernel = [planter, otherwise](const graph::Step& step, const graph::Trace& trace) {
    const Kernel* planted = planter->kernel(step, trace);
    return planted == nullptr && otherwise ? otherwise(step, trace) : planted;
  };
}

}  // namespace

std::unique_ptr<Session> make_session(const ModelOptions& options, const KernelChoice& choice) {
  const Backend& backend = backend_of_device(options.device);
  SessionOptions session;
  session.n_threads = options.threads;
  session.precision = options.precision;
  session.batch_invariant = options.batch_invariant;
  session.processors = options.processors;
  session.notice = options.notice ? options.notice : [](const std::string& text) { say("note: " + text); };
  session.passes = options.passes;
  session.kernel = choice;
  if (!options.plant.empty()) plant(session, options.plant, choice);
  if (options.dump_graph) {
    session.dump_graph = [](const std::string& text) { fmt::print(stderr, "{}\n", text); };
  }
  const Backend* fallback = &backend == &reference_backend() ? nullptr : &reference_backend();
  return std::make_unique<Session>(backend, fallback, std::move(session));
}

HostOptions host_options(const ModelOptions& options) {
  HostOptions host;
  host.use_mmap = options.mmap;
  if (options.layers) host.layers = *options.layers;
  host.cache = {*dtype_from_name(options.cache_type_k), *dtype_from_name(options.cache_type_v)};
  host.context_length = options.context;
  host.program = options.program;
  host.programs_dir = model_programs_dir(options.models_dir);
  host.backend = [](const std::string& device) -> const Backend& {
    if (const std::string wrong = check_device_name(device); !wrong.empty()) throw Error(wrong);
    return backend_of_device(device);
  };
  return host;
}

}  // namespace tl::cli
