/** Random templates that make texts and lists grow, of expressions whose types fit. @module */

/** A random template, always the same for a seed. */
export function programOf(seed: number): string {
  let state = seed >>> 0;
  const draw = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % n;
  };
  const pick = <T>(list: readonly T[]): T => list[draw(list.length)]!;
  const text = (depth: number): string => {
    if (depth <= 0) return pick(["ns.s", "s", "'ab'", "'a\\nb '", "messages[0].content"]);
    const t = () => text(depth - 1 - draw(2)), l = () => list(depth - 1 - draw(2));
    return pick([
      () => `(${t()} + ${t()})`,
      () => `(${t()} ~ ${pick([t, l, () => mapping(depth - 1)])()})`,
      () => `(${l()})|join(${t()})`,
      () => `(${t()})|join(${t()})`,
      () => `(${t()})|replace(${pick(["'a'", "''", t()])}, ${t()})`,
      () => `(${t()}).replace(${pick(["'a'", "''", "ns.s[0]"])}, ${t()})`,
      () => `(${pick([t, l, () => mapping(depth - 1)])()})|tojson(indent=${number(depth - 1)})`,
      () => `(${pick([l, () => mapping(depth - 1)])()})|tojson(separators=(${t()}, ${t()}))`,
      () => `(${l()})|string`,
      () => `(${t()})|indent(${number(depth - 1)}, true, true)`,
      () => `(${t()})[::-1]`,
      () => `(${t()}).title()`,
      () => `f(${pick([t, l])()})`,
      () => `(${t()} if ${truth(depth - 1)} else ${t()})`,
      () => `strftime_now(${t()})`,
    ])();
  };
  const list = (depth: number): string => {
    if (depth <= 0) return pick(["ns.a", "a", "messages", "[1, 'a']", "range(9999)"]);
    const t = () => text(depth - 1 - draw(2)), l = () => list(depth - 1 - draw(2));
    return pick([
      () => `(${l()} + ${l()})`,
      () => `[${pick([t, l])()}, ${pick([t, l])()}]`,
      () => `[${t()}, ${t()}]|sort`,
      () => `(${l()})[::-1]`,
      () => `(${l()})|unique`,
      () => `(${t()}).split(${pick(["'a'", "none", t()])})`,
      () => `(${mapping(depth - 1)}).items()`,
      () => `range(${number(depth - 1)})`,
      () => `messages|map(attribute=${t()})|list`,
      () => `(${mapping(depth - 1)})|dictsort`,
    ])();
  };
  const mapping = (depth: number): string =>
    depth <= 0
      ? pick(["ns.o", "messages[0]", "{'a': ns.a}"])
      : `{'a': ${pick([text, list, mapping])(depth - 1)}, ${text(depth - 1)}: ${mapping(depth - 1)}}`;
  const number = (depth: number): string =>
    depth <= 0
      ? pick(["2", "ns.n", "99999", "5000000"])
      : pick([() => `(${list(depth - 1)})|length`, () => `(${number(depth - 1)} * ${number(depth - 1)})`])();
  const truth = (depth: number): string =>
    pick([
      () => `(${text(depth)} in ${text(depth)})`,
      () => `(${text(depth)} in ${list(depth)})`,
      () => `(${list(depth)} == ${text(depth)})`,
      () => `(${text(depth)}) is upper`,
      () => `(${text(depth)}).startswith(${text(depth)})`,
    ])();
  const step = (depth: number): string => {
    const s = () => step(depth - 1);
    if (depth <= 0) {
      return pick([
        () => `{% set ns.s = ${text(2)} %}`,
        () => `{% set ns.a = ${list(2)} %}`,
        () => `{% set ns.o = ${mapping(2)} %}`,
        () => `{% set ns.n = ${number(1)} %}`,
        () => `{{ ${pick([text, list, mapping])(2)} }}`,
      ])();
    }
    return pick([
      () => `{% for s in ${list(1)} %}${s()}${s()}{% endfor %}`,
      () => `{% for i in range(9999) %}${s()}${s()}{% endfor %}`,
      () => `{% for i in ${list(1)} if ${truth(1)} %}${s()}{% endfor %}`,
      () => `{% if ${truth(1)} %}${s()}{% else %}${s()}{% endif %}`,
      () => `{% macro f(y) %}${s()}{{ y }}{{ varargs }}${pick(["", "{{ f(y) }}"])}{% endmacro %}${s()}`,
      () => `{% set ns.s %}${s()}${s()}{% endset %}`,
      () =>
        `{% filter ${
          pick(["upper", "indent(9)", "replace('a', ns.s)", "tojson", "title"])
        } %}${s()}{% endfilter %}`,
      () => `{% call f(${text(1)}) %}${s()}{% endcall %}`,
      () => `{% for i in range(9999) %}${s()}{% if ${truth(1)} %}{% continue %}{% endif %}${s()}{% endfor %}`,
    ])();
  };
  return "{% set ns = namespace(s='ab', a=[1], o={}, n=50) %}{% set s = 'a' %}{% set a = [2] %}" +
    `{% macro f(y) %}{{ y }}{% endmacro %}{% for i in range(${pick(["40", "9999"])}) %}${step(3)}${
      step(3)
    }{% endfor %}`;
}
