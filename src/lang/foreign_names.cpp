#include "lang/foreign_names.h"

#include <span>
#include <utility>

namespace tl::lang {

namespace {

using Translation = std::pair<std::string_view, std::string_view>;

constexpr Translation kNames[] = {
    {"True", "true"},
    {"False", "false"},
    {"np", "without a prefix: zeros([2, 3])"},
    {"numpy", "without a prefix: zeros([2, 3])"},
    {"torch", "without a prefix: zeros([2, 3])"},
    {"pi", "3.141592653589793"},
    {"array", "tensor x: float32[3] = [1, 2, 3]"},
    {"tensor", "tensor x: float32[3] = [1, 2, 3]"},
    {"enumerate", "for i in 0..len(xs) { let x = xs[i] … }"},
    {"zip", "for i in 0..len(xs) { xs[i], ys[i] … }"},
    {"dot", "a @ b, or matmul(a, b)"},
    {"inner", "a @ b"},
    {"outer", "a ⊗ b"},
    {"clip", "clamp(x, low, high)"},
    {"astype", "x as float32"},
    {"concatenate", "concat([a, b], axis)"},
    {"expand_dims", "unsqueeze(x, axis)"},
    {"take_along_axis", "gather(x, axis, index)"},
    {"tile", "repeat(x, [2, 3])"},
    {"size", "prod(shape(x)), and x.size(0) as shape(x)[0]"},
    {"numel", "prod(shape(x))"},
    {"ndim", "rank(x)"},
    {"power", "x ** y"},
    {"None", "x[:, None] as unsqueeze(x, 1); an argument is left out"},
    {"newaxis", "unsqueeze(x, 1)"},
    {"random", "rand(shape, seed: 1), or randn(shape, seed: 1)"},
    {"null", "by leaving the argument out"},
    {"load", "tensor t: float32[?, 3] = \"file.csv\""},
    {"loadtxt", "tensor t: float32[?, 3] = \"file.csv\""},
    {"open", "read_text(path)"},
    {"println", "print(…)"},
    {"printf", "print(\"{:.2f}\", x)"},
    {"strip", "trim(text)"},
    {"view", "reshape(x, shape)"},
    {"item", "float(x), or int(x)"},
    {"exit", ":quit in the REPL, panic(message) in a program"},
    {"quit", ":quit in the REPL, panic(message) in a program"},
};

constexpr Translation kMembers[] = {
    {"shape", "shape(x), or x.shape()"}, {"ndim", "rank(x)"}, {"dtype", "type(x)"}, {"T", "transpose(x)"},
    {"size", "prod(shape(x))"},
};

std::string_view find(std::span<const Translation> all, std::string_view name) {
  for (const auto& [there, here] : all)
    if (there == name) return here;
  return {};
}

}  // namespace

std::string_view written_here(std::string_view name) { return find(kNames, name); }
std::string_view member_written_here(std::string_view name) { return find(kMembers, name); }

std::string help_written_here(std::string_view here) {
  return here.empty() ? std::string() : "here it is written " + std::string(here);
}

}  // namespace tl::lang
