/** WGSL text of scalar expressions and indices, within nested scopes of local names. @module */
import {
  type Expr,
  nodesOf,
  type ScalarFn,
  scalarFns,
  type ScalarType,
  scalarType,
  varsOf,
} from "../ir/expr.ts";
import { type Atom, type Cond, type Ix, ixAdd, ixConst } from "../ir/ix.ts";
import type { Kernel, Store } from "./kernel.ts";
import { functionTexts, literal } from "./wgsl_functions.ts";
import {
  accessors,
  convert,
  declaration,
  loadText,
  storeText,
  type View,
  type WgslLimits,
  wideLoadText,
  wideStoreText,
} from "./wgsl_memory.ts";
import { TURN } from "./wgsl_sine.ts";

/** Names of WGSL's numbers that a letter and a counter could make. */
const TYPE = /^[iuf](8|16|32|64)$/;

/** A kernel's text in the making: what is shared by all of its scopes. */
export class Module {
  /** Workgroup variables and functions. */
  readonly globals: string[] = [];
  #names = 0;
  readonly #helpers = new Set<string>();

  constructor(readonly kernel: Kernel, readonly limits: WgslLimits) {}

  /** A name not used before, and not that of a type: `i32` would hide it. */
  fresh(prefix: string): string {
    const name = `${prefix}${this.#names++}`;
    return TYPE.test(name) ? this.fresh(prefix) : name;
  }

