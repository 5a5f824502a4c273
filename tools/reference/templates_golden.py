#!/usr/bin/env python3
"""Writes tests/golden/text/templates.json: what Python's jinja2 renders, the way Hugging Face transformers does.

  python templates_golden.py FOLDER

FOLDER is tests/golden/text; FOLDER/templates/*.jinja are the chat templates, each rendered with every conversation
below. Then come small snippets, one per feature. Needs the package jinja2.
A case is {"template" or "text", "variables", "output" or "error"}; an error's text is compared only where the template
raised it itself.
"""
import json
import sys
from datetime import datetime
from pathlib import Path

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime(2024, 7, 26, 12, 34, 56)


class Generation(Extension):
    """{% generation %}…{% endgeneration %}: its body."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = NOW.strftime


def m(role, content, **more):
    return {"role": role, "content": content, **more}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The \"weather\" at a place, as <html> & 'text'.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string", "description": "z.B. Zürich"},
                                                    "days": {"type": "integer", "default": 3}},
                   "required": ["place"], "x": [], "y": {}, "ratio": 0.5, "big": 1e20, "null": None, "ok": True}}}
CALL = {"id": "abcdefghi", "type": "function",
        "function": {"name": "get_weather", "arguments": {"place": "Zürich", "unit": "C"}}}

CONVERSATIONS = {
    "one": {"messages": [m("user", "Hello, who are you?")]},
    "system": {"messages": [m("system", "You are terse."), m("user", "Hi")]},
    "turns": {"messages": [m("user", "Hi"), m("assistant", "Hello!"), m("user", "  2+2?  \n"), m("assistant", " 4 "),
                           m("user", "Thanks")]},
    "system_turns": {"messages": [m("system", " Be brief.\n"), m("user", "Hi"), m("assistant", "Hello!"),
                                  m("user", "Bye")]},
    "ends_with_answer": {"messages": [m("user", "Hi"), m("assistant", "Hello!")]},
    "unicode": {"messages": [m("system", "日本語で、ね。"), m("user", "👨‍👩‍👧 é\u0301 ñ ‏عربى \u00a0"), m("assistant", "🙂\u3000"),
                             m("user", "\u2003x\u2003")]},
    "odd_text": {"messages": [m("user", "{{ 7*7 }} {% raise %} <|im_end|> \\n \"quoted\" 'single' &amp; \t\r\n")]},
    "empty_content": {"messages": [m("user", "")]},
    "not_alternating": {"messages": [m("user", "a"), m("user", "b")]},
    "answer_first": {"messages": [m("assistant", "a"), m("user", "b")]},
    "unknown_role": {"messages": [m("user", "a"), m("critic", "b")]},
    "no_messages": {"messages": []},
    "no_content": {"messages": [{"role": "user"}]},
    "tools": {"messages": [m("system", "Use tools."), m("user", "Weather?")], "tools": [WEATHER, WEATHER]},
    "tool_call": {"messages": [m("user", "Weather in Zürich?"), m("assistant", "", tool_calls=[CALL]),
                               m("tool", "{\"t\": 21}", tool_call_id="abcdefghi"), m("assistant", "21 °C"),
                               m("user", "And now?")], "tools": [WEATHER]},
    "tool_call_object": {"messages": [m("user", "Weather?"), m("assistant", None, tool_calls=[CALL]),
                                      m("tool", {"t": 21, "s": "a\"b"}, tool_call_id="abcdefghi")],
                         "tools": [WEATHER], "tools_in_user_message": False},
    "two_tool_calls": {"messages": [m("user", "Weather?"), m("assistant", "x", tool_calls=[CALL, CALL]),
                                    m("tool", "1", tool_call_id="abcdefghi"), m("tool", "2", tool_call_id="bad")]},
    "builtin_tools": {"messages": [m("user", "Search"), m("assistant", "", tool_calls=[
        {"function": {"name": "brave_search", "arguments": {"query": "x", "n": "3"}}}]), m("ipython", "found")],
        "builtin_tools": ["brave_search", "code_interpreter"], "date_string": "1 Jan 2025"},
}

VARIABLES = {"s": "  Hello Wörld  ", "n": 7, "x": 2.5, "t": True, "f": False, "z": None, "l": [3, 1, 2],
             "w": ["b", "A", "c", "a"], "d": {"b": 1, "a": [1, "x", None], "é": "ü'\"\n"}, "e": [], "u": "日本語🙂",
             "p": [{"n": "x", "v": 2, "g": {"h": 1}}, {"n": "y", "v": 1, "g": {"h": 2}}, {"n": "x", "v": 3, "ok": True}]}

SNIPPETS = r"""
{{ s }}|{{ n }}|{{ x }}|{{ t }}|{{ f }}|{{ z }}|{{ l }}|{{ d }}|{{ e }}|{{ missing }}|{{ (1,) }}|{{ (1, 'a') }}|{{ () }}
{{ 1.0 }} {{ 1e3 }} {{ 1e16 }} {{ 1e15 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 0.0001 }} {{ 1_000 }} {{ -0.0 }} {{ 1e300 * 1e300 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 + 3 * 4 - 1 }}
{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 10 - 3 - 2 }} {{ 2 * 3 % 4 }} {{ - - 3 }} {{ +3 }} {{ -n }} {{ not n }} {{ not not n }}
{{ 'a' + 'b' }} {{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ [1] }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] + [2] }} {{ [1, 2] * 2 }} {{ (1,) + (2,) }} {{ 'x' * 0 }}
{{ 1 + true }} {{ true + true }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 1 }} {{ none == none }} {{ [1, 2] == [1, 2] }} {{ (1,) == [1] }} {{ d == d }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }}
{{ 1 < 2 }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 2 }} {{ 1 <= 1 }} {{ 'a' < 'b' }} {{ 'Z' < 'a' }} {{ 'é' > 'z' }} {{ [1, 2] < [1, 3] }} {{ 2 >= 3 }} {{ 1 != 2 }} {{ (1, 2) < (1, 2, 3) }}
{{ 1 in l }} {{ 5 in l }} {{ 5 not in l }} {{ 'el' in s }} {{ 'b' in d }} {{ 'zz' in d }} {{ not 1 in l }} {{ '' in 'a' }} {{ 'a' in missing }} {{ 1.0 in l }}
{{ n and x }} {{ z or 'y' }} {{ '' or e or 'last' }} {{ n and not f }} {{ f and missing.x }} {{ t or missing.x }}
{{ 'a' if t else 'b' }} {{ 'a' if f else 'b' }} {{ 'a' if f }} {{ 'a' if f else 'b' if f else 'c' }} {{ ('a' if t else 'b') ~ 'c' }}
{{ u[0] }} {{ u[-1] }} {{ u[1:3] }} {{ u[::-1] }} {{ u[:2] }} {{ u[9] }} {{ u|length }} {{ l[0] }} {{ l[-1] }} {{ l[5] }} {{ l[1:] }} {{ l[:-1] }} {{ l[::2] }} {{ l[::-1] }} {{ l[-2:] }} {{ l[5:1] }} {{ l[2:0:-1] }} {{ l[-100:100] }} {{ (1,2,3)[1:] }} {{ s[100:] }}
{{ d.b }} {{ d['b'] }} {{ d['a'][1] }} {{ d.a[0] }} {{ d.a.0 }} {{ d.nope }} {{ d['nope'] }} {{ d.é }} {{ d['é'] }}
{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d | length }}
{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abcba'.lstrip('ab') }}|{{ 'abcba'.rstrip('ab') }}|{{ 'ñañ'.strip('ñ') }}|{{ '\u2003a\u00a0'.strip() }}
{{ 'a,b,,c'.split(',') }} {{ 'a b  c'.split() }} {{ 'a b  c'.split(' ') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a b c '.split(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a</think>b'.split('</think>')[-1] }} {{ 'a\nb\r\nc\n'.splitlines() }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('') }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }}
{{ 'hELLO wORLD'.upper() }} {{ 'hELLO'.lower() }} {{ "hELLO wORLD o'neil x2y".title() }} {{ 'hELLO wORLD'.capitalize() }} {{ 'éà'.upper() }} {{ 'ÀÉ'.lower() }}
{{ 'aaa'.replace('a', 'b') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ 'aXbX'.replace('X', '') }} {{ 'aaa' | replace('a', 'b', 1) }} {{ 123 | replace('2', 'x') }}
{{ 'hello'.find('l') }} {{ 'hello'.rfind('l') }} {{ 'hello'.find('z') }} {{ 'éél'.find('l') }} {{ 'hello'.count('l') }} {{ ', '.join(['a', 'b']) }} {{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ ''.isdigit() }} {{ 'aé'.isalpha() }} {{ ' \t'.isspace() }} {{ l.index(2) }} {{ l.count(1) }}
{{ s | trim }}|{{ 'xax' | trim('x') }}|{{ s | upper }}|{{ s | lower }}|{{ 'hello wORLD-foo (bar' | title }}|{{ 'hELLO' | capitalize }}|{{ 5 | upper }}
{{ l | join(', ') }} {{ l | join }} {{ p | join('-', attribute='n') }} {{ u | join('.') }} {{ e | join('x') }} {{ [1, none, 'a', 2.5] | join(' ') }} {{ d | join(',') }}
{{ missing | default('x') }} {{ z | default('x') }} {{ z | default('x', true) }} {{ '' | d('y', boolean=True) }} {{ missing | default }} {{ d.zz | default(3) }} {{ n | default(1) }}
{{ l | first }} {{ l | last }} {{ e | first }} {{ u | first }} {{ u | last }} {{ l | length }} {{ l | count }} {{ s | length }} {{ missing | length }}
{{ l | sort }} {{ w | sort }} {{ w | sort(reverse=true) }} {{ w | sort(case_sensitive=true) }} {{ p | sort(attribute='v') | map(attribute='v') | list }} {{ l | reverse | list }} {{ u | reverse }} {{ l | max }} {{ l | min }} {{ w | max }} {{ e | max }} {{ l | sum }} {{ p | sum(attribute='v') }} {{ l | sum(start=10) }} {{ [0.5, 1] | sum }}
{{ [1, 2, 1, 3, 2] | unique | list }} {{ w | unique | list }} {{ ['a', 'A', 'b'] | unique | list }} {{ p | unique(attribute='n') | map(attribute='v') | list }}
{{ p | map(attribute='n') | list }} {{ p | map(attribute='g.h', default='-') | list }} {{ w | map('upper') | list }} {{ w | map('replace', 'a', 'z') | join }} {{ l | map('string') | join('+') }}
{{ p | selectattr('ok') | map(attribute='v') | list }} {{ p | selectattr('n', 'equalto', 'x') | map(attribute='v') | list }} {{ p | rejectattr('n', 'eq', 'x') | map(attribute='v') | list }} {{ p | selectattr('g', 'defined') | list | length }} {{ p | rejectattr('ok', 'defined') | list | length }} {{ p | selectattr('n', 'in', ['y', 'z']) | list | length }}
{{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ [0, 1, '', 'a'] | select | list }} {{ [0, 1, '', 'a'] | reject | list }} {{ l | select('gt', 1) | list }} {{ l | select('>', 1) | list }} {{ w | select('in', 'abc') | list }}
{{ d | tojson }} {{ d | tojson(indent=2) }} {{ e | tojson(indent=2) }} {{ {} | tojson }} {{ 'é"\\/\n\t\u0001\u007f<>&' | tojson }} {{ [1, 2.0, true, none] | tojson }} {{ (1, 2) | tojson }} {{ d | tojson(sort_keys=true) }} {{ {1: 2, none: 3, true: 4} | tojson }} {{ 'x' | tojson | length }}
{{ '42' | int }} {{ ' -42 ' | int }} {{ '4.9' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 4.9 | int }} {{ -4.9 | int }} {{ 'ff' | int(base=16) }} {{ true | int }} {{ none | int }} {{ '1.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ '1e3' | float }}
{{ 5 | string + 'a' }} {{ [1] | string }} {{ none | string }} {{ 'abc' | list }} {{ d | list }} {{ l | list }} {{ -3 | abs }} {{ -3.5 | abs }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 3.5 | round }} {{ 2.1 | round(method='ceil') }} {{ 2.9 | round(method='floor') }} {{ 7 | round }} {{ 2.675 | round(2) }} {{ 1.115 | round(2) }} {{ 123.4 | round(-1) }}
{{ d | items | list }} {{ missing | items | list }} {{ d | dictsort }} {{ {'b': 1, 'A': 2} | dictsort }} {{ {'b': 1, 'a': 2} | dictsort(by='value') }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) }}
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ 'a\nb\n' | indent(1) }}|{{ '' | indent(2) }}|{{ '' | indent(2, true) }}
{{ '<a href="x">&\'' | e }} {{ '<b>' | escape }} {{ '<b>' | safe }} {{ d | attr('zz') }} {{ 'x' | string | safe | upper }}
{{ n is defined }} {{ missing is defined }} {{ missing is undefined }} {{ missing is not defined }} {{ d.zz is defined }} {{ z is none }} {{ z is not none }} {{ n is none }} {{ not z is none }}
{{ s is string }} {{ n is string }} {{ d is mapping }} {{ l is mapping }} {{ l is iterable }} {{ s is iterable }} {{ n is iterable }} {{ missing is iterable }} {{ l is sequence }} {{ n is number }} {{ x is number }} {{ t is number }} {{ t is boolean }} {{ n is boolean }} {{ n is integer }} {{ t is integer }} {{ x is float }} {{ n is float }} {{ range is callable }} {{ n is callable }}
{{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(3) }} {{ n is in [7, 8] }} {{ n is not in [7] }} {{ n is eq 7 }} {{ n is equalto(8) }} {{ n is ne 7 }} {{ n is gt 6 }} {{ n is lt 6 }} {{ n is ge 7 }} {{ n is le 6 }} {{ t is true }} {{ f is false }} {{ 1 is true }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ z is sameas none }} {{ 1 is sameas true }}
{{ t is true and f is false }} {{ n is odd or missing.x }} {{ 'y' if n is odd else 'n' }} {{ s | trim is string }} {{ (n is odd) is boolean }}
{% for i in l %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}|{% for i in e %}x{% else %}none{% endfor %}|{% for i in missing %}x{% else %}m{% endfor %}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}[{{ loop.previtem }}:{{ loop.nextitem }}]{{ loop.cycle('a', 'b') }};{% endfor %}
{% for i in l if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% endfor %}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for a, b in [[1, 2], (3, 4)] %}{{ a + b }} {% endfor %}{% for c in 'äb' %}[{{ c }}]{% endfor %}{% for (a, b) in [[1, 2]] %}{{ a }}{% endfor %}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %} {{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ range(3, 0, -1) | list }} {{ range(0) | list }}
{% for i in [1, 2] %}{% for j in [1, 2] %}{{ loop.index }}{{ loop.depth }}{% set k = j %}{% endfor %}{{ loop.index }}{{ k }}{% endfor %}
{% set a = 1 %}{% for i in l %}{% set a = a + i %}{{ a }} {% endfor %}{{ a }} {% if t %}{% set a = 9 %}{% endif %}{{ a }} {% set b, c = 1, 'x' %}{{ b }}{{ c }} {% set q = 1, 2 %}{{ q }}
{% set ns = namespace(a=1, b='x') %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.zz }} {% set ns.c = [1] %}{{ ns.c }} {{ ns['a'] }} {{ namespace({'k': 1}).k }}
{% set a %}x{{ n }}y{% endset %}[{{ a }}] {% set b | upper | replace('X', 'z') %}x{% set inner = 1 %}y{% endset %}[{{ b }}]{{ inner }}
{% macro f(a, b=2, c=a) %}({{ a }},{{ b }},{{ c }}){% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=5, a=4) }}{{ f() }}{{ f(1) | length }}
{% macro g(n) %}{{ n }}{% if n > 0 %}{{ g(n - 1) }}{% endif %}{% endmacro %}{{ g(3) }}{% set y = 'late' %}{% macro h() %}{{ y }}{% endmacro %}{{ h() }}
{% macro h() %}{{ y }}{% endmacro %}{% set y = 'late' %}{{ h() }}{% for i in [1] %}{% macro q() %}{{ i }}{% endmacro %}{{ q() }}{% endfor %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}{% filter upper %}abc{{ s }}{% endfilter %}{% filter trim | replace('a', 'b') %}  aaa {% endfilter %}{% generation %}x{{ n }}{% endgeneration %}
{% raw %}{{ not }} {% if %}{% endraw %}|{%- raw -%}  {{ x }}  {%- endraw -%}  |{# comment {{ x }} #}|{#- c -#}  |
{{ "a\"b\\c\n\t\x41\u00e9\U0001F642\101\q\
z" }} {{ 'it''s' 'joined' }} {{ "it's" }} {{ 'say "x"' }} {{ ['it\'s', "a\"b", 'a\'"b', '\n\\\t\x01'] }}
{{ {'a': {'b': [1, {'c': 2}]}}.a.b[1].c }} {{ {'a': 1,}.a }} {{ [1, 2,][1] }} {{ [[1], [2]][1][0] }} {{ {1: 'x'}[1] }} {{ {true: 'y'}[1] }} {{ dict(a=1, b=2) }} {{ dict({'a': 1}, b=2) }} {{ {}['x'] }}
{{ strftime_now('%d %b %Y') }} {{ strftime_now("%Y-%m-%dT%H:%M:%S") }} {{ strftime_now('') }}
a  {{- n -}}  b {%- if t -%} c {%- endif -%} d {{ n }}  e
a
  {% if t %}
    b
  {% endif %}
  c {% if t %} d {% endif %}
    {# note #}
  e {{ n }}
  {%+ if t %} kept {% endif +%}
  f
  {%- if t +%}
  g
  {%- endif %}

{{ n }}
   
 {% set a = 1 %} {% set b = 2 %}
  {% set c = 3 %}x
{{ a }}{{ b }}{{ c }}

""".strip("\n")

ERRORS = r"""
{{ missing.x }}
{{ d.zz.y }}
{{ missing['x'] }}
{{ missing() }}
{{ missing + 1 }}
{{ -missing }}
{{ missing < 1 }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 'a' + none }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ 1 in 5 }}
{{ 1 in 'abc' }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 5() }}
{{ 5 | length }}
{{ 5 | join }}
{{ missing | tojson }}
{{ [1, 'a'] | sort }}
{{ {[1]: 2} }}
{{ l[::0] }}
{% for i in 5 %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% set d.x = 1 %}
{{ raise_exception('no ' ~ n) }}
{{ 'a'.split('') }}
{{ l.index(99) }}
{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}
{% macro f(a) %}{% endmacro %}{{ f(b=1) }}
{{ s | replace('a') }}
{{ s | trim('a', 'b') }}
{{ s | nosuchfilter }}
{{ s is nosuchtest }}
{% nosuchblock %}
{% if t %}
{% endif %}
{% for %}{% endfor %}
{% for i on l %}{% endfor %}
{{ }}
{{ 1 + }}
{{ (1 }}
{{ [1, 2 }}
{{ {'a' 1} }}
{{ 'abc }}
{{ s
{% if t
{# open
{% raw %}x
{{ a b }}
{{ 1 2 }}
{{ s. }}
{{ s[ }}
{{ s | }}
{{ x is }}
{% set = 1 %}
{% set none = 1 %}
{% break %}
{% else %}
{% set x %}abc
{{ ? }}
{{ '\x4' }}
{{ namespace(1) }}
{{ 2 ** 'a' }}
{{ {}.items(1) }}
{{ range(1, 2, 0) }}
{{ 'x' * 'y' }}
""".strip("\n").split("\n")


def case(source, variables, **how):
    try:
        return {**how, "variables": variables, "output": env.from_string(source).render(**variables)}
    except (jinja2.exceptions.TemplateSyntaxError, SyntaxError) as e:
        return {**how, "variables": variables, "error": "syntax", "by_python": str(e)}
    except jinja2.exceptions.TemplateError as e:
        raised = type(e) is jinja2.exceptions.TemplateError
        return {**how, "variables": variables, "error": str(e) if raised else "runtime", "by_python": str(e)}
    except (TypeError, ValueError, ZeroDivisionError, KeyError, OverflowError) as e:
        return {**how, "variables": variables, "error": "runtime", "by_python": str(e)}


def snippets():
    """Single lines, and the last lines as one snippet about white space."""
    lines = SNIPPETS.split("\n")
    start = lines.index("a  {{- n -}}  b {%- if t -%} c {%- endif -%} d {{ n }}  e")
    pending = ""
    for line in lines[:start]:
        if line.endswith("\\"):
            pending = line + "\n"
            continue
        yield pending + line
        pending = ""
    text = "\n".join(lines[start:])
    yield text
    yield text + "\n"
    yield text.replace("\n", "\r\n")


def main():
    folder = Path(sys.argv[1])
    cases = []
    for path in sorted((folder / "templates").glob("*.jinja")):
        for name, variables in CONVERSATIONS.items():
            for prompt in (False, True):
                full = {**variables, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>"}
                c = case(path.read_text(), full, template=path.stem, conversation=name)
                c["variables"] = {"add_generation_prompt": prompt}
                cases.append(c)
    for text in snippets():
        c = case(text, VARIABLES, text=text)
        c.pop("variables")
        cases.append(c)
    for text in ERRORS:
        c = case(text, VARIABLES, text=text)
        c.pop("variables")
        cases.append(c)
        if "error" not in c:
            print(f"no error: {text!r} gives {c['output']!r}")
    shared = {"conversations": CONVERSATIONS, "variables": VARIABLES}
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases)
    text = '{"shared": ' + json.dumps(shared, ensure_ascii=False) + ',\n"cases": [\n' + lines + "\n]}\n"
    (folder / "templates.json").write_bytes(text.encode())
    errors = sum("error" in c for c in cases)
    print(f"{len(cases)} cases, {errors} of them errors, {len(text.encode())} bytes")
    for c in cases:
        if "text" in c and c["text"] not in ERRORS and "error" in c:
            print("unexpected error:", c["text"], c["by_python"])


if __name__ == "__main__":
    main()
