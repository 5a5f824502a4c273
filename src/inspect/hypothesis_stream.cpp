// What goes wrong with the residual stream and the gated feed-forward layer.
#include <cmath>

#include <fmt/format.h>

#include "inspect/hypothesis_rules.h"
#include "inspect/values.h"

namespace tl::inspect {

namespace {

bool is_residual(const Replayed& r) { return r.operation.op == Op::add && r.role.ends_with("_residual"); }

Tensor mixed(const Tensor& a, double of_a, const Tensor& b, double of_b) {
  const std::vector<double> x = values_of(a), y = values_of(b);
  Tensor sum(DType::f64, a.shape());
  for (size_t i = 0; i < x.size(); ++i) sum.data<double>()[i] = of_a * x[i] + of_b * y[i];
  return sum;
}

/// Least squares: observed = of_a * a + of_b * b.
struct Mix {
  double of_a = 1, of_b = 1;
};
Mix fitted(const Tensor& a, const Tensor& b, const Tensor& observed) {
  const std::vector<double> x = values_of(a), y = values_of(b), z = values_of(observed);
  double xx = 0, xy = 0, yy = 0, xz = 0, yz = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += x[i] * x[i], xy += x[i] * y[i], yy += y[i] * y[i];
    xz += x[i] * z[i], yz += y[i] * z[i];
  }
  const double determinant = xx * yy - xy * xy;
  if (!(std::fabs(determinant) > 1e-12 * xx * yy)) return {};
  return {(xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant};
}

/// "residual-lost" and so on: what a mix of stream and branch is called.
const char* name_of(const Mix& mix) {
  const auto near = [](double x, double to) { return std::fabs(x - to) < 0.02; };
  if (near(mix.of_a, 0) || near(mix.of_b, 0)) return "residual-lost";
  if (near(mix.of_a, 2) || near(mix.of_b, 2)) return "residual-doubled";
  return "residual-scaled";
}

void add_residual_rules(Replay& replay, int record, Hypotheses& all) {
  for (const size_t kept : {size_t{0}, size_t{1}})
    all.push_back({"residual-lost",
                   "a residual sum is missing: only one of the stream and the sublayer's result goes on",
                   "x = x + sublayer(norm(x))", [kept](const Replayed& r) -> std::optional<Tensor> {
                     if (!is_residual(r)) return std::nullopt;
                     return r.operation.in[kept];
                   }});
  // The last addition behind the value is what is looked at.
  Mix mix;
  bool is_sum = false;
  replay.expected(record, [&](const Replayed& r) -> std::optional<Tensor> {
    if (static_cast<int>(r.step) != record || !is_residual(r)) return std::nullopt;
    is_sum = true;
    mix = fitted(r.operation.in[0], r.operation.in[1], replay.observed(record));
    return std::nullopt;
  });
  if (!is_sum) return;
  all.push_back({name_of(mix),
                 fmt::format("the residual sum is {:.3g} times the stream and {:.3g} times the sublayer's "
                             "result, where it is once each",
                             mix.of_a, mix.of_b),
                 "x = x + sublayer(norm(x)): nothing lost, doubled or scaled",
                 [record, mix](const Replayed& r) -> std::optional<Tensor> {
                   if (static_cast<int>(r.step) != record) return std::nullopt;
                   return mixed(r.operation.in[0], mix.of_a, r.operation.in[1], mix.of_b);
                 }});
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }
double gelu_tanh(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
}
double relu(double x) { return x > 0 ? x : 0; }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double identity(double x) { return x; }

Tensor mapped(const Tensor& x, double (*f)(double)) {
  Tensor y = converted(x, DType::f64);
  for (int64_t i = 0; i < y.elements(); ++i) y.data<double>()[i] = f(y.data<double>()[i]);
  return y;
}

Hypothesis activation(const char* fault, const char* what, double (*f)(double)) {
  return {fault, what, "the feed-forward layer is silu(gate) * up",
          [f](const Replayed& r) -> std::optional<Tensor> {
            if (r.operation.op != Op::silu) return std::nullopt;
            return mapped(r.operation.in[0], f);
          }};
}

}  // namespace

void add_stream_rules(Replay& replay, int record, Hypotheses& all) {
  add_residual_rules(replay, record, all);
  all.push_back(activation("silu-missing", "SiLU is missing on the gate", identity));
  all.push_back(activation("silu-replaced", "GELU stands where SiLU is meant", gelu));
  all.push_back(activation("silu-replaced", "GELU (tanh form) stands where SiLU is meant", gelu_tanh));
  all.push_back(activation("silu-replaced", "ReLU stands where SiLU is meant", relu));
  all.push_back(activation("silu-replaced", "a sigmoid stands where SiLU is meant", sigmoid));
  // Both are there, and the activation is on the other: seen where they meet.
  auto gate = std::make_shared<Tensor>();
  all.push_back({"gate-up-swapped", "gate and up are exchanged: SiLU is applied to up",
                 "the feed-forward layer is silu(gate) * up",
                 [gate](const Replayed& r) -> std::optional<Tensor> {
                   if (r.operation.op == Op::silu) {
                     *gate = r.operation.in[0];
                     return std::nullopt;
                   }
                   if (r.operation.op != Op::mul || !r.role.ends_with(".ffn_gated") || !*gate)
                     return std::nullopt;
                   const Tensor up = converted(r.operation.in[1], DType::f64);
                   if (up.elements() != gate->elements()) return std::nullopt;
                   Tensor product = mapped(up, silu);
                   const std::vector<double> plain = values_of(*gate);
                   for (size_t i = 0; i < plain.size(); ++i) product.data<double>()[i] *= plain[i];
                   return product;
                 }});
}

}  // namespace tl::inspect
