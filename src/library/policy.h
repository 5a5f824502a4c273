// What a `with` block is computed by, as a value of the language.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lang/value.h"
#include "library/host.h"

namespace tl {

/// device("cuda") or precision(activations: float16): what it says changes, the rest stays as it is around
/// the block.
class PolicyObject : public lang::NativeObject {
 public:
  static constexpr std::string_view kTypeName = "policy";
  explicit PolicyObject(std::string device) : device_(std::move(device)) {}
  /// Parts and types as set_precision() takes them.
  explicit PolicyObject(std::vector<std::pair<std::string, std::string>> types) : types_(std::move(types)) {}
  std::string_view type_name() const override { return kTypeName; }
  std::string text() const override;
  Policy applied_to(Policy outer) const;

 private:
  std::optional<std::string> device_;
  std::vector<std::pair<std::string, std::string>> types_;
};

}  // namespace tl
