#include "lang/equations.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "lang/equation_guards.h"
#include "lang/equation_index.h"

namespace tl::lang {

using ast::BinaryOp;
using ast::ExprKind;
using graph::NodeRef;

namespace equation {

namespace {

/// What a part of the right side gave: a tensor whose axes are `labels` in ascending order, or a number.
struct Part {
  NodeRef node;  ///< null for a number
  Labels labels;
  double number = 0;
  bool is_int = false;
};

struct ElementwiseFunction {
  std::string_view name;
  Op op;
};
constexpr ElementwiseFunction kFunctions[] = {
#define X(id, doc) {#id, Op::id},
    TL_UNARY_OPS(X)
#undef X
        {"sig", Op::sigmoid},  // the paper's spelling
    {"step", Op::greater},     // 1 where x > 0, else 0
    {"max", Op::maximum},
    {"min", Op::minimum},
    {"pow", Op::pow},
};

const ElementwiseFunction* elementwise(std::string_view name) {
  for (const auto& f : kFunctions)
    if (f.name == name) return &f;
  return nullptr;
}

bool is_normaliser(std::string_view name) {
  return name == "softmax" || name == "log_softmax" || name == "lnorm" || name == "layer_norm" ||
         name == "rms_norm";
}

std::optional<Op> pointwise_operator(BinaryOp op) {
  switch (op) {
    case BinaryOp::equal:
      return Op::equal;
    case BinaryOp::not_equal:
      return Op::not_equal;
    case BinaryOp::less:
      return Op::less;
    case BinaryOp::less_equal:
      return Op::less_equal;
    case BinaryOp::greater:
      return Op::greater;
    case BinaryOp::greater_equal:
      return Op::greater_equal;
    case BinaryOp::logical_and:
      return Op::logical_and;
    case BinaryOp::logical_or:
      return Op::logical_or;
    case BinaryOp::remainder:
      return Op::mod;
    default:
      return std::nullopt;
  }
}

Reduction reduction_of(ast::Reduce::Op op) {
  switch (op) {
    case ast::Reduce::Op::sum:
      return Reduction::sum;
    case ast::Reduce::Op::max:
      return Reduction::max;
    case ast::Reduce::Op::min:
      return Reduction::min;
    case ast::Reduce::Op::avg:
      return Reduction::mean;
    case ast::Reduce::Op::prod:
      return Reduction::prod;
  }
  return Reduction::sum;
}

bool intersects(const Labels& a, const Labels& b) {
  return std::any_of(a.begin(), a.end(), [&](int l) { return b.count(l) != 0; });
}

Labels united(Labels a, const Labels& b) {
  a.insert(b.begin(), b.end());
  return a;
}

/// Where an addend stands decides whether an index may be summed although it stands only once.
enum class Scope : uint8_t { right_side, function };

class Lowering {
 public:
  Lowering(const ast::Equation& equation, const IndexTable& table)
      : equation_(equation),
        table_(table),
        result_(table.result()),
        held_(united(result_, table.reduced())),
        guards_(equation, table) {}

  NodeRef lower() {
    const Reduction reduction = projection();
    Part value;
    if (reduction == Reduction::sum) {
      value = sum(*equation_.rhs, held_, Scope::right_side);
      if (!table_.reduced().empty()) value = project(repeated(value, table_.reduced()), reduction);
    } else {
      held_ = united(table_.labels_in(*equation_.rhs), held_);
      value = project(sum(*equation_.rhs, held_, Scope::right_side), reduction);
    }
    return complete(apply_result_guard(std::move(value), reduction));
  }

 private:
  Reduction projection() const {
    switch (equation_.projection) {
      case ast::Projection::max:
        return Reduction::max;
      case ast::Projection::min:
        return Reduction::min;
      case ast::Projection::avg:
        return Reduction::mean;
      default:
        return Reduction::sum;
    }
  }

  // ------------------------------------------------------------------------------------------- parts

  NodeRef number_like(const Part& number, const NodeRef& other) const {
    if (number.is_int && !is_float(other->dtype()))
      return graph::scalar_int(static_cast<int64_t>(number.number));
    return graph::scalar(number.number, is_float(other->dtype()) ? other->dtype() : DType::f32);
  }

  NodeRef as_node(const Part& part) const {
    if (part.node) return part.node;
    return part.is_int ? graph::scalar_int(static_cast<int64_t>(part.number)) : graph::scalar(part.number);
  }

