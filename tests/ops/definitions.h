// What every operation means, written index by index in long double, without sharing code with any backend.
#pragma once

#include <vector>

#include "ops/values.h"

namespace tl::test {

/// The elements of the result in row-major order. Slow: for small cases.
std::vector<long double> define(const Case& c);

}  // namespace tl::test
