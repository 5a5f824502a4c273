// Steps as one CUDA graph.
#pragma once

#include "backend/step_recorder.h"

namespace tl::cuda {

std::unique_ptr<StepRecorder> step_recorder();

}  // namespace tl::cuda