  /// The part's node with one axis for each of `labels`, of extent 1 where the part does not have it.
  NodeRef aligned(const Part& part, const Labels& labels) const {
    if (part.labels == labels || part.labels.empty()) return part.node;
    Shape shape;
    for (const int l : labels)
      shape.push_back(part.labels.count(l) ? table_.sizes()[static_cast<size_t>(l)] : 1);
    return graph::reshape(part.node, shape);
  }

  Part apply(Op op, const Part& a, const Part& b, Span span) const {
    if (!a.node && !b.node) return {graph::binary(op, as_node(a), as_node(b)), {}};
    const Labels labels = united(a.labels, b.labels);
    const NodeRef x = a.node ? aligned(a, labels) : number_like(a, b.node);
    const NodeRef y = b.node ? aligned(b, labels) : number_like(b, a.node);
    return {at(span, [&] { return graph::binary(op, x, y); }), labels};
  }

  /// Runs `make`, giving errors of the op table the place in the program.
  template <class Make>
  NodeRef at(Span span, Make make) const {
    try {
      return make();
    } catch (const ProgramError&) {
      throw;
    } catch (const Error& e) {
      fail(span, e.what());
    }
  }

  /// All 0, as large as `access` reads it.
  NodeRef nothing_yet(const Access& access) const {
    Shape shape;
    for (const auto& axis : access.axes) {
      const bool is_whole = axis.shifted_label() >= 0 && axis.offset == 0;
      shape.push_back(is_whole ? table_.size(axis.shifted_label(), access.index->span) : 1);
    }
    return graph::full(shape, 0);
  }

  graph::Operand operand(const Access& access) const {
    graph::Operand out{access.tensor ? access.tensor : nothing_yet(access), {}};
    for (const auto& axis : access.axes) {
      graph::Operand::Axis to{{}, axis.offset, axis.divisor};
      for (const auto& [label, c] : axis.coefficients) to.terms.push_back({label, c});
      out.axes.push_back(std::move(to));
    }
    return out;
  }

  graph::Operand operand(const Part& part) const {
    graph::Operand out{part.node, {}};
    for (const int l : part.labels) out.axes.push_back({{{l, 1}}, 0, 1});
    return out;
  }

  NodeRef contract(std::vector<graph::Operand> operands, const Labels& kept, Reduction reduction,
                   Span span) const {
    const std::vector<int> result(kept.begin(), kept.end());
    return at(span, [&] { return graph::contract(std::move(operands), result, table_.sizes(), reduction); });
  }

  Part reduced(const Part& part, const Labels& away, Reduction reduction, Span span) const {
    if (!part.node || !intersects(part.labels, away)) return part;
    Labels kept;
    for (const int l : part.labels)
      if (!away.count(l)) kept.insert(l);
    return {contract({operand(part)}, kept, reduction, span), kept};
  }

  // ------------------------------------------------------------------------------------------- addends

  /// The sum of the addends of `e`, with every index outside `needed` summed.
  Part sum(const ast::Expr& e, const Labels& needed, Scope scope) {
    const auto* binary = ast::if_is<ast::Binary>(&e);
    if (binary == nullptr || (binary->op != BinaryOp::add && binary->op != BinaryOp::subtract))
      return addend(e, needed, scope);
    const Part a = sum(*binary->left, needed, scope), b = sum(*binary->right, needed, scope);
    const bool adds = binary->op == BinaryOp::add;
    if (!a.node && !b.node)
      return {nullptr, {}, adds ? a.number + b.number : a.number - b.number, a.is_int && b.is_int};
    return apply(adds ? Op::add : Op::sub, a, b, e.span);
  }

  struct Factors {
    std::vector<const ast::Expr*> above, below;
    bool negative = false;
  };

  void collect_factors(const ast::Expr& e, bool below, Factors& out) const {
    if (const auto* b = ast::if_is<ast::Binary>(&e)) {
      if (!below && (b->op == BinaryOp::multiply || b->op == BinaryOp::hadamard)) {
        collect_factors(*b->left, below, out), collect_factors(*b->right, below, out);
        return;
      }
      if (b->op == BinaryOp::divide && !is_plain_number(e)) {
        collect_factors(*b->left, below, out), collect_factors(*b->right, !below, out);
        return;
      }
    }
    if (const auto* u = ast::if_is<ast::Unary>(&e); u != nullptr && u->op == ast::UnaryOp::negate) {
      out.negative = !out.negative;
      return collect_factors(*u->operand, below, out);
    }
    (below ? out.below : out.above).push_back(&e);
  }

