#include "library/host.h"

#include <algorithm>

#include "formats/registry.h"

namespace tl {

std::shared_ptr<Model> RuntimeHost::open_model(const std::string& name) const {
  auto model = std::make_shared<Model>(open_model_file(resolve_model(name), options_.use_mmap));
  if (options_.layers) model->set_layers(*options_.layers);
  return model;
}

int64_t RuntimeHost::default_context(const Model& model) const {
  if (options_.context_length > 0) return options_.context_length;
  return std::min<int64_t>(model.config().context_length, 4096);
}

RuntimeHost& RuntimeHost::of(lang::Interpreter& interpreter) {
  auto* host = dynamic_cast<RuntimeHost*>(&interpreter.host());
  TL_CHECK(host != nullptr, "library functions need a RuntimeHost");
  lang::StepNumbers::fix();
  return *host;
}

}  // namespace tl
