#include "lang/analysis.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "lang/checker.h"

namespace tl::lang {

using namespace ast;

// ---------------------------------------------------------------------------------------------------- texts

namespace {

/// The text of a span with blanks and line ends made one blank each.
std::string one_line(Span span) {
  std::string out;
  for (const char c : span.source->text().substr(span.begin, span.end - span.begin)) {
    const bool is_blank = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (!is_blank)
      out += c;
    else if (!out.empty() && out.back() != ' ' && out.back() != '(')
      out += ' ';
  }
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

/// "int" for "an int".
std::string kind_name(TypeKind kind) {
  if (kind == TypeKind::any) return "";
  const std::string_view text = describe(kind);
  const size_t blank = text.find(' ');
  return std::string(blank == std::string_view::npos ? text : text.substr(blank + 1));
}

}  // namespace

std::string signature_text(const Function& f) {
  return one_line({f.span.source, f.span.begin, f.body.span.begin});
}

std::string comment_above(const Function& f) {
  const Source& source = *f.span.source;
  std::vector<std::string_view> lines;
  for (int at = source.position(f.span.begin).line - 1; at > 0; --at) {
    std::string_view line = source.line(at);
    if (!line.starts_with("//")) break;
    line.remove_prefix(line.starts_with("// ") ? 3 : 2);
    lines.push_back(line);
  }
  std::string out;
  for (auto line = lines.rbegin(); line != lines.rend(); ++line)
    out += (out.empty() ? "" : "\n") + std::string(*line);
  return out;
}

std::string Definition::introduction() const {
  switch (kind) {
    case Kind::function:
      return signature_text(*function);
    case Kind::native:
      return native->signature;
    case Kind::index:
      return fmt::format("index {}", name);
    default:
      break;
  }
  const std::string typed = type.empty() ? name : fmt::format("{}: {}", name, type);
  return kind == Kind::parameter ? typed : "let " + typed;
}

std::string Definition::documentation() const {
  if (function) return comment_above(*function);
  if (!native) return "";
  std::string out = native->doc.summary;
  for (const std::string& paragraph : native->doc.paragraphs) out += "\n\n" + paragraph;
  return out;
}

// ---------------------------------------------------------------------------------------------------- walk

/// Walks the trees of a file as the checker does: blocks are scopes, what is assigned first is declared.
class AnalysisWalk {
 public:
  AnalysisWalk(Analysis& out, const Program& program) : out_(out), program_(program) {}

  void run() {
    const Module& module = *program_.modules().back()->ast;
    const auto end = static_cast<uint32_t>(module.source->text().size());
    whole_ = {module.source, 0, end};
    for (const auto& [name, symbol] : program_.visible()) define_visible(name, symbol);
    for (const std::string& name : program_.library().names()) {
      const size_t i = define(Definition::Kind::native, name, {}, {});
      out_.definitions_[i].native = program_.library().find(name);
      natives_.emplace(name, i);
    }
    define(Definition::Kind::global, "args", {}, "list");
    for (auto& d : out_.definitions_) d.scope = whole_;
    for (const StmtPtr& s : module.globals) walk_global(*s);
    for (const auto& f : module.functions) walk(*f);
    if (module.main) walk(*module.main);
    for (const auto& test : module.tests) walk(*test);
    std::stable_sort(out_.uses_.begin(), out_.uses_.end(),
                     [](const auto& a, const auto& b) { return a.span.begin < b.span.begin; });
  }

 private:
  using Kind = Definition::Kind;

  size_t define(Kind kind, const std::string& name, Span span, std::string type) {
    Definition& d = out_.definitions_.emplace_back();
    d.kind = kind;
    d.name = name;
    d.span = span;
    d.scope = {whole_.source, span.end, whole_.end};
    d.type = std::move(type);
    return out_.definitions_.size() - 1;
  }

  void define_visible(const std::string& name, const Symbol& symbol) {
    const size_t i = define(symbol.function ? Kind::function : Kind::global, name, symbol.span, "");
    out_.definitions_[i].function = symbol.function;
    visible_.emplace(name, i);
    if (symbol.span.source == whole_.source) use(symbol.span, i);
  }