  /// Without any index name or tensor: evaluated by the interpreter as it stands.
  bool is_plain_number(const ast::Expr& e) const {
    return !table_.mentions_index(e) && !table_.holds_access(e);
  }

  /// What a product gathers before it is multiplied out.
  struct Product {
    std::vector<graph::Operand> operands;
    std::vector<Part> divisors;  ///< tensors below the line
    Labels labels;               ///< above the line
    std::map<int, int> uses;     ///< how often a factor holds a label; a power counts twice
    double scale = 1, divide = 1;
    bool scaled = false, divided = false, is_int = true;

    void add(graph::Operand operand, const Labels& held) {
      operands.push_back(std::move(operand));
      labels = united(labels, held);
      for (const int l : held) ++uses[l];
    }
  };

  Part addend(const ast::Expr& e, const Labels& needed, Scope scope) {
    if (is_plain_number(e)) return number(e);
    Factors factors;
    collect_factors(e, false, factors);
    // Around a single sum in parentheses there is nothing to multiply: its addends are addends of this scope.
    if (factors.above.size() == 1 && factors.below.empty() && !factors.negative && is_sum(*factors.above[0]))
      return sum(*factors.above[0], needed, scope);
    const Labels guarded = guard_needs(e, needed, scope);
    const Labels wanted = united(needed, guarded);
    Product product;
    if (factors.negative) product.scale = -1, product.scaled = true;
    for (const auto* f : factors.above) multiply(product, *f, wanted, others(factors, f), scope);
    for (const auto* f : factors.below) divide(product, *f, wanted, others(factors, f));
    check_summed(product, wanted, scope, e.span);
    Part value = multiply_out(std::move(product), wanted, e.span);
    if (guarded.empty()) return value;
    return reduced(masked(value, 0, e.span), guarded, Reduction::sum, e.span);
  }

  static bool is_sum(const ast::Expr& e) {
    const auto* b = ast::if_is<ast::Binary>(&e);
    return b != nullptr && (b->op == BinaryOp::add || b->op == BinaryOp::subtract);
  }

  /// Labels of the other factors of a product.
  Labels others(const Factors& factors, const ast::Expr* self) const {
    Labels labels;
    for (const auto* list : {&factors.above, &factors.below})
      for (const auto* f : *list)
        if (f != self) labels.merge(table_.labels_in(*f));
    return labels;
  }

  void multiply(Product& product, const ast::Expr& f, const Labels& needed, const Labels& outside,
                Scope scope) {
    if (is_plain_number(f)) {
      const Part n = number(f);
      if (n.node) return product.add(operand(n), {});
      product.scale *= n.number;
      product.scaled = true;
      product.is_int = product.is_int && n.is_int;
      return;
    }
    if (const auto* index = ast::if_is<ast::Index>(&f)) {
      const Access& access = *table_.access(*index);
      return product.add(operand(access), access.labels);
    }
    if (const auto exponent = square(f)) {  // x^2 is x times x: no intermediate tensor
      Labels base_needed = united(united(needed, outside), single_labels(*exponent));
      const Part base = sum(*exponent, base_needed, Scope::function);
      if (base.node) {
        product.add(operand(base), base.labels);
        return product.add(operand(base), base.labels);
      }
    }
    const Part part = factor(f, united(needed, outside), scope);
    if (!part.node) {
      product.scale *= part.number;
      product.scaled = true;
      return;
    }
    product.add(operand(part), part.labels);
    if (is_power(f))
      for (const int l : part.labels) ++product.uses[l];
  }

  void divide(Product& product, const ast::Expr& f, const Labels& needed, const Labels& outside) {
    if (is_plain_number(f)) {
      const Part n = number(f);
      if (!n.node) {
        product.divide *= n.number;
        product.divided = true;
        product.is_int = product.is_int && n.is_int;
        return;
      }
    }
    const Part part = factor(f, united(needed, outside), Scope::function);
    for (const int l : part.labels)
      if (!needed.count(l) && !product.labels.count(l))
        fail(f.span, fmt::format("the index `{}` stands only below the line", table_.name(l)),
             fmt::format("say where it is summed: sum[{}](…)", table_.name(l)));
    product.divisors.push_back(part);
  }

