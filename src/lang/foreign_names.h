// What people write who come from Python, NumPy or PyTorch.
#pragma once

#include <string>
#include <string_view>

namespace tl::lang {

/// How to write here what has this name there; "" for other names, and for those that both have.
std::string_view written_here(std::string_view name);
/// The same for a member of arrays, such as x.shape.
std::string_view member_written_here(std::string_view name);

/// The help that shows it; "" without it.
std::string help_written_here(std::string_view here);

}  // namespace tl::lang