  void use(Span span, size_t definition) { out_.uses_.push_back({span, definition}); }

  size_t declare(Kind kind, const std::string& name, Span span, std::string type) {
    const size_t i = define(kind, name, span, std::move(type));
    active_.push_back(i);
    use(span, i);
    return i;
  }

  /// Runs `body` as a scope that ends at `end`.
  template <class Body>
  void scope(uint32_t end, Body body) {
    const size_t n = active_.size();
    body();
    for (size_t i = n; i < active_.size(); ++i) out_.definitions_[active_[i]].scope.end = end;
    active_.resize(n);
  }

  std::optional<size_t> find_variable(std::string_view name) const {
    const auto found = std::find_if(active_.rbegin(), active_.rend(),
                                    [&](size_t i) { return out_.definitions_[i].name == name; });
    return found == active_.rend() ? std::nullopt : std::optional(*found);
  }
  std::optional<size_t> find(const std::string& name) const {
    if (const auto variable = find_variable(name)) return variable;
    if (const auto found = visible_.find(name); found != visible_.end()) return found->second;
    if (const auto found = natives_.find(name); found != natives_.end()) return found->second;
    return std::nullopt;
  }

  // Declarations and statements

  void walk(const Function& f) {
    scope(f.span.end, [&] {
      for (const Parameter& p : f.parameters) {
        if (p.default_value) expression(p.default_value.get());
        const Span name{p.span.source, p.span.begin, p.span.begin + static_cast<uint32_t>(p.name.size())};
        declare(Kind::parameter, p.name, name, type_text(p.type));
      }
      statements(f.body);
    });
  }

  void statements(const Block& block) {
    for (const StmtPtr& s : block.statements) walk(*s);
  }
  void block(const Block& b) {
    scope(b.span.end, [&] { statements(b); });
  }

  /// Globals are known already, but for their types.
  void walk_global(const Stmt& s) {
    const size_t n = active_.size();
    walk(s);
    for (size_t i = n; i < active_.size(); ++i) {
      const Definition& d = out_.definitions_[active_[i]];
      if (const auto found = visible_.find(d.name); found != visible_.end()) {
        out_.definitions_[found->second].type = d.type;
        out_.definitions_[found->second].fields = d.fields;
      }
    }
    active_.resize(n);
  }

  void walk(const Stmt& s) {
    switch (s.kind) {
      case StmtKind::let:
        return let(ast::as<Let>(s));
      case StmtKind::assign:
        return assign(ast::as<Assign>(s));
      case StmtKind::equation:
        return equation(ast::as<Equation>(s));
      case StmtKind::expression:
        return expression(ast::as<Expression>(s).value.get());
      case StmtKind::conditional:
        for (const auto& arm : ast::as<Conditional>(s).arms) {
          expression(arm.condition.get());
          block(arm.body);
        }
        return;
      case StmtKind::for_loop: {
        const auto& loop = ast::as<For>(s);
        expression(loop.sequence.get());
        return scope(s.span.end, [&] {
          declare(Kind::variable, loop.variable->text, loop.variable->span, type_of(*loop.variable, nullptr));
          statements(loop.body);
        });
      }
      case StmtKind::while_loop:
        expression(ast::as<While>(s).condition.get());
        return block(ast::as<While>(s).body);
      case StmtKind::return_value:
        return expression(ast::as<Return>(s).value.get());
      case StmtKind::block:
        return block(ast::as<BlockStatement>(s).body);
      case StmtKind::policy_block:
        expression(ast::as<PolicyBlock>(s).policy.get());
        return block(ast::as<PolicyBlock>(s).body);
      default:
        return;
    }
  }