  /// The base of e^2, if e is that.
  static const ast::Expr* square(const ast::Expr& e) {
    const auto* b = ast::if_is<ast::Binary>(&e);
    const auto* two =
        b != nullptr && b->op == BinaryOp::power ? ast::if_is<ast::Integer>(b->right.get()) : nullptr;
    return two != nullptr && two->value == 2 ? b->left.get() : nullptr;
  }
  static bool is_power(const ast::Expr& e) {
    const auto* b = ast::if_is<ast::Binary>(&e);
    return b != nullptr && b->op == BinaryOp::power;
  }

  /// Labels that no product inside an addend of `e` repeats: in the base of a power these pass to the addend
  /// outside.
  Labels single_labels(const ast::Expr& e) const {
    if (is_sum(e)) {
      const auto& b = as<ast::Binary>(e);
      return united(single_labels(*b.left), single_labels(*b.right));
    }
    Factors factors;
    collect_factors(e, false, factors);
    if (factors.above.size() == 1 && is_sum(*factors.above[0])) return single_labels(*factors.above[0]);
    std::map<int, int> uses;
    for (const auto* list : {&factors.above, &factors.below})
      for (const auto* f : *list)
        for (const int l : table_.labels_in(*f)) ++uses[l];
    Labels once;
    for (const auto& [l, n] : uses)
      if (n == 1) once.insert(l);
    return once;
  }

  void check_summed(const Product& product, const Labels& needed, Scope scope, Span span) const {
    if (scope == Scope::right_side) return;
    for (const auto& [l, n] : product.uses)
      if (n < 2 && !needed.count(l))
        fail(
            span,
            fmt::format("the index `{}` stands once inside a function, so it is not clear where it is summed",
                        table_.name(l)),
            fmt::format("write sum[{}](…) where the sum is meant", table_.name(l)));
  }

  Part multiply_out(Product product, const Labels& needed, Span span) {
    Labels kept;
    for (const int l : product.labels)
      if (needed.count(l)) kept.insert(l);
    const bool sums = kept != product.labels;
    std::vector<Part> after;
    for (auto& divisor : product.divisors) {
      if (!sums || !divisor.node) {
        after.push_back(std::move(divisor));
        continue;
      }
      divisor.node = graph::unary(Op::reciprocal, divisor.node);
      kept.insert(divisor.labels.begin(), divisor.labels.end());
      product.operands.push_back(operand(divisor));
    }
    std::erase_if(kept, [&](int l) { return !needed.count(l); });
    Part value;
    if (product.operands.empty()) {
      value = {nullptr, {}, product.scale, product.is_int};
      product.scaled = false;
    } else {
      value = {contract(std::move(product.operands), kept, Reduction::sum, span), kept};
    }
    if (product.scaled && product.scale != 1)
      value = apply(Op::mul, value, {nullptr, {}, product.scale, product.is_int}, span);
    if (product.divided) value = apply(Op::div, value, {nullptr, {}, product.divide, product.is_int}, span);
    for (const auto& divisor : after) value = apply(Op::div, value, divisor, span);
    return value;
  }

  // ------------------------------------------------------------------------------------------- factors

  Part number(const ast::Expr& e) {
    const Value value = table_.environment().evaluate(e);
    if (value.is_number()) return {nullptr, {}, value.number(), value.is_int()};
    if (value.is(ValueKind::boolean)) return {nullptr, {}, value.boolean() ? 1.0 : 0.0, true};
    if (value.is_tensor()) {
      if (value.tensor()->shape().rank() == 0) return {value.tensor(), {}};
      fail(e.span,
           fmt::format("a tensor of shape {} stands in an equation without indices",
                       to_string(value.tensor()->shape())),
           "name each of its axes in brackets");
    }
    fail(e.span, fmt::format("an equation computes with numbers and tensors, not with {}", value.describe()),
         value.is(ValueKind::list) ? "give it a name, and its axes indices: x[0, j] = row[j]" : "");
  }

