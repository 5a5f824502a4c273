// The syntax tree of a .tl program: plain structs with a kind tag, a span on every node, and the few fields
// that the checker fills in (resolved names, argument plans), so that running a program looks nothing up by
// name.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/source.h"
#include "tensor/dtype.h"

namespace tl::lang {

struct NativeFunction;

namespace ast {

struct Function;

// ---------------------------------------------------------------------------------------------- expressions

enum class ExprKind : uint8_t {
  integer,
  floating,
  boolean,
  string,
  list,
  record,
  name,
  unary,
  binary,
  range,
  cast,
  call,
  member,
  index,
  reduce,
  ask,
};

/// Base of all expressions. `grouped`: written inside grouping parentheses, which index positions (`x[(i)]`)
/// and the formatter care about. `height` is that of the tree below; the parser bounds it, so walking is
/// safe.
struct Expr {
  const ExprKind kind;
  bool grouped = false;
  uint16_t height = 1;
  Span span;
  virtual ~Expr() = default;

 protected:
  explicit Expr(ExprKind k) : kind(k) {}
};
using ExprPtr = std::unique_ptr<Expr>;

template <ExprKind K>
struct ExprOf : Expr {
  static constexpr ExprKind kKind = K;
  ExprOf() : Expr(K) {}
};

/// The node as its own type; the caller has looked at `kind`.
template <class T>
const T& as(const Expr& e) {
  return static_cast<const T&>(e);
}
template <class T>
T& as(Expr& e) {
  return static_cast<T&>(e);
}
/// The node as T if it is one, else nullptr.
template <class T>
const T* if_is(const Expr* e) {
  return e && e->kind == T::kKind ? static_cast<const T*>(e) : nullptr;
}
template <class T>
T* if_is(Expr* e) {
  return e && e->kind == T::kKind ? static_cast<T*>(e) : nullptr;
}

struct Integer : ExprOf<ExprKind::integer> {
  int64_t value = 0;
};
struct Floating : ExprOf<ExprKind::floating> {
  double value = 0;
};
struct Boolean : ExprOf<ExprKind::boolean> {
  bool value = false;
};
/// A string literal, escapes resolved.
struct String : ExprOf<ExprKind::string> {
  std::string value;
};
struct List : ExprOf<ExprKind::list> {
  std::vector<ExprPtr> items;
};
struct Record : ExprOf<ExprKind::record> {
  struct Field {
    std::string name;
    Span span;
    ExprPtr value;
  };
  std::vector<Field> fields;
};

/// What a name means, decided once by the checker.
enum class Binding : uint8_t {
  unresolved,
  local,      ///< `slot` of the function's frame
  global,     ///< `slot` of the program's globals
  function,   ///< `function`
  native,     ///< `native`
  dimension,  ///< `slot` of the function's symbolic dimensions: dim(d)
  dtype,      ///< an element type used as a value, `float16`: the string of its name
  index,      ///< an index name of the equation around it: no variable of that name is in scope
};

struct Name : ExprOf<ExprKind::name> {
  std::string text;
  Binding binding = Binding::unresolved;
  uint32_t slot = 0;
  const Function* function = nullptr;
  const NativeFunction* native = nullptr;
};

enum class UnaryOp : uint8_t { negate, logical_not, inverse };
struct Unary : ExprOf<ExprKind::unary> {
  UnaryOp op{};
  Span op_span;
  ExprPtr operand;
};

enum class BinaryOp : uint8_t {
  logical_or,
  logical_and,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  approximately,
  in,
  add,
  subtract,
  multiply,
  divide,
  remainder,
  matmul,
  hadamard,
  power,
  outer,
};
/// The operator as written: "+", "<=", "and".
std::string_view spelling(BinaryOp op);

struct Binary : ExprOf<ExprKind::binary> {
  BinaryOp op{};
  bool juxtaposed = false;  ///< a product written without an operator: W[i,j] X[j]
  Span op_span;
  ExprPtr left, right;
};

/// begin..end, end excluded. A list of ints as a value; `for` and `where x in a..b` use the bounds directly.
struct Range : ExprOf<ExprKind::range> {
  ExprPtr begin, end;
};

enum class TypeKind : uint8_t {
  any,  ///< no type given
  boolean,
  integer,
  floating,
  string,
  list,
  record,
  function,
  nothing,  ///< void
  tensor,
  object,  ///< a native object by its type name: model, tokenizer, cache
};

/// One extent of a tensor type.
struct Dim {
  enum class Kind : uint8_t { any, fixed, symbol, rest };  ///< ?, 2048, seq, ...
  Kind kind = Kind::any;
  int64_t size = 0;
  std::string name;
  uint32_t slot = 0;  ///< of a symbol, in the function's dimension slots
  Span span;
};

/// A type as written: `float16[seq, 2048]`, `int`, `model`.
struct Type {
  TypeKind kind = TypeKind::any;
  std::optional<DType> dtype;  ///< of a tensor; none for `tensor`
  std::string name;
  bool is_native = false;  ///< of a native function, whose Args convert on their own
  bool has_shape = false;
  std::vector<Dim> dims;
  Span span;
};

/// operand as type
struct Cast : ExprOf<ExprKind::cast> {
  ExprPtr operand;
  Type type;
};

struct Argument {
  std::string name;  ///< of a keyword argument, else empty
  Span name_span;
  ExprPtr value;
};

/// callee(arguments). A method call x.f(a) has the callee Name f, x as its first argument, and `method` set.
struct Call : ExprOf<ExprKind::call> {
  ExprPtr callee;
  std::vector<Argument> arguments;
  bool method = false;
  /// Where the callee is known before running: for each argument the parameter that it fills.
  std::vector<uint32_t> plan;
  bool planned = false;
};

/// object.name
struct Member : ExprOf<ExprKind::member> {
  ExprPtr object;
  std::string name;
  Span name_span;
};

/// One position in brackets.
struct IndexItem {
  enum class Kind : uint8_t { value, slice, ellipsis };
  Kind kind = Kind::value;
  ExprPtr value;             ///< of a value; `value->grouped` marks `(i)`, an int expression
  ExprPtr begin, end, step;  ///< of a slice, each may be absent
  bool normalised = false;   ///< `j.`: the index that a normaliser works over
  bool last_only = false;    ///< `*t`: only the last step is kept
  Span span;
};

/// base[items]. In an equation's right side the factor W[i, j]; elsewhere an element or a part.
struct Index : ExprOf<ExprKind::index> {
  ExprPtr base;
  std::vector<IndexItem> items;
};

/// sum[j, k](body) and its relatives: an explicit reduction inside an equation.
struct Reduce : ExprOf<ExprKind::reduce> {
  enum class Op : uint8_t { sum, max, min, avg, prod };
  Op op{};
  std::vector<std::unique_ptr<Name>> indices;
  ExprPtr body;
};

/// operand?
struct Ask : ExprOf<ExprKind::ask> {
  ExprPtr operand;
};

// ----------------------------------------------------------------------------------------------- statements

enum class StmtKind : uint8_t {
  let,
  assign,
  equation,
  expression,
  conditional,
  for_loop,
  while_loop,
  break_loop,
  continue_loop,
  return_value,
  block,
  policy_block,
};

struct Stmt {
  const StmtKind kind;
  Span span;
  virtual ~Stmt() = default;