  void let(const Let& s) {
    expression(s.value.get());
    std::string type = type_text(s.type);
    if (type.empty() && s.is_tensor) type = "tensor";
    if (type.empty() && !s.is_tuple) type = type_of(*s.names[0], s.value.get());
    for (const auto& n : s.names) {
      const size_t i = declare(Kind::variable, n->text, n->span, type);
      if (!s.is_tuple) out_.definitions_[i].fields = fields_of(s.value.get());
    }
  }

  void assign(const Assign& s) {
    expression(s.value.get());
    const auto* target = if_is<Name>(s.target.get());
    if (!target) return expression(s.target.get());
    if (const auto known = find_variable(target->text)) return use(target->span, *known);
    if (const auto known = visible_.find(target->text); known != visible_.end())
      return use(target->span, known->second);
    const size_t i = declare(Kind::variable, target->text, target->span, type_of(*target, s.value.get()));
    out_.definitions_[i].fields = fields_of(s.value.get());
  }

  void equation(const Equation& s) {
    const auto known = find_variable(s.target->text);
    scope(s.span.end, [&] {
      in_equation_ = true;
      items(s.lhs);
      expression(s.rhs.get());
      expression(s.where.get());
      in_equation_ = false;
    });
    if (known) return use(s.target->span, *known);
    if (const auto global = visible_.find(s.target->text); global != visible_.end())
      return use(s.target->span, global->second);
    declare(Kind::variable, s.target->text, s.target->span,
            s.lhs.empty() ? "" : "tensor " + one_line(s.lhs_span));
  }

  // Expressions

  void name(const Name& n) {
    if (const auto found = find(n.text)) return use(n.span, *found);
    if (in_equation_) declare(Kind::index, n.text, n.span, "");
  }

  void items(const std::vector<IndexItem>& list) {
    for (const IndexItem& i : list)
      for (const ExprPtr* part : {&i.value, &i.begin, &i.end, &i.step}) {
        const auto* n = in_equation_ ? if_is<Name>(part->get()) : nullptr;
        if (n && !n->grouped && !find_variable(n->text))
          declare(Kind::index, n->text, n->span, "");
        else
          expression(part->get());
      }
  }

  void expression(const Expr* e) {
    if (!e) return;
    switch (e->kind) {
      case ExprKind::list:
        for (const auto& item : ast::as<List>(*e).items) expression(item.get());
        return;
      case ExprKind::record:
        for (const auto& f : ast::as<Record>(*e).fields) expression(f.value.get());
        return;
      case ExprKind::name:
        return name(ast::as<Name>(*e));
      case ExprKind::unary:
        return expression(ast::as<Unary>(*e).operand.get());
      case ExprKind::binary:
        expression(ast::as<Binary>(*e).left.get());
        return expression(ast::as<Binary>(*e).right.get());
      case ExprKind::range:
        expression(ast::as<Range>(*e).begin.get());
        return expression(ast::as<Range>(*e).end.get());
      case ExprKind::cast:
        return expression(ast::as<Cast>(*e).operand.get());
      case ExprKind::call:
        expression(ast::as<Call>(*e).callee.get());
        for (const Argument& a : ast::as<Call>(*e).arguments) expression(a.value.get());
        return;
      case ExprKind::member:
        return expression(ast::as<Member>(*e).object.get());
      case ExprKind::index:
        expression(ast::as<Index>(*e).base.get());
        return items(ast::as<Index>(*e).items);
      case ExprKind::reduce:
        for (const auto& n : ast::as<Reduce>(*e).indices) name(*n);
        return expression(ast::as<Reduce>(*e).body.get());
      case ExprKind::ask:
        return expression(ast::as<Ask>(*e).operand.get());
      default:
        return;
    }
  }

  // Types

  static std::string type_text(const Type& t) {
    return t.kind == TypeKind::any && !t.span ? "" : one_line(t.span);
  }

  static std::vector<std::string> fields_of(const Expr* e) {
    std::vector<std::string> out;
    if (const auto* record = if_is<Record>(e))
      for (const auto& f : record->fields) out.push_back(f.name);
    return out;
  }