  Part factor(const ast::Expr& e, const Labels& needed, Scope scope) {
    if (is_plain_number(e)) return number(e);
    switch (e.kind) {
      case ExprKind::index: {
        const Access& access = *table_.access(as<ast::Index>(e));
        Labels kept = access.labels;
        return {contract({operand(access)}, kept, Reduction::sum, e.span), kept};
      }
      case ExprKind::name: {
        return values(table_.value_of(as<ast::Name>(e)), e.span);
      }
      case ExprKind::call:
        return call(as<ast::Call>(e), needed);
      case ExprKind::reduce:
        return explicit_reduction(as<ast::Reduce>(e), needed);
      case ExprKind::cast: {
        const auto& c = as<ast::Cast>(e);
        if (!c.type.dtype) fail(e.span, "inside an equation `as` converts to an element type, as float16");
        Part part = sum(*c.operand, needed, Scope::function);
        part.node = graph::cast(as_node(part), *c.type.dtype);
        return part;
      }
      case ExprKind::unary: {
        const auto& u = as<ast::Unary>(e);
        if (u.op == ast::UnaryOp::negate) return addend(e, needed, scope);
        Part part = sum(*u.operand, needed, Scope::function);
        part.node =
            graph::unary(u.op == ast::UnaryOp::logical_not ? Op::logical_not : Op::reciprocal, as_node(part));
        return part;
      }
      case ExprKind::binary:
        return operation(as<ast::Binary>(e), needed, scope);
      default:
        fail(e.span, "this cannot stand in an equation");
    }
  }

  /// An index name as a number: 0, 1, 2 … along its axis.
  Part values(const Affine& affine, Span span) const {
    Part total{nullptr, {}, static_cast<double>(affine.offset), true};
    for (const auto& [label, c] : affine.coefficients) {
      Part term{graph::iota(table_.size(label, span)), {label}};
      if (c != 1) term = apply(Op::mul, term, {nullptr, {}, static_cast<double>(c), true}, span);
      const bool is_first = !total.node && total.number == 0;
      total = is_first ? term : apply(Op::add, total, term, span);
    }
    return total;
  }

  Part operation(const ast::Binary& e, const Labels& needed, Scope scope) {
    if (is_sum(e)) return sum(e, needed, scope);
    if (e.op == BinaryOp::power) {
      const Part base = sum(*e.left, united(needed, single_labels(*e.left)), Scope::function);
      return apply(Op::pow, base, sum(*e.right, needed, Scope::function), e.span);
    }
    if (const auto op = pointwise_operator(e.op))
      return apply(*op, sum(*e.left, needed, Scope::function), sum(*e.right, needed, Scope::function),
                   e.span);
    if (e.op == BinaryOp::multiply || e.op == BinaryOp::divide || e.op == BinaryOp::hadamard)
      return addend(e, needed, scope);
    fail(e.op_span, fmt::format("`{}` cannot stand in an equation", ast::spelling(e.op)),
         "write the product with indices");
  }

  Part call(const ast::Call& e, const Labels& needed) {
    const auto* name = ast::if_is<ast::Name>(e.callee.get());
    // What the checker leaves unresolved is a function that only equations know: sig, step.
    const bool built_in = name != nullptr && (name->binding == ast::Binding::native ||
                                              name->binding == ast::Binding::unresolved);
    if (built_in && is_normaliser(name->text)) return normalise(e, name->text, needed);
    const auto* function = built_in ? elementwise(name->text) : nullptr;
    if (function == nullptr)
      fail(e.span,
           "functions inside equations are elementwise ones (relu, exp …) and normalisers (softmax …)",
           help_on_call(e, name != nullptr ? name->text : ""));
    // One that is summed inside as well as outside is ambiguous: the sum inside would hide the index from
    // outside.
    for (const auto& argument : e.arguments) check_ambiguous(*argument.value, needed, e.span);
    const size_t takes = info(function->op).kind == OpKind::unary || function->name == "step" ? 1 : 2;
    if (e.arguments.size() != takes)
      fail(e.span, fmt::format("`{}` takes {} argument{} in an equation, and got {}", name->text, takes,
                               takes == 1 ? "" : "s", e.arguments.size()));
    Part x = sum(*e.arguments[0].value, needed, Scope::function);
    if (takes == 2)
      return apply(function->op, x, sum(*e.arguments[1].value, needed, Scope::function), e.span);
    if (function->op == Op::greater) {
      x = apply(Op::greater, x, {nullptr, {}, 0, true}, e.span);
      x.node = graph::cast(x.node, DType::f32);
      return x;
    }
    x.node = at(e.span, [&] { return graph::unary(function->op, as_node(x)); });
    return x;
  }

