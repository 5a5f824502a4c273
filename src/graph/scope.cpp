#include "graph/scope.h"

#include <utility>

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

std::vector<Diagnostic::Note> call_notes(const ScopeRef& scope) {
  std::vector<Diagnostic::Note> notes;
  for (const ScopePath* step = scope.get(); step != nullptr; step = step->parent.get()) {
    if (!step->call) continue;
    if (notes.size() == kMostCallNotes) {
      notes.push_back({{}, "… and the calls that led there"});
      break;
    }
    notes.push_back({step->call, "in this call of " + step->name});
  }
  return notes;
}

Scope::Scope(std::string_view name, int64_t index, Span call)
    : name_(name), index_(index), call_(call), outer_(innermost) {
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
        ScopePath{outer_ != nullptr ? outer_->path() : nullptr, std::string(name_), index_, call_});
  }
  return path_;
}

namespace {
thread_local uint16_t current_policy = 0;
}

PolicyScope::PolicyScope(uint16_t policy) : outer_(std::exchange(current_policy, policy)) {}
PolicyScope::~PolicyScope() { current_policy = outer_; }
uint16_t PolicyScope::current() { return current_policy; }

Span& current_span() {
  thread_local Span span;
  return span;
}

ScopeRef Scope::current() { return innermost != nullptr ? innermost->path() : nullptr; }

}  // namespace tl::graph