  /// The type of a variable as the checker knows it; by the form of its value where a syntax error kept the
  /// file from being checked.
  std::string type_of(const Name& variable, const Expr* value) const {
    const std::string known = describe_type(*program_.modules().back(), variable);
    return known.empty() ? inferred(value) : known;
  }

  /// The type of a value as far as its form tells.
  std::string inferred(const Expr* e) const {
    if (!e) return "";
    switch (e->kind) {
      case ExprKind::integer:
        return "int";
      case ExprKind::floating:
        return "float";
      case ExprKind::boolean:
        return "bool";
      case ExprKind::string:
        return "string";
      case ExprKind::list:
      case ExprKind::range:
        return "list";
      case ExprKind::record:
        return "record";
      case ExprKind::name: {
        const auto found = find(ast::as<Name>(*e).text);
        if (!found) return "";
        const Definition& d = out_.definitions_[*found];
        return d.function || d.native ? "function" : d.type;
      }
      case ExprKind::cast:
        return type_text(ast::as<Cast>(*e).type);
      case ExprKind::unary:
        return inferred(ast::as<Unary>(*e).operand.get());
      case ExprKind::binary:
        return inferred(ast::as<Binary>(*e));
      case ExprKind::call:
        return inferred(ast::as<Call>(*e));
      default:
        return "";
    }
  }

  std::string inferred(const Call& call) const {
    const auto* callee = if_is<Name>(call.callee.get());
    const auto found = callee ? find(callee->text) : std::nullopt;
    if (!found) return "";
    const Definition& d = out_.definitions_[*found];
    if (d.function) return type_text(d.function->result);
    if (!d.native) return "";
    const Type& result = d.native->result;
    return result.kind == TypeKind::object ? result.name : kind_name(result.kind);
  }

  std::string inferred(const Binary& e) const {
    const std::string a = inferred(e.left.get()), b = inferred(e.right.get());
    if (e.op < BinaryOp::add) return a == "int" || a == "float" || a == "string" ? "bool" : "";
    const auto is_number = [](const std::string& t) { return t == "int" || t == "float"; };
    if (is_number(a) && is_number(b))
      return a == b && e.op != BinaryOp::power ? a : e.op == BinaryOp::power ? "" : "float";
    const auto is_tensor = [](const std::string& t) {
      return t.starts_with("tensor") || t.find('[') != std::string::npos;
    };
    return is_tensor(a) || is_tensor(b) ? "tensor" : a == b && a == "string" ? a : "";
  }

  Analysis& out_;
  const Program& program_;
  Span whole_;
  std::map<std::string, size_t> visible_, natives_;
  std::vector<size_t> active_;  ///< variables in scope, innermost last
  bool in_equation_ = false;
};

// ------------------------------------------------------------------------------------------------- questions

Analysis::Analysis(const Program& program) { AnalysisWalk(*this, program).run(); }

std::optional<Analysis::Use> Analysis::at(uint32_t offset) const {
  // The last use that starts no later; its end counts as inside, where cursors stand after a word.
  auto use = std::upper_bound(uses_.begin(), uses_.end(), offset,
                              [](uint32_t place, const UseAt& u) { return place < u.span.begin; });
  if (use == uses_.begin()) return std::nullopt;
  --use;
  if (offset > use->span.end) return std::nullopt;
  return Use{use->span, &definitions_[use->definition]};
}

std::vector<const Definition*> Analysis::visible_at(uint32_t offset) const {
  std::map<std::string_view, const Definition*> out;  // inner definitions come later and replace outer ones
  for (const Definition& d : definitions_)
    if (d.kind != Definition::Kind::index && d.scope.begin <= offset && offset <= d.scope.end) {
      const Definition*& place = out[d.name];
      if (!place || d.kind != Definition::Kind::native) place = &d;
    }
  std::vector<const Definition*> list;
  for (const auto& [name, definition] : out) list.push_back(definition);
  return list;
}

const Definition* Analysis::find(std::string_view name, uint32_t offset) const {
  for (const Definition* d : visible_at(offset))
    if (d->name == name) return d;
  return nullptr;
}

}  // namespace tl::lang