 protected:
  explicit Stmt(StmtKind k) : kind(k) {}
};
using StmtPtr = std::unique_ptr<Stmt>;

template <StmtKind K>
struct StmtOf : Stmt {
  static constexpr StmtKind kKind = K;
  StmtOf() : Stmt(K) {}
};
template <class T>
const T& as(const Stmt& s) {
  return static_cast<const T&>(s);
}
template <class T>
T& as(Stmt& s) {
  return static_cast<T&>(s);
}

struct Block {
  std::vector<StmtPtr> statements;
  Span span;
};

/// let x = e, let (a, b) = e, tensor x: float16[2, 3] = e. A tensor may come without a value, which is then
/// all 0.
struct Let : StmtOf<StmtKind::let> {
  std::vector<std::unique_ptr<Name>> names;
  bool is_tuple = false;
  bool is_tensor = false;  ///< `tensor`: the value becomes a tensor of the declared type
  Type type;
  ExprPtr value;
};

enum class AssignOp : uint8_t { set, add, subtract, multiply, divide };

/// target = value (also :=, +=, -=, *=, /=). The target is a Name, a Member, or an Index whose base is not a
/// plain name; `name[…] = e` is an Equation. `"file.csv" = x` writes x, and has a String as its target.
struct Assign : StmtOf<StmtKind::assign> {
  ExprPtr target;
  AssignOp op = AssignOp::set;
  ExprPtr value;
  bool declares = false;  ///< a new binding: no variable of that name was in scope
  /// Of a declared tensor that gets a string: the value is read from the file of that name, as this type.
  const Type* reads_as = nullptr;
};

/// How the terms of an equation that fall on one element of the left side are combined.
enum class Projection : uint8_t { assign, sum, max, min, avg };  ///< =  +=  max=  min=  avg=

/// target[lhs] = rhs where guard.
///
/// The checker resolves every name inside: `target` to its variable (declared here where `declares`); a Name
/// in a bracket position or in the guard to a variable if one of that name is in scope, else to
/// Binding::index. The base of an Index is an ordinary expression (m.blk[(i)].attn_q.weight), whose names are
/// variables. Whether a bare name that is a variable may be an index depends on its value (only ints are
/// refused): see equations.h.
struct Equation : StmtOf<StmtKind::equation> {
  std::unique_ptr<Name> target;
  std::vector<IndexItem> lhs;
  Span lhs_span;  ///< of target[lhs]
  Projection projection = Projection::assign;
  ExprPtr rhs;
  ExprPtr where;  ///< absent, or the guard (several joined with `and`)
  bool declares = false;
  /// Nothing in it can be an index name (all names are variables), so on a list it sets an element: xs[i]
  /// = 5.
  bool may_set_element = false;
  /// The right side or the guard reads the target.
  bool reads_target = false;
  /// The target came about by filling (its declaration is an equation that names only a part), so filling may
  /// go on beyond its end.
  bool may_grow = false;
  /// At top level: it holds for all steps at once, so it may read the steps that it defines itself.
  bool is_declaration = false;
  /// How many names resolve to Binding::index, for sizing.
  uint32_t n_index_names = 0;
};

struct Expression : StmtOf<StmtKind::expression> {
  ExprPtr value;
};

struct Conditional : StmtOf<StmtKind::conditional> {
  struct Arm {
    ExprPtr condition;  ///< absent for `else`
    Block body;
  };
  std::vector<Arm> arms;
};

struct For : StmtOf<StmtKind::for_loop> {
  std::unique_ptr<Name> variable;
  ExprPtr sequence;
  Block body;
};

/// while condition { … }; `loop { … }` has no condition.
struct While : StmtOf<StmtKind::while_loop> {
  ExprPtr condition;
  Block body;
};

struct Break : StmtOf<StmtKind::break_loop> {};
struct Continue : StmtOf<StmtKind::continue_loop> {};
struct Return : StmtOf<StmtKind::return_value> {
  ExprPtr value;
};
struct BlockStatement : StmtOf<StmtKind::block> {
  Block body;
};

/// with policy { … }: what is made inside is computed as the policy says: device(…) or precision(…).
struct PolicyBlock : StmtOf<StmtKind::policy_block> {
  ExprPtr policy;
  Block body;
};

// --------------------------------------------------------------------------------------------- declarations

struct Parameter {
  std::string name;
  std::string alias;         ///< another keyword for it (native functions only): axis|dim
  bool is_variadic = false;  ///< takes all remaining positional arguments (native functions only)
  Type type;
  ExprPtr default_value;
  Span span;
};

/// fn name(parameters) -> result { body }; also `main { … }` and `test "name" { … }`, which take nothing.
struct Function {
  enum class Kind : uint8_t { function, main, test };
  Kind kind = Kind::function;
  std::string name;
  Span name_span;
  std::vector<Parameter> parameters;
  Type result;
  Block body;
  Span span;
  // Filled by the checker. Parameters occupy slots 0 … n-1.
  uint32_t n_slots = 0;
  uint32_t n_dims = 0;
  std::vector<std::string> dim_names;
  bool is_typed = false;  ///< some parameter or the result has a type to check
};

struct Import {
  std::string path;
  Span span;
};

/// Statements at top level that are carried out as one: a single one, or equations that define their targets
/// step by step from one another.
struct GlobalStep {
  std::vector<const Stmt*> statements;
  bool is_together = false;
};

/// One parsed file. Order of declarations is kept in the vectors; `globals` are top-level let and tensor
/// statements and equations (and any statement, where the host allows them).
struct Module {
  const Source* source = nullptr;
  std::vector<Import> imports;
  std::vector<std::unique_ptr<Function>> functions;
  std::vector<StmtPtr> globals;
  /// Equations at top level hold whatever their order, and those of one target add up. Where the host allows
  /// any statement there, they are assignments like inside a function.
  bool is_declarative = true;
  std::vector<GlobalStep> order;  ///< in which `globals` are carried out; filled by the checker
  uint32_t n_slots = 0;  ///< of the frame that runs `globals` (for their inner blocks); filled by the checker
  std::unique_ptr<Function> main;
  std::vector<std::unique_ptr<Function>> tests;
};

}  // namespace ast
}  // namespace tl::lang
