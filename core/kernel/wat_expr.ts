/**
 * Values in WebAssembly: indices, expressions and stores, one element at a time or four lanes along one loop variable.
 * Equal subexpressions are computed once, at the outermost loop where they are known. @module
 */
import { bytesOf } from "../ir/aval.ts";
import { type Expr, type ScalarType, scalarType, substitute } from "../ir/expr.ts";
import { type Atom, type Cond, type Ix, ixAdd, ixConst, ixScale, ixSubstitute } from "../ir/ix.ts";
import type { Slot, Store } from "./kernel.ts";
import { get, i32, i32x4, sum, times, type WatFunction } from "./wat_code.ts";
import { type Address, loadLanes, loadOne, narrow, storeLanes, storeOne } from "./wat_memory.ts";
import { laneOperation, literal, scalarOperation, splat, watType } from "./wat_ops.ts";

/** Four lanes along the loop variable `name`, at `base`, `base + 1`, … */
export interface Lane {
  readonly name: string;
  readonly base: Ix;
}

interface Accumulator {
  readonly code: string;
  readonly vars: readonly string[];
  readonly level: number;
}

type Load = Extract<Expr, { kind: "load" }>;

/** Prints values into `fn`; loop variables are those that `fn` has open. */
export class Values {
  readonly #accumulators = new Map<number, Accumulator>();
  #lane: Lane | null = null;
  readonly #ids = new Map<string, number>();
  readonly #idOf = new Map<Expr, number>();
  readonly #varsOf = new Map<Expr, ReadonlySet<string>>();

  constructor(readonly fn: WatFunction, readonly slots: readonly Slot[]) {}

  /** Run `body` with lanes. */
  withLane(lane: Lane, body: () => void): void {
    const outer = this.#lane;
    this.#lane = lane;
    body();
    this.#lane = outer;
  }

  /**
   * From here on accumulator `id` is `code`: lanes, where the variable of the lanes is among the loop variables `vars`
   * that it depends on. It is known from `level` on, which is the current one unless said.
   */
  setAccumulator(id: number, code: string, vars: readonly string[], level: number = this.fn.level): void {
    this.#accumulators.set(id, { code, vars, level });
  }

