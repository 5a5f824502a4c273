#include "lang/syntax_text.h"

#include <fmt/format.h>

namespace tl::test {

using namespace lang::ast;

namespace {

std::string text(const Expr* e);

std::string text(const Type& t) {
  std::string out = fmt::format("<{} {}", static_cast<int>(t.kind), t.name);
  for (const Dim& d : t.dims) out += fmt::format(" {}:{}:{}", static_cast<int>(d.kind), d.size, d.name);
  return out + (t.has_shape ? " shaped>" : ">");
}

std::string text(const IndexItem& i) {
  return fmt::format("{}{}{}({} {} {} {})", static_cast<int>(i.kind), i.normalised ? "." : "",
                     i.last_only ? "*" : "", text(i.value.get()), text(i.begin.get()), text(i.end.get()),
                     text(i.step.get()));
}

std::string text(const std::vector<IndexItem>& items) {
  std::string out;
  for (const IndexItem& i : items) out += text(i) + ",";
  return out;
}

std::string composite(const Expr& e) {
  std::string out;
  switch (e.kind) {
    case ExprKind::list:
      for (const auto& item : as<List>(e).items) out += text(item.get()) + ",";
      return out;
    case ExprKind::record:
      for (const auto& f : as<Record>(e).fields) out += f.name + ":" + text(f.value.get()) + ",";
      return out;
    case ExprKind::call: {
      const auto& call = as<Call>(e);
      out = text(call.callee.get()) + (call.method ? " method" : "");
      for (const Argument& a : call.arguments) out += fmt::format(" {}:{}", a.name, text(a.value.get()));
      return out;
    }
    case ExprKind::index:
      return text(as<Index>(e).base.get()) + text(as<Index>(e).items);
    case ExprKind::reduce:
      for (const auto& n : as<Reduce>(e).indices) out += n->text + ",";
      return fmt::format("{} {} {}", static_cast<int>(as<Reduce>(e).op), out, text(as<Reduce>(e).body.get()));
    default:
      return "?";
  }
}

std::string content(const Expr& e) {
  switch (e.kind) {
    case ExprKind::integer:
      return fmt::format("{}", as<Integer>(e).value);
    case ExprKind::floating:
      return fmt::format("{}", as<Floating>(e).value);
    case ExprKind::boolean:
      return as<Boolean>(e).value ? "true" : "false";
    case ExprKind::string:
      return fmt::format("'{}'", as<String>(e).value);
    case ExprKind::name:
      return as<Name>(e).text;
    case ExprKind::unary:
      return fmt::format("{} {}", static_cast<int>(as<Unary>(e).op), text(as<Unary>(e).operand.get()));
    case ExprKind::binary: {
      const auto& b = as<Binary>(e);
      return fmt::format("{} {}{}{}", text(b.left.get()), spelling(b.op), b.juxtaposed ? "~" : " ",
                         text(b.right.get()));
    }
    case ExprKind::range:
      return text(as<Range>(e).begin.get()) + ".." + text(as<Range>(e).end.get());
    case ExprKind::cast:
      return text(as<Cast>(e).operand.get()) + text(as<Cast>(e).type);
    case ExprKind::member:
      return text(as<Member>(e).object.get()) + "." + as<Member>(e).name;
    case ExprKind::ask:
      return text(as<Ask>(e).operand.get()) + "?";
    default:
      return composite(e);
  }
}

std::string text(const Expr* e) {
  return e ? fmt::format("({}{} {})", static_cast<int>(e->kind), e->grouped ? "g" : "", content(*e)) : "-";
}

std::string text(const Stmt& s);

std::string text(const Block& b) {
  std::string out = "{";
  for (const auto& s : b.statements) out += text(*s) + ";";
  return out + "}";
}

std::string content(const Stmt& s) {
  std::string out;
  switch (s.kind) {
    case StmtKind::let: {
      const auto& let = as<Let>(s);
      for (const auto& n : let.names) out += n->text + ",";
      return fmt::format("{}{}{} {} {}", out, let.is_tuple ? "()" : "", let.is_tensor ? "tensor" : "",
                         text(let.type), text(let.value.get()));
    }
    case StmtKind::assign:
      return fmt::format("{} {} {}", text(as<Assign>(s).target.get()), static_cast<int>(as<Assign>(s).op),
                         text(as<Assign>(s).value.get()));
    case StmtKind::equation: {
      const auto& e = as<Equation>(s);
      return fmt::format("{}[{}] {} {} {}", e.target->text, text(e.lhs), static_cast<int>(e.projection),
                         text(e.rhs.get()), text(e.where.get()));
    }
    case StmtKind::expression:
      return text(as<Expression>(s).value.get());
    case StmtKind::conditional:
      for (const auto& arm : as<Conditional>(s).arms) out += text(arm.condition.get()) + text(arm.body);
      return out;
    case StmtKind::for_loop:
      return as<For>(s).variable->text + text(as<For>(s).sequence.get()) + text(as<For>(s).body);
    case StmtKind::while_loop:
      return text(as<While>(s).condition.get()) + text(as<While>(s).body);
    case StmtKind::return_value:
      return text(as<Return>(s).value.get());
    case StmtKind::block:
      return text(as<BlockStatement>(s).body);
    default:
      return out;
  }
}

std::string text(const Stmt& s) { return fmt::format("{}:{}", static_cast<int>(s.kind), content(s)); }

std::string text(const Function& f) {
  std::string out = fmt::format("{} {}(", static_cast<int>(f.kind), f.name);
  for (const Parameter& p : f.parameters)
    out += fmt::format("{} {} {},", p.name, text(p.type), text(p.default_value.get()));
  return out + ")" + text(f.result) + text(f.body) + "\n";
}

}  // namespace

std::string syntax_text(const Module& module) {
  std::string out;
  for (const Import& i : module.imports) out += "import " + i.path + "\n";
  for (const auto& s : module.globals) out += text(*s) + "\n";
  for (const auto& f : module.functions) out += text(*f);
  if (module.main) out += text(*module.main);
  for (const auto& t : module.tests) out += text(*t);
  return out;
}

}  // namespace tl::test
