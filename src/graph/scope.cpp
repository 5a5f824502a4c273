#include "graph/scope.h"

namespace tl::graph {

namespace {
thread_local Scope* innermost = nullptr;
}

std::string to_string(const ScopeRef& scope) {
  if (!scope) return {};
  std::string text = to_string(scope->parent);
  if (!text.empty()) text += '/';
  text += scope->name;
  if (scope->index >= 0) text += "[" + std::to_string(scope->index) + "]";
  return text;
}

Scope::Scope(std::string_view name, int64_t index) : name_(name), index_(index), outer_(innermost) {
  innermost = this;
}

Scope::~Scope() { innermost = outer_; }

void Scope::set_index(int64_t index) {
  index_ = index;
  path_ = nullptr;
}

ScopeRef Scope::path() {
  if (!path_) {
    path_ = std::make_shared<const ScopePath>(
        ScopePath{outer_ != nullptr ? outer_->path() : nullptr, std::string(name_), index_});
  }
  return path_;
}

Span& current_span() {
  thread_local Span span;
  return span;
}

ScopeRef Scope::current() { return innermost != nullptr ? innermost->path() : nullptr; }

}  // namespace tl::graph