  /** Add a function once. */
  helper(text: string): void {
    if (!this.#helpers.has(text)) this.globals.push(text);
    this.#helpers.add(text);
  }

  /** Slots accessed four elements at a time. */
  wide: ReadonlySet<number> = new Set();

  view(number: number): View {
    return { slot: this.kernel.slots[number]!, number, f16: this.limits.f16, wide: this.wide.has(number) };
  }

  load(slot: number, at: string, type: ScalarType): string {
    return loadText(this.view(slot), at, type);
  }

  /** Elements `4 · at` to `4 · at + 3` of a wide slot, a vector. */
  wideLoad(slot: number, at: string): string {
    return wideLoadText(this.view(slot), at);
  }

  store(slot: number, at: string, value: string, type: ScalarType): string {
    return storeText(this.view(slot), at, value, type);
  }

  /** Extensions of the language that the kernel needs, beyond f16 for its buffers. */
  directives: readonly string[] = [];

  /** What comes first. */
  extensions(): string[] {
    const halves = this.limits.f16 && this.kernel.slots.some((s) => s.dtype === "f16") ? ["enable f16;"] : [];
    return [...new Set([...halves, ...this.directives])];
  }

  /** Declarations of the slots, in order. */
  declarations(): string[] {
    return this.#views().map(declaration);
  }

  /** Functions and workgroup variables. */
  definitions(): string[] {
    return [...accessors(this.#views()), ...this.globals];
  }

  /** Everything before the entry point. */
  preamble(): string[] {
    return [...this.extensions(), ...this.declarations(), ...this.definitions()];
  }

  #views(): View[] {
    return this.kernel.slots.map((_, i) => this.view(i));
  }
}

/** Components of a vector. */
export const PARTS = ["x", "y", "z", "w"] as const;

/** Values by name that expressions in a scope may use. */
export interface Names {
  /** WGSL text of loop variables, each a u32. */
  readonly vars?: Readonly<Record<string, string>>;
  /** WGSL text of accumulators, of each of four neighbours where they differ. */
  readonly accs?: ReadonlyMap<number, string | readonly string[]>;
}

/** A block of statements; inner scopes see the names of outer ones. */
export class Scope {
  readonly lines: string[] = [];
  readonly #known = new Map<string | Expr, string>();
  readonly #vars: Readonly<Record<string, string>>;
  readonly #accs: Map<number, string | readonly string[]>;
  #shared: ReadonlySet<Expr> = new Set();
  /** Which of four neighbours is being computed; names of what they share are found by all. */
  #lane = 0;
  /** Names of calls that each neighbour has a value of, as they use accumulators; their expressions may be one object. */
  readonly #own: readonly Map<string | Expr, string>[] = Array.from({ length: 4 }, () => new Map());

  constructor(readonly module: Module, names: Names = {}, readonly parent: Scope | null = null) {
    this.#vars = { ...(parent ? parent.#vars : {}), ...names.vars };
    this.#accs = new Map([...(parent ? parent.#accs : []), ...(names.accs ?? [])]);
  }

  /** Append a statement. */
  line(...text: string[]): void {
    this.lines.push(...text);
  }

  /** Append `header { … }`. */
  block(header: string, names: Names, body: (inner: Scope) => void): void {
    const inner = new Scope(this.module, names, this);
    body(inner);
    this.lines.push(`${header}${header ? " " : ""}{`, ...inner.lines.map((l) => `  ${l}`), "}");
  }

  /** Statements that see further names, without a block of their own. */
  nested(names: Names, body: (inner: Scope) => void): void {
    const inner = new Scope(this.module, names, this);
    body(inner);
    this.lines.push(...inner.lines);
  }

  /** From here on accumulator `id` is the local `name`. */
  define(id: number, name: string): void {
    this.#accs.set(id, name);
  }

  /** Compute here what does not depend on names that only inner scopes have. */
  hoist(roots: readonly Expr[]): void {
    const ready = (e: Expr): boolean =>
      [...varsOf(e)].every((v) => v in this.#vars) &&
      nodesOf([e]).every((n) => n.kind !== "acc" || this.#accs.has(n.id));
    const visit = (e: Expr): void => {
      if (e.kind !== "call" && e.kind !== "load") return;
      if (ready(e)) this.#bind(e, this.value(e));
      else if (e.kind === "call") e.args.forEach(visit);
    };
    this.#shared = sharedNodes(roots);
    roots.forEach(visit);
  }

  /** Texts of several values; subexpressions that they share are computed once. */
  values(roots: readonly Expr[]): string[] {
    this.#shared = sharedNodes(roots);
    return roots.map((e) => this.value(e));
  }

  /** Texts of values for each of four neighbours. */
  lanes(roots: readonly (readonly Expr[])[]): string[][] {
    return roots.map((of, lane) => this.#inLane(lane, () => this.values(of)));
  }

  /** Values of four neighbours as a `vec4<f16>`; halves that are only loaded stay as they are. */
  halves(values: readonly Expr[]): string {
    const [first] = values, view = first?.kind === "load" ? this.module.view(first.slot) : null;
    const isStored = view !== null && view.wide && view.f16 && view.slot.dtype === "f16" &&
      values.every((v) => v.kind === "load" && v.slot === view.number);
    if (isStored && first?.kind === "load") return `s${view.number}[${this.ix(quarter(first.ix))}]`;
    return `vec4<f16>(vec4f(${this.lanes(values.map((v) => [v])).flat().join(", ")}))`;
  }

  /** Statements that store, by neighbour; all values come first, as they may read what a store overwrites. */
  storing(lanes: readonly (readonly Store[])[]): string[] {
    const values = this.lanes(lanes.map((stores) => stores.map((s) => s.value)));
    const indices = lanes.map((of, lane) => this.#inLane(lane, () => of.map((s) => this.#place(s))));
    return lanes[0]!.flatMap(({ slot, value: { type } }, i) => {
      const view = this.module.view(slot);
      if (view.wide) return [wideStoreText(view, indices[0]![i]!, values.map((v) => v[i]!), type)];
      return values.map((v, lane) => storeText(view, indices[lane]![i]!, v[i]!, type));
    });
  }

  #inLane<T>(lane: number, body: () => T): T {
    this.#lane = lane;
    const result = body();
    this.#lane = 0;
    return result;
  }

  /** Where a store goes: the number of the vector in a wide slot. */
  #place({ slot, ix }: Store): string {
    return this.ix(this.module.wide.has(slot) ? quarter(ixAdd(ix, ixConst(-this.#lane))) : ix);
  }

  /** Append the stores. */
  stores(stores: readonly Store[]): void {
    this.line(...this.storing([stores]));
  }

  /** The text of a value; loads and shared subexpressions become locals. */
  value(e: Expr): string {
    switch (e.kind) {
      case "const":
        return literal(e.value, e.type);
      case "index":
        return `i32(${this.ix(e.ix)})`;
      case "acc": {
        const name = this.#accs.get(e.id);
        if (name === undefined) {
          throw new Error(`Accumulator ${e.id} of ${this.module.kernel.name} is used before it is computed.`);
        }
        return typeof name === "string" ? name : name[this.#lane]!;
      }
      case "load": {
        if (this.module.wide.has(e.slot)) return this.#wideLoad(e);
        const key = `s${e.slot}[${e.ix.key}]:${e.type}${
          e.valid.map((c) => `?${c.ix.key}:${c.lo}:${c.hi}`).join("")
        }`;
        return this.#find(key) ?? this.#let(key, "x", this.#load(e));
      }
      case "call": {
        const own = this.#shared.has(e) && this.#differs(e) ? this.#own[this.#lane]! : null;
        const known = own ? own.get(e) : this.#find(e);
        if (known !== undefined) return known;
        const text = this.#call(e);
        if (own) return this.#let(e, "t", text, own);
        return this.#shared.has(e) ? this.#let(e, "t", text) : text;
      }
    }
  }

  /** The text of an index, a u32. */
  ix(ix: Ix): string {
    // Arithmetic is modulo 2³², so that a negative part does no harm as long as the whole is not negative.
    const terms = [...ix.terms].sort((a, b) => Number(b.coef > 0) - Number(a.coef > 0));
    let text = "";
    for (const { coef, atom } of terms) {
      const size = Math.abs(coef);
      const product = size === 1 ? this.#atom(atom) : `${this.#atom(atom)} * ${size}u`;
      text = text ? `${text} ${coef > 0 ? "+" : "-"} ${product}` : coef > 0 ? product : `0u - ${product}`;
    }
    if (!text) return ix.constant < 0 ? `(0u - ${-ix.constant}u)` : `${ix.constant}u`;
    if (ix.constant !== 0) text += ix.constant > 0 ? ` + ${ix.constant}u` : ` - ${-ix.constant}u`;
    return text.includes(" ") ? `(${text})` : text;
  }

  #atom(atom: Atom): string {
    if (atom.kind === "var") {
      const name = this.#vars[atom.name];
      if (name === undefined) {
        throw new Error(`Loop variable ${atom.name} of ${this.module.kernel.name} is not in scope.`);
      }
      return name;
    }
    const known = this.#find(atom.key);
    if (known !== undefined) return known;
    if (atom.kind === "value") {
      return this.#let(atom.key, "i", `min(u32(${this.value(atom.of)}), ${atom.hi}u)`);
    }
    return this.#let(atom.key, "i", `${this.ix(atom.of)} ${atom.kind === "div" ? "/" : "%"} ${atom.by}u`);
  }

  #load({ slot, ix, valid, type }: Extract<Expr, { kind: "load" }>): string {
    const conditions = valid.map((c) => this.#holds(c)).filter((text) => text !== "true");
    if (conditions.length === 0) return this.module.load(slot, this.ix(ix), type);
    const holds = this.#let(`?${conditions.join()}`, "v", conditions.join(" && "));
    return `select(${literal(0, type)}, ${
      this.module.load(slot, `select(0u, ${this.ix(ix)}, ${holds})`, type)
    }, ${holds})`;
  }

  /** One of four neighbours that are loaded together. */
  #wideLoad({ slot, ix, type }: Extract<Expr, { kind: "load" }>): string {
    const view = this.module.view(slot);
    const at = quarter(ixAdd(ix, ixConst(-this.#lane)));
    const key = `s${slot}[4*${at.key}]`;
    const name = this.#find(key) ?? this.#let(key, "x", wideLoadText(view, this.ix(at)));
    return convert(`${name}.${PARTS[this.#lane]}`, scalarType(view.slot.dtype), type);
  }

  /** One unsigned comparison checks both ends. */
  #holds({ ix, lo, hi }: Cond): string {
    if (ix.lo >= lo && ix.hi < hi) return "true";
    if (hi <= lo) return "false";
    const at = this.ix(ix);
    return lo === 0 ? `(${at} < ${hi}u)` : `((${at} ${lo < 0 ? "+" : "-"} ${Math.abs(lo)}u) < ${hi - lo}u)`;
  }

  #call(e: Extract<Expr, { kind: "call" }>): string {
    const constants = e.args.flatMap((a) => (a.kind === "const" ? [a.value] : []));
    if (constants.length === e.args.length) {
      const { eval: evaluate }: ScalarFn = scalarFns[e.fn];
      return literal(evaluate(...constants), e.type);
    }
    if (e.fn === "sin" || e.fn === "cos") this.module.helper(TURN);
    return functionTexts[e.fn](...e.args.map((a) => this.value(a)));
  }

  #find(key: string | Expr): string | undefined {
    return this.#known.get(key) ?? (this.parent ? this.parent.#find(key) : undefined);
  }

  #let(key: string | Expr, prefix: string, text: string, into = this.#known): string {
    const name = this.module.fresh(prefix);
    this.lines.push(`let ${name} = ${text};`);
    into.set(key, name);
    return name;
  }

  /** Whether a value uses an accumulator that each neighbour has its own of. */
  #differs(e: Expr): boolean {
    return nodesOf([e]).some((n) => n.kind === "acc" && Array.isArray(this.#accs.get(n.id)));
  }

  #bind(e: Expr, text: string): void {
    if (e.kind === "call" && this.#find(e) === undefined) this.#let(e, "t", text);
  }
}

/** A quarter of an index that is a multiple of 4. */
function quarter(ix: Ix): Ix {
  const terms = ix.terms.map(({ coef, atom }) => ({ coef: coef / 4, atom }));
  return { constant: ix.constant / 4, terms, key: ix.key, lo: ix.lo / 4, hi: ix.hi / 4 };
}

/** Calls with more than one user among the roots. */
function sharedNodes(roots: readonly Expr[]): Set<Expr> {
  const seen = new Set<Expr>(), shared = new Set<Expr>();
  const use = (e: Expr): void => {
    if (seen.has(e)) shared.add(e);
    seen.add(e);
  };
  roots.forEach(use);
  for (const e of nodesOf(roots)) if (e.kind === "call") e.args.forEach(use);
  return shared;
}
