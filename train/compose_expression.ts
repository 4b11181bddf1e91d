/**
 * The text of `--compose` and its tree. Which names and settings there are is not known here. @module
 *
 *     expression = placing { "+" placing } | adapter
 *     placing    = "on" "(" pattern "," adapter ")"
 *     pattern    = word | quoted text
 *     adapter    = word [ "(" [ argument { "," argument } ] ")" ]
 *     argument   = word "=" word | number | adapter
 */
import { OptionError } from "./errors.ts";

/** A setting of an adapter, as it is written. Positions count characters from 0. */
export interface Setting {
  readonly name: string;
  readonly at: number;
  readonly value: string;
  readonly valueAt: number;
}

/** An adapter: a name, the adapters and numbers that it is made of, and settings. */
export interface Call {
  readonly kind: "call";
  readonly name: string;
  readonly at: number;
  readonly parts: readonly (Call | Amount)[];
  readonly settings: readonly Setting[];
}

/** A number among an adapter's parts. */
export interface Amount {
  readonly kind: "amount";
  readonly value: number;
  readonly at: number;
}

/** An adapter and the pattern of the maps that it is for; null: those of `--target`. */
export interface Placing {
  readonly pattern: string | null;
  readonly at: number;
  readonly adapter: Call;
}

/** An error that shows the expression and points at a character of it. `problem` and `advice` are parts of a sentence. */
export function pointAt(text: string, at: number, problem: string, advice: string): OptionError {
  const shown = text.replace(/\s/g, " ");
  return new OptionError(
    `--compose: ${problem} at character ${at + 1}: ${advice}\n  ${shown}\n  ${" ".repeat(at)}^`,
    { compose: text, at },
  );
}

interface Token {
  readonly kind: "word" | "quoted" | "mark" | "end";
  readonly text: string;
  readonly at: number;
}

const TOKEN = /\s*(?:(?<word>[\w.*-]+)|"(?<quoted>[^"]*)"|(?<mark>[(),=+]))/y;
const NUMBER = /^-?(\d+\.?\d*|\.\d+)(e-?\d+)?$/i;

function tokenise(text: string): Token[] {
  const tokens: Token[] = [];
  const end = text.trimEnd().length;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < end) {
    const from = TOKEN.lastIndex, groups = TOKEN.exec(text)?.groups;
    if (!groups) {
      const at = from + text.slice(from).search(/\S/);
      if (text[at] === '"') throw pointAt(text, at, "a quote without its end", "close it with another one.");
      throw pointAt(text, at, `an unexpected ${JSON.stringify(text[at])}`, "patterns with it go in quotes.");
    }
    const kind = (["word", "quoted", "mark"] as const).find((k) => groups[k] !== undefined)!;
    const found = groups[kind]!, quotes = kind === "quoted" ? 2 : 0;
    tokens.push({ kind, text: found, at: TOKEN.lastIndex - found.length - quotes });
  }
  return [...tokens, { kind: "end", text: "", at: end }];
}

/** Read an expression. Throws OptionError that points at the character where it goes wrong. */
export function parseExpression(text: string): readonly Placing[] {
  const tokens = tokenise(text);
  let next = 0;
  const peek = (ahead = 0): Token => tokens[Math.min(next + ahead, tokens.length - 1)]!;
  const is = (mark: string, ahead = 0): boolean => peek(ahead).kind === "mark" && peek(ahead).text === mark;
  const wrong = (expected: string): OptionError => {
    const { kind, text: found, at } = peek();
    const name = kind === "end" ? "the expression ends" : `an unexpected "${found}"`;
    return pointAt(text, at, name, `expected ${expected}.`);
  };
  const take = (expected: string, ok: boolean): Token => {
    if (!ok) throw wrong(expected);
    return tokens[next++]!;
  };
  const takeMark = (mark: string, expected = `"${mark}"`): Token => take(expected, is(mark));
  const takeWord = (expected: string): Token => take(expected, peek().kind === "word");

  const adapter = (): Call => {
    const { text: name, at } = take("an adapter", peek().kind === "word" && !NUMBER.test(peek().text));
    if (name === "on") {
      throw pointAt(text, at, '"on" inside an adapter', "places stand outermost, joined by +.");
    }
    const parts: (Call | Amount)[] = [], settings: Setting[] = [];
    if (!is("(")) return { kind: "call", name, at, parts, settings };
    next++;
    while (!is(")")) {
      if (parts.length + settings.length > 0) takeMark(",", '"," or ")"');
      const first = peek();
      if (first.kind === "word" && is("=", 1)) {
        next += 2;
        const value = takeWord(`a value for ${first.text}`);
        const twice = settings.find((s) => s.name === first.text);
        if (twice) throw pointAt(text, first.at, `${first.text} given twice`, "keep one of them.");
        settings.push({ name: first.text, at: first.at, value: value.text, valueAt: value.at });
      } else if (first.kind === "word" && NUMBER.test(first.text)) {
        next++;
        parts.push({ kind: "amount", value: Number(first.text), at: first.at });
      } else parts.push(adapter());
    }
    next++;
    return { kind: "call", name, at, parts, settings };
  };
  const placing = (): Placing => {
    const { at } = take('"on"', peek().kind === "word" && peek().text === "on");
    takeMark("(");
    const pattern = take("a pattern of maps", peek().kind === "word" || peek().kind === "quoted");
    takeMark(",", '"," and an adapter; several patterns go in quotes');
    const placed = adapter();
    takeMark(")");
    return { pattern: pattern.text, at, adapter: placed };
  };

  if (!(peek().kind === "word" && peek().text === "on")) {
    const alone = adapter();
    if (is("+")) {
      throw pointAt(
        text,
        peek().at,
        'an unexpected "+"',
        'only places "on(…)" are added; use parallel(a, b).',
      );
    }
    take("nothing more", peek().kind === "end");
    return [{ pattern: null, at: alone.at, adapter: alone }];
  }
  const list = [placing()];
  while (peek().kind !== "end") {
    takeMark("+", '"+" and another "on(…)"');
    list.push(placing());
  }
  return list;
}

/** The text of an expression, which reads back as the same tree. */
export function printExpression(list: readonly Placing[]): string {
  return list.map(({ pattern, adapter }) => {
    if (pattern === null) return printCall(adapter);
    const shown = /^[\w.*-]+$/.test(pattern) ? pattern : `"${pattern}"`;
    return `on(${shown}, ${printCall(adapter)})`;
  }).join(" + ");
}

function printCall({ name, parts, settings }: Call): string {
  const inside = [
    ...parts.map((p) => p.kind === "call" ? printCall(p) : String(p.value).replace("e+", "e")),
    ...settings.map((s) => `${s.name}=${s.value}`),
  ];
  return inside.length === 0 ? name : `${name}(${inside.join(", ")})`;
}