  /// What to write instead of a function that equations do not call.
  std::string help_on_call(const ast::Call& e, std::string_view name) const {
    const std::string_view reduction = name == "mean" ? "avg" : name;
    const Labels labels = e.arguments.empty() ? Labels{} : table_.labels_in(*e.arguments[0].value);
    for (const std::string_view known : {"sum", "avg", "prod"})
      if (reduction == known)
        for (const int l : labels)
          if (!result_.count(l)) return fmt::format("name the index: {}[{}](…)", known, table_.name(l));
    if ((name == "select" || name == "where") && e.arguments.size() == 3)
      return "choose in the guard, y[i] = a[i] where c[i], or with select(c, a, b) on whole tensors";
    return "call it outside, on the whole tensor: let y = f(x), then use y[i]";
  }

  void check_ambiguous(const ast::Expr& argument, const Labels& needed, Span span) const {
    const Labels single = single_labels(argument);
    for (const int l : table_.labels_in(argument))
      if (!single.count(l) && needed.count(l) && !held_.count(l) && !guards_.labels().count(l))
        fail(span,
             fmt::format("the index `{}` would be summed both inside this function and outside it",
                         table_.name(l)),
             fmt::format("write sum[{}](…) where the sum is meant", table_.name(l)));
  }

  Part normalise(const ast::Call& e, const std::string& name, const Labels& needed) {
    const int label = table_.normalised();
    if (label < 0)
      fail(e.span,
           fmt::format("`{}` needs to know its index: mark it with a dot on the left side, as in [i, j.]",
                       name));
    if (e.arguments.empty()) fail(e.span, fmt::format("`{}` needs an argument", name));
    Part x = sum(*e.arguments[0].value, united(needed, {label}), Scope::function);
    if (!x.labels.count(label))
      fail(e.span,
           fmt::format("`{}` works over `{}`, which its argument does not have", name, table_.name(label)));
    const auto axis = static_cast<int>(std::distance(x.labels.begin(), x.labels.find(label)));
    if (is_int(x.node->dtype())) x.node = graph::cast(x.node, DType::f32);  // as the functions do
    if (name == "softmax" || name == "log_softmax") {
      NodeRef guard;
      if (!guards_.empty()) {
        if (name == "log_softmax")
          fail(guards_.span(),
               "log_softmax cannot be restricted: the log of an excluded weight is -infinity");
        guard = mask(x.labels, e.span);
        guard_used_ = true;
      }
      x.node = at(e.span, [&] {
        return guard ? graph::softmax(x.node, axis, guard)
                     : graph::along(name == "softmax" ? Op::softmax : Op::log_softmax, x.node, axis);
      });
      return x;
    }
    if (e.arguments.size() > 1)
      fail(e.span, fmt::format("inside an equation `{}` takes no weights; multiply by w[{}]", name,
                               table_.name(label)));
    const Op op = name == "rms_norm" ? Op::rms_norm : Op::layer_norm;
    const auto last = static_cast<int>(x.labels.size()) - 1;
    std::vector<int> swap(x.labels.size());
    for (int i = 0; i <= last; ++i) swap[static_cast<size_t>(i)] = i;
    std::swap(swap[static_cast<size_t>(axis)], swap[static_cast<size_t>(last)]);
    x.node = at(e.span, [&] {
      return graph::permute(graph::make(op, {graph::permute(x.node, swap)}, {}, {{}, {1e-5}}), swap);
    });
    return x;
  }

  Part explicit_reduction(const ast::Reduce& e, const Labels& needed) {
    Labels away;
    for (const auto& name : e.indices) {
      const int label = label_named(*name);
      if (table_.is_on_left(label))
        fail(name->span, fmt::format("`{}` is on the left side, so it cannot be reduced", name->text));
      away.insert(label);
    }
    const Labels outer = held_;
    held_ = united(held_, away);
    const Part body = sum(*e.body, united(needed, away), Scope::function);
    held_ = outer;
    for (const int l : away)
      if (!body.labels.count(l)) fail(e.span, fmt::format("`{}` does not occur inside", table_.name(l)));
    return reduced(body, away, reduction_of(e.op), e.span);
  }

