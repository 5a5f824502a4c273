// What programs can run on, by the names that --device takes.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"

namespace tl::cli {

/// "" if `name` is cpu, reference, cuda or cuda:N; else what is wrong with it.
std::string check_device_name(const std::string& name);

/// The backend of that name. Throws Error where this build or machine has none.
const Backend& backend_of_device(const std::string& name);

}  // namespace tl::cli