  /** Text of an index, which must not depend on the lanes' variable. */
  at(ix: Ix): string {
    return sum([this.#sum(i32(0), "", ix.terms), i32(ix.constant)]);
  }

  /** Text of the address of element `ix` of a slot. */
  address(slot: number, ix: Ix): string {
    const { code, offset } = this.#address(slot, ix);
    return sum([code, i32(offset)]);
  }

  /** Text of one value. */
  scalar(e: Expr): string {
    if (e.kind === "const") return literal(e.value, e.type, false);
    if (e.kind === "acc") return this.#accumulator(e.id).code;
    const key = `s${this.#id(e)}`;
    const level = this.#levelOf(this.#vars(e));
    return this.fn.bound(key, level) ?? this.fn.bind(key, level, watType(e.type), this.#scalarText(e));
  }

  #scalarText(e: Exclude<Expr, { kind: "const" | "acc" }>): string {
    if (e.kind === "index") return this.at(e.ix);
    if (e.kind === "call") {
      const args = e.args.map((a) => this.scalar(a));
      return scalarOperation(
        { fn: e.fn, type: e.type, types: e.args.map((a) => a.type), args },
        this.fn.calls,
      );
    }
    const slot = this.#slot(e.slot);
    const value = this.#convert(
      loadOne(slot.dtype, this.#address(e.slot, e.ix), this.fn.calls),
      slot,
      e.type,
      false,
    );
    const valid = e.valid.filter(isOpen).map((c) => this.#holds(c));
    if (valid.length === 0) return value;
    const all = valid.reduce((a, b) => `(i32.and ${a} ${b})`);
    return `(if (result ${watType(e.type)}) ${all} (then ${value}) (else ${literal(0, e.type, false)}))`;
  }

  /** Text of a value in four lanes. */
  vector(e: Expr): string {
    const lane = this.#lane;
    const vars = this.#vars(e);
    if (!lane || !vars.has(lane.name)) {
      const code = splat(this.scalar(e), e.type);
      return this.fn.bind(`p${code}`, this.#levelOf(vars), "v128", code);
    }
    if (e.kind === "acc") return this.#accumulator(e.id).code;
    const key = `v${this.#id(e)}@${lane.base.key}`;
    const level = this.#levelOf(vars);
    return this.fn.bound(key, level) ?? this.fn.bind(key, level, "v128", this.#vectorText(e, lane));
  }

  #vectorText(e: Expr, lane: Lane): string {
    if (e.kind === "index") {
      const steps = steady(this.#spread(e.ix));
      if (steps === null) return this.#laneByLane(e, lane);
      const first = splat(this.at(this.#spread(e.ix)[0]), "i32");
      return `(i32x4.add ${first} ${i32x4([0, steps, 2 * steps, 3 * steps])})`;
    }
    if (e.kind === "load") return this.#vectorLoad(e, lane);
    if (e.kind !== "call") throw new Error(`A ${e.kind} does not depend on lanes.`);
    const isShift = e.fn === "shl" || e.fn === "shr";
    if (isShift && this.#vars(e.args[1]!).has(lane.name)) return this.#laneByLane(e, lane);
    const args = e.args.map((a, i) => (isShift && i === 1 ? this.scalar(a) : this.vector(a)));
    return laneOperation({ fn: e.fn, type: e.type, types: e.args.map((a) => a.type), args }, this.fn.calls);
  }

  #vectorLoad(e: Load, lane: Lane): string {
    const slot = this.#slot(e.slot);
    const conditions: string[] = [];
    for (const cond of e.valid.filter(isOpen)) {
      const first = { ...cond, ix: this.#spread(cond.ix)[0] };
      if (!sameInLanes(this.#spread(cond.ix), cond)) return this.#laneByLane(e, lane);
      if (isOpen(first)) conditions.push(this.#holds(first));
    }
    const places = this.#spread(e.ix);
    const step = steady(places);
    const bytes = bytesOf(slot.dtype);
    const addresses = places.map((ix, l) => {
      if (step === null || step < 0) return this.#address(e.slot, ix);
      const first = this.#address(e.slot, places[0]);
      return { ...first, offset: first.offset + l * step * bytes };
    });
    const value = this.#convert(loadLanes(slot.dtype, step, addresses, this.fn.calls), slot, e.type, true);
    if (conditions.length === 0) return value;
    const all = conditions.reduce((a, b) => `(i32.and ${a} ${b})`);
    return `(if (result v128) ${all} (then ${value}) (else ${i32x4([0, 0, 0, 0])}))`;
  }

  /** The value of each lane on its own, put together. */
  #laneByLane(e: Expr, lane: Lane): string {
    const single = [0, 1, 2, 3].map((l) => this.scalar(substitute(e, this.#lanePlace(lane, l))));
    const shape = e.type === "f32" ? "f32x4" : "i32x4";
    const asLane = (code: string): string => (e.type === "bool" ? `(i32.sub ${i32(0)} ${code})` : code);
    return single.slice(1).reduce(
      (v, code, l) => `(${shape}.replace_lane ${l + 1} ${v} ${asLane(code)})`,
      splat(single[0]!, e.type),
    );
  }

  /** Store values at the current element (or lanes); all are computed before the first is stored. */
  store(stores: readonly Store[], lanes: boolean): void {
    const values = stores.map((s) => this.#converted(s, lanes));
    stores.forEach((s, i) => {
      const slot = this.#slot(s.slot);
      if (!lanes) {
        return this.fn.line(storeOne(slot.dtype, this.#address(s.slot, s.ix), values[i]!, this.fn.calls));
      }
      const places = this.#spread(s.ix);
      const step = steady(places);
      const addresses = step === 1
        ? [this.#address(s.slot, places[0])]
        : places.map((ix) => this.#address(s.slot, ix));
      const bits = this.fn.keep("v128", narrow(slot.dtype, values[i]!, this.fn.calls));
      for (const line of storeLanes(slot.dtype, addresses, bits)) this.fn.line(line);
    });
  }

  #converted(s: Store, lanes: boolean): string {
    const from = s.value.type, to = scalarType(this.#slot(s.slot).dtype);
    const value = lanes ? this.vector(s.value) : this.scalar(s.value);
    const code = convert(value, from, to, lanes, this.fn.calls);
    // In memory a bool is 0 or 1.
    if (to === "bool" && lanes) return this.fn.keep("v128", `(v128.and ${code} ${i32x4([1, 1, 1, 1])})`);
    return code === value ? value : this.fn.keep(lanes ? "v128" : watType(to), code);
  }

  #convert(code: string, slot: Slot, to: ScalarType, lanes: boolean): string {
    const from = scalarType(slot.dtype);
    if (from === "bool" && lanes) {
      const mask = `(i32x4.ne ${code} ${i32x4([0, 0, 0, 0])})`;
      return convert(mask, "bool", to, true, this.fn.calls);
    }
    return convert(code, from, to, lanes, this.fn.calls);
  }

  #accumulator(id: number): Accumulator {
    const found = this.#accumulators.get(id);
    if (!found) throw new Error(`Accumulator ${id} is used before it is computed.`);
    return found;
  }

  #slot(slot: number): Slot {
    const found = this.slots[slot];
    if (!found) throw new Error(`The kernel uses slot ${slot} and has ${this.slots.length}.`);
    return found;
  }

  #address(slot: number, ix: Ix): Address {
    const bytes = bytesOf(this.#slot(slot).dtype);
    const terms = ix.terms.map(({ coef, atom }) => ({ coef: coef * bytes, atom }));
    const base = get(`$s${slot}`);
    // The offset of a load does not wrap around, so it may only be added to what is a valid address by itself.
    const rising = ix.constant >= 0 && ix.terms.every((t) => t.coef > 0 && t.atom.lo >= 0);
    if (rising) return { code: this.#sum(base, `a${slot}`, terms), offset: ix.constant * bytes };
    const key = `a${slot}+${ix.constant}`;
    const start = this.fn.bind(key, 0, "i32", sum([base, i32(ix.constant * bytes)]));
    return { code: this.#sum(start, key, terms), offset: 0 };
  }

  /** `start + Σ coef · atom`, partial sums bound at the level at which they are known. */
  #sum(start: string, startKey: string, terms: Ix["terms"]): string {
    const leveled = terms.map((t) => ({ ...t, level: this.#levelOf(this.#atomVars(t.atom)) }));
    let code = start, key = startKey;
    for (const level of [...new Set(leveled.map((t) => t.level))].sort((a, b) => a - b)) {
      const here = leveled.filter((t) => t.level === level);
      key += here.map((t) => `+${t.coef}*${t.atom.key}`).join("");
      const known = this.fn.bound(key, level);
      code = known ??
        this.fn.bind(key, level, "i32", sum([code, ...here.map((t) => times(this.#atom(t.atom), t.coef))]));
    }
    return code;
  }

  #atom(atom: Atom): string {
    if (atom.kind === "var") return this.fn.variable(atom.name);
    const level = this.#levelOf(this.#atomVars(atom));
    const key = `i${atom.key}`;
    const known = this.fn.bound(key, level);
    if (known) return known;
    if (atom.kind === "value") {
      // An index from outside must not reach other memory.
      const value = this.scalar(atom.of), most = i32(atom.hi);
      return this.fn.bind(key, level, "i32", `(select ${value} ${most} (i32.lt_u ${value} ${most}))`);
    }
    const of = this.at(atom.of), log = Math.log2(atom.by), isPower = Number.isInteger(log);
    const text = atom.kind === "div"
      ? isPower ? `(i32.shr_u ${of} ${i32(log)})` : `(i32.div_u ${of} ${i32(atom.by)})`
      : isPower
      ? `(i32.and ${of} ${i32(atom.by - 1)})`
      : `(i32.rem_u ${of} ${i32(atom.by)})`;
    return this.fn.bind(key, level, "i32", text);
  }

  #holds({ ix, lo, hi }: Cond): string {
    const at = this.at(ix);
    return `(i32.lt_u ${lo === 0 ? at : `(i32.sub ${at} ${i32(lo)})`} ${i32(hi - lo)})`;
  }

  /** The index in each lane. */
  #spread(ix: Ix): readonly [Ix, Ix, Ix, Ix] {
    const lane = this.#lane!;
    const at = (l: number): Ix =>
      ixSubstitute(
        ix,
        this.#lanePlace(lane, l),
        (of) => this.#vars(of).has(lane.name) ? substitute(of, this.#lanePlace(lane, l)) : of,
      );
    return [at(0), at(1), at(2), at(3)];
  }

  #lanePlace(lane: Lane, l: number): ReadonlyMap<string, Ix> {
    return new Map([[lane.name, ixAdd(lane.base, ixConst(l))]]);
  }

  #id(e: Expr): number {
    const known = this.#idOf.get(e);
    if (known !== undefined) return known;
    const key = e.kind === "call"
      ? `${e.fn}:${e.type} ${e.args.map((a) => this.#id(a))}`
      : e.kind === "load"
      ? `load:${e.type} ${e.slot} ${e.ix.key} ${e.valid.map((c) => `${c.lo}<=${c.ix.key}<${c.hi}`)}`
      : e.kind === "const"
      ? `${Object.is(e.value, -0) ? "-0" : e.value}:${e.type}`
      : e.kind === "index"
      ? `index ${e.ix.key}`
      : `acc ${e.id}`;
    const id = this.#ids.get(key) ?? this.#ids.size;
    this.#ids.set(key, id);
    this.#idOf.set(e, id);
    return id;
  }

  /** Loop variables that `e` depends on, through accumulators and memory reads too. */
  #vars(e: Expr): ReadonlySet<string> {
    const known = this.#varsOf.get(e);
    if (known) return known;
    const names = new Set<string>();
    const add = (more: Iterable<string>): void => {
      for (const name of more) names.add(name);
    };
    if (e.kind === "call") e.args.forEach((a) => add(this.#vars(a)));
    else if (e.kind === "acc") add([...this.#accumulator(e.id).vars, `acc ${e.id}`]);
    else if (e.kind === "index") add(this.#ixVars(e.ix));
    else if (e.kind === "load") [e.ix, ...e.valid.map((c) => c.ix)].forEach((ix) => add(this.#ixVars(ix)));
    this.#varsOf.set(e, names);
    return names;
  }

  #ixVars(ix: Ix): string[] {
    return ix.terms.flatMap((t) => [...this.#atomVars(t.atom)]);
  }

  #atomVars(atom: Atom): Iterable<string> {
    if (atom.kind === "var") return [atom.name];
    return atom.kind === "value" ? this.#vars(atom.of) : this.#ixVars(atom.of);
  }

  #levelOf(vars: Iterable<string>): number {
    let level = 0;
    for (const name of vars) {
      const lane = this.#lane?.name === name ? this.#ixVars(this.#lane.base) : [name];
      const accumulator = name.startsWith("acc ") ? this.#accumulator(Number(name.slice(4))).level : 0;
      level = Math.max(level, accumulator, ...lane.map((n) => this.fn.levelOf(n)));
    }
    return level;
  }
}

/** The difference of neighbouring lanes where it is one number, otherwise null. */
function steady(lanes: readonly [Ix, Ix, Ix, Ix]): number | null {
  const step = ixAdd(lanes[1], ixScale(lanes[0], -1));
  if (step.terms.length > 0) return null;
  const follows = lanes.every((ix, l) => ixAdd(lanes[0], ixConst(l * step.constant)).key === ix.key);
  return follows ? step.constant : null;
}

function isOpen({ ix, lo, hi }: Cond): boolean {
  return ix.lo < lo || ix.hi >= hi;
}

/** Whether a condition holds in all four lanes or in none. */
function sameInLanes(lanes: readonly [Ix, Ix, Ix, Ix], { lo, hi }: Cond): boolean {
  const step = steady(lanes);
  if (step === 0) return true;
  const by4 = (n: number): boolean => n % 4 === 0;
  const [first] = lanes;
  return step === 1 && first.terms.every((t) => by4(t.coef)) && by4(lo - first.constant) &&
    by4(hi - first.constant);
}

function convert(code: string, from: ScalarType, to: ScalarType, lanes: boolean, calls: Set<string>): string {
  if (from === to) return code;
  if (to === "bool") {
    const type = lanes ? (from === "f32" ? "f32x4" : "i32x4") : watType(from);
    return `(${type}.ne ${code} ${literal(0, from, lanes)})`;
  }
  const fn = to === "f32" ? "toF32" : to === "i32" ? "toI32" : "toU32";
  return (lanes ? laneOperation : scalarOperation)({ fn, type: to, types: [from], args: [code] }, calls);
}