  int label_named(const ast::Name& name) const {
    for (int l = 0; l < static_cast<int>(table_.sizes().size()); ++l)
      if (table_.name(l) == name.text) return l;
    fail(name.span, fmt::format("`{}` is no index of this equation", name.text));
  }

  // ------------------------------------------------------------------------------------------- guards

  NodeRef mask(const Labels& labels, Span span) {
    return guards_.mask(labels, span, [this](const ast::Expr& condition, const Labels& over) {
      const Part part = factor(condition, over, Scope::function);
      return part.node ? aligned(part, over) : as_node(part);
    });
  }

  /// Summed labels that the guard restricts must be kept until the guard has been applied.
  Labels guard_needs(const ast::Expr& e, const Labels& needed, Scope scope) const {
    Labels labels;
    if (scope != Scope::right_side || guards_.empty() || equation_.projection == ast::Projection::max ||
        equation_.projection == ast::Projection::min || equation_.projection == ast::Projection::avg)
      return labels;
    const Labels here = table_.labels_in(e);
    for (const int l : guards_.labels())
      if (here.count(l) && !needed.count(l)) labels.insert(l);
    return labels;
  }

  Part masked(const Part& value, double otherwise, Span span) {
    const Labels labels = united(value.labels, guards_.labels());
    const NodeRef x = value.node ? aligned(value, labels) : as_node(value);
    guard_used_ = true;
    return {graph::make(Op::select, {mask(labels, span), x, number_like({nullptr, {}, otherwise, true}, x)}),
            labels};
  }

  /// The part with all of `labels`, repeated along those that it does not have.
  Part repeated(const Part& part, const Labels& labels) const {
    const Labels all = united(part.labels, labels);
    if (all == part.labels) return part;
    Shape shape;
    for (const int l : all) shape.push_back(table_.size(l, equation_.span));
    return {graph::broadcast_to(part.node ? aligned(part, all) : as_node(part), shape), all};
  }

  /// What falls on one place of the result, reduced.
  Part project(Part value, Reduction reduction) {
    Labels away;
    for (const int l : value.labels)
      if (!result_.count(l)) away.insert(l);
    const Span span = equation_.span;
    const bool guarded = !guards_.empty() && !guard_used_;
    if (guarded && reduction == Reduction::mean) {
      const Part total = reduced(masked(value, 0, span), away, Reduction::sum, span);
      const Labels labels = united(value.labels, guards_.labels());
      Part count{graph::cast(mask(labels, span), DType::f32), labels};
      Shape full;
      for (const int l : labels) full.push_back(table_.size(l, span));
      count.node = graph::broadcast_to(count.node, full);
      return apply(Op::div, total, reduced(count, away, Reduction::sum, span), span);
    }
    if (guarded) value = masked(value, identity(reduction), span);
    return reduced(value, away, reduction, span);
  }

  static double identity(Reduction reduction) {
    const double infinity = std::numeric_limits<double>::infinity();
    return reduction == Reduction::max ? -infinity : reduction == Reduction::min ? infinity : 0;
  }

  Part apply_result_guard(Part value, Reduction reduction) {
    if (guards_.empty() || guard_used_) return value;
    for (const int l : guards_.labels())
      if (!result_.count(l))
        fail(guards_.span(),
             fmt::format("the guard restricts `{}`, which is no index of this equation", table_.name(l)));
    return masked(value, identity(reduction), equation_.span);
  }

  /// The result with every index of the left side, repeated along those the right side does not have.
  NodeRef complete(const Part& value) {
    Shape shape;
    for (const int l : result_) shape.push_back(table_.size(l, equation_.lhs_span));
    const NodeRef& old = table_.old();
    const NodeRef node = value.node ? aligned(value, result_)
                         : old      ? number_like(value, old)
                                    : as_node(value);
    return graph::broadcast_to(node, shape);
  }

  const ast::Equation& equation_;
  const IndexTable& table_;
  const Labels result_;  ///< of the result
  Labels held_;          ///< what is reduced by the left side or an explicit reduction, if at all
  const Guards guards_;
  bool guard_used_ = false;
};

}  // namespace

NodeRef lower_right_side(const ast::Equation& equation, const IndexTable& table) {
  return Lowering(equation, table).lower();
}

}  // namespace equation

}  // namespace tl::lang
