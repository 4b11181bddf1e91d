/**
 * A WebAssembly function under construction. Loops nest in levels; a computed value is bound to a local at the level of
 * the innermost loop that it depends on, so what does not change in a loop is computed before it. @module
 */

/** Types of WebAssembly locals in use. */
export type WatType = "i32" | "f32" | "v128";

/** Text of an i32 literal. */
export function i32(n: number): string {
  return `(i32.const ${n | 0})`;
}

/** Text of an f32 literal, rounded to f32. */
export function f32(x: number): string {
  return `(f32.const ${floatText(x)})`;
}

/** Text of a vector literal with `x` rounded to f32 in each lane. */
export function f32x4(x: number): string {
  return `(v128.const f32x4 ${Array(4).fill(floatText(x)).join(" ")})`;
}

/** Text of a vector literal of four integers. */
export function i32x4(lanes: readonly number[]): string {
  return `(v128.const i32x4 ${lanes.map((n) => n | 0).join(" ")})`;
}

/** Text that reads a local. */
export function get(name: string): string {
  return `(local.get ${name})`;
}

function floatText(x: number): string {
  const rounded = Math.fround(x);
  if (Number.isNaN(rounded)) return "nan";
  if (!Number.isFinite(rounded)) return rounded > 0 ? "inf" : "-inf";
  return Object.is(rounded, -0) ? "-0" : String(rounded);
}

/** Text of a sum; zeros are left out. */
export function sum(parts: readonly string[]): string {
  const kept = parts.filter((p) => p !== i32(0));
  return kept.length === 0 ? i32(0) : kept.reduce((a, b) => `(i32.add ${a} ${b})`);
}

/** Text of `code · k`, by a shift where `k` is a power of two. */
export function times(code: string, k: number): string {
  if (k === 1) return code;
  const log = Math.log2(k);
  return k > 1 && Number.isInteger(log) ? `(i32.shl ${code} ${i32(log)})` : `(i32.mul ${code} ${i32(k)})`;
}

/** Collects the text of one function. */
export class WatFunction {
  readonly #blocks: string[][] = [[]];
  readonly #memos: Map<string, string>[] = [new Map()];
  readonly #locals = new Map<string, WatType>();
  readonly #levels = new Map<string, number>();
  /** Names of the functions that it calls. */
  readonly calls: Set<string> = new Set();

  /** Number of blocks open around the next line. */
  get level(): number {
    return this.#blocks.length - 1;
  }

  /** Add a line at the current level. */
  line(text: string): void {
    this.#blocks.at(-1)!.push(text);
  }

  /** Declare a local and return its name. */
  local(type: WatType, hint = "t"): string {
    const name = `$${hint}.${this.#locals.size}`;
    this.#locals.set(name, type);
    return name;
  }

  /** Set a fresh local at the current level and return the text that reads it. */
  keep(type: WatType, code: string, hint = "t"): string {
    const name = this.local(type, hint);
    this.line(`(local.set ${name} ${code})`);
    return get(name);
  }

  /** The value of `code`, computed once at `level` and known by `key` until that level is left. */
  bind(key: string, level: number, type: WatType, code: string): string {
    if (/^\((local\.get|i32\.const|f32\.const) [^ ()]*\)$/.test(code)) return code;
    const memo = this.#memos[level]!;
    const known = memo.get(key);
    if (known) return known;
    const name = this.local(type);
    this.#blocks[level]!.push(`(local.set ${name} ${code})`);
    memo.set(key, get(name));
    return get(name);
  }

  /** What `key` was bound to at `level`, if it was. */
  bound(key: string, level: number): string | undefined {
    return this.#memos[level]!.get(key);
  }

  /** Text that reads the loop variable `name`. */
  variable(name: string): string {
    if (!this.#levels.has(name)) {
      throw new Error(`The loop variable ${name} is not open here: a kernel uses it outside its form.`);
    }
    return get(`$v.${name}`);
  }

  /** Level at which the loop variable `name` changes; 0 for one that is not open. */
  levelOf(name: string): number {
    return this.#levels.get(name) ?? 0;
  }

  /** Give the loop variable `name` a value at the current level. */
  define(name: string, code: string): void {
    this.#locals.set(`$v.${name}`, "i32");
    this.#levels.set(name, this.level);
    this.line(`(local.set $v.${name} ${code})`);
  }

  /** Lines of `body`, in a block of their own. */
  #inside(body: () => void): string[] {
    this.#blocks.push([]);
    this.#memos.push(new Map());
    body();
    this.#memos.pop();
    return this.#blocks.pop()!;
  }

  /** `body` for `name` from `from` while below `to`; `sure` when there is at least one turn. */
  loop(name: string, from: string, to: string, body: () => void, step = 1, sure = false): void {
    const local = `$v.${name}`;
    this.#locals.set(local, "i32");
    const outer = this.#levels.get(name);
    this.#levels.set(name, this.level + 1);
    const lines = this.#inside(body);
    if (outer === undefined) this.#levels.delete(name);
    else this.#levels.set(name, outer);
    const label = `$l${this.#locals.size}.${name}`;
    const loop = [
      `(loop ${label}`,
      ...lines,
      `(br_if ${label} (i32.lt_u (local.tee ${local} (i32.add ${get(local)} ${i32(step)})) ${to})))`,
    ];
    this.line(`(local.set ${local} ${from})`);
    if (sure) { for (const l of loop) this.line(l); }
    else for (const l of [`(if (i32.lt_u ${get(local)} ${to}) (then`, ...loop, "))"]) this.line(l);
  }

  /** `body` for `name` from 0 to the constant `extent`. */
  count(name: string, extent: number, body: () => void): void {
    if (extent > 0) this.loop(name, i32(0), i32(extent), body, 1, true);
  }

  /** `body` where `condition` holds. */
  when(condition: string, body: () => void): void {
    const lines = this.#inside(body);
    for (const l of [`(if ${condition} (then`, ...lines, "))"]) this.line(l);
  }

  /** Text of the whole function, `header` giving its name and parameters. */
  text(header: string): string {
    const locals = [...this.#locals].map(([name, type]) => `(local ${name} ${type})`);
    return [`(func ${header}`, locals.join(" "), ...this.#blocks[0]!, ")"].join("\n");
  }
}
