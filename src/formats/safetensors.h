// safetensors, the container of Hugging Face (https://github.com/huggingface/safetensors).
//
//   u64 header length (little-endian), JSON header {"name": {"dtype", "shape", "data_offsets": [begin, end]},
//   …,
//   "__metadata__": {string: string}}, data
//
// A model folder holds one such file, or several and model.safetensors.index.json, beside config.json.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/model_file.h"

namespace tl {

/// The tensor table of one .safetensors file, its names as they stand. Throws FileError naming the tensor and
/// the byte offset. "__metadata__" becomes string metadata.
ModelParts read_safetensors(std::shared_ptr<const MappedFile> file);

/// Opens a .safetensors file, an index.json or a model folder: all shards, with names and config.json mapped
/// to GGUF's terms where the folder has a config.json of a known model type (llama, mistral, qwen2).
ModelParts read_safetensors_model(const std::string& path, bool use_mmap);

/// GGUF's name for a Hugging Face tensor name; empty if it has none ("model.norm.weight" ->
/// "output_norm.weight").
std::string gguf_tensor_name(const std::string& hugging_face_name);

/// Writes one .safetensors file. Plain types only.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace tl
