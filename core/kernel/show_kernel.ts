/** Kernels in print: complete, so that equal text means equal kernels. @module */
import { type Expr, type FnName, scalarType } from "../ir/expr.ts";
import type { Atom, Cond, Ix, Var } from "../ir/ix.ts";
import type { Scores } from "../ir/lowering.ts";
import type { Form, Kernel, Slot, Store } from "./kernel.ts";

/** The kernel as text: slots, loops, values (those used twice are named first), conditions and stores. */
export function showKernel(kernel: Kernel): string {
  return `kernel ${kernel.name}\n${kernelKey(kernel)}`;
}

/** The text without the kernel's name: kernels with equal keys do the same and can share one compilation. */
export function kernelKey({ slots, body }: Kernel): string {
  const declared = slots.map(({ access, dtype }, i) => `s${i} ${access} ${dtype}`).join(", ");
  return [`  ${declared}`, ...new Printer(slots).body(body).map((line) => `  ${line}`)].join("\n");
}

/** A piece of text and how tightly it binds. */
interface Text {
  readonly text: string;
  readonly binds: number;
}

const ATOM = 9;

const INFIX: Partial<Record<FnName, { readonly sign: string; readonly binds: number }>> = {
  or: { sign: "||", binds: 1 },
  and: { sign: "&&", binds: 2 },
  eq: { sign: "==", binds: 3 },
  lt: { sign: "<", binds: 4 },
  le: { sign: "<=", binds: 4 },
  add: { sign: "+", binds: 5 },
  sub: { sign: "-", binds: 5 },
  mul: { sign: "*", binds: 6 },
  div: { sign: "/", binds: 6 },
};

/** Prints one kernel; names of shared values count through it. */
class Printer {
  #named = 0;

  constructor(readonly slots: readonly Slot[]) {}

  body(form: Form): string[] {
    switch (form.form) {
      case "row": {
        const reduces = form.reduces.flatMap(({ id, combine, inner, value }) =>
          this.#value(`a${id} = ${combine} over ${showVars(inner)}`, ": ", value)
        );
        const elements = this.#stores(form.stores);
        const loop = elements.length > 0 ? [`for ${showVars(form.inner)}`, ...indent(elements)] : [];
        return [
          `row ${showVars(form.outer)}`,
          ...indent([...reduces, ...this.#stores(form.rowStores), ...loop]),
        ];
      }
      case "contract": {
        const terms = form.terms.flatMap(({ inner, left, right }) => {
          const { lets, texts } = this.#values([left, right]);
          const product = texts.map((t) => within(t, INFIX.mul!.binds + 1)).join(" . ");
          return block(`a0 += over ${showVars(inner)}`, ": ", lets, product);
        });
        const axes = [["batch", form.batch], ["row", form.row], ["col", form.col]] as const;
        const head = axes.map(([name, vars]) => `${name} ${showVars(vars)}`).join(", ");
        return [`contract ${head}`, ...indent([...terms, ...this.#stores(form.stores)])];
      }
      case "stages":
        return [
          `stages${form.transposed ? " transposed" : ""} ${showStages(form)}`,
          ...indent([...this.#value("x", " = ", form.x), ...this.#stores(form.stores)]),
        ];
      case "stagesGrad":
        return [
          `stagesGrad ${showStages(form)} into s${form.out}`,
          ...indent([...this.#value("x", " = ", form.x), ...this.#value("ct", " = ", form.ct)]),
        ];
      case "solve": {
        const system = showVars([form.row, form.inner, form.col]);
        const operands = [...this.#value("A", " = ", form.a), ...this.#value("B", " = ", form.b)];
        return [
          `solve batch ${showVars(form.batch)}, row, inner, col ${system}`,
          ...indent([...operands, ...this.#stores(form.stores)]),
        ];
      }
      case "attention": {
        const { scores, segments, back, stores } = form;
        const axes = showVars([form.batch, form.head, form.group, form.query, form.key, form.feature]);
        const parts: [string, Expr][] = [["q", form.q], ["k", form.k], ["v", form.v]];
        if (segments) parts.push(["segment of query", segments[0]], ["segment of key", segments[1]]);
        if (back) parts.push(["logSumExp", back.logSumExp], ["delta", back.delta], ["ct", back.ct]);
        return [
          `attention ${axes}, ${showScores(scores)}`,
          ...indent([
            ...parts.flatMap(([name, value]) => this.#value(name, " = ", value)),
            ...stores.flatMap((s) => [`${s.result}:`, ...indent(this.#stores([s]))]),
          ]),
        ];
      }
      case "scatter": {
        const loops = `item ${showVars(form.item)}, column ${showVars(form.column)}`;
        const lines = [
          ...this.#value("index", " = ", form.index),
          ...this.#value("value", " = ", form.value),
        ];
        return [`scatter ${form.rows} rows, ${loops} into s${form.out}`, ...indent(lines)];
      }
    }
  }

  #value(head: string, join: string, value: Expr): string[] {
    const { lets, texts } = this.#values([value]);
    return block(head, join, lets, texts[0]!.text);
  }

  #stores(stores: readonly Store[]): string[] {
    const { lets, texts, ref } = this.#values(stores.map((s) => s.value), stores.map((s) => s.ix));
    return [...lets, ...stores.map(({ slot, ix }, i) => `s${slot}[${showIx(ix, ref)}] = ${texts[i]!.text}`)];
  }

  /** Text of values, shared parts as `v0 = …` lines before them. Equal parts are one, whatever objects they are. */
  #values(roots: readonly Expr[], indices: readonly Ix[] = []): { lets: string[]; texts: Text[]; ref: Ref } {
    const all = [...roots, ...indices.flatMap(valuesIn)];
    const keys = new Map<Expr, string>();
    const uses = new Map<string, number>();
    const use = (e: Expr): void => {
      const key = keys.get(e)!;
      uses.set(key, (uses.get(key) ?? 0) + 1);
    };
    const order = ordered(all);
    const numbers = new Map<string, number>();
    for (const e of order) {
      const key = this.#node(e, (arg) => ({ text: `#${numbers.get(keys.get(arg)!)}`, binds: ATOM })).text;
      keys.set(e, key);
      if (numbers.has(key)) continue;
      numbers.set(key, numbers.size);
      childrenOf(e).forEach(use);
    }
    all.forEach(use);
    const lets: string[] = [];
    const texts = new Map<string, Text>();
    const ref: Ref = (e) => texts.get(keys.get(e)!)!;
    for (const e of order) {
      const key = keys.get(e)!;
      if (texts.has(key)) continue;
      const text = this.#node(e, ref);
      const isShared = uses.get(key)! > 1 && (e.kind === "call" || e.kind === "load");
      texts.set(key, isShared ? { text: `v${this.#named}`, binds: ATOM } : text);
      if (isShared) lets.push(`v${this.#named++} = ${text.text}`);
    }
    return { lets, texts: roots.map(ref), ref };
  }

  #node(e: Expr, ref: Ref): Text {
    switch (e.kind) {
      case "const":
        return { text: showConstant(e.value, e.type), binds: ATOM };
      case "index":
        return { text: `index(${showIx(e.ix, ref)})`, binds: ATOM };
      case "acc":
        return { text: `a${e.id}${e.type === "f32" ? "" : `:${e.type}`}`, binds: ATOM };
      case "load": {
        const slot = this.slots[e.slot];
        const type = slot && scalarType(slot.dtype) === e.type ? "" : `:${e.type}`;
        const valid = e.valid.map((c) => showCond(c, ref)).join(" && ");
        return { text: `s${e.slot}[${showIx(e.ix, ref)}${valid && ` if ${valid}`}]${type}`, binds: ATOM };
      }
      case "call": {
        const infix = INFIX[e.fn];
        const [a, b] = e.args;
        if (!infix || !a || !b) {
          return { text: `${e.fn}(${e.args.map((x) => ref(x).text).join(", ")})`, binds: ATOM };
        }
        const { sign, binds } = infix;
        return { text: `${within(ref(a), binds)} ${sign} ${within(ref(b), binds + 1)}`, binds };
      }
    }
  }
}

/** The text of a part printed before. */
type Ref = (e: Expr) => Text;

/** `text`, in parentheses when it binds less than `binds`. */
function within({ text, binds: own }: Text, binds: number): string {
  return own < binds ? `(${text})` : text;
}

function indent(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function block(head: string, join: string, lets: readonly string[], value: string): string[] {
  return lets.length === 0 ? [head + join + value] : [`${head}:`, ...indent([...lets, value])];
}

function showVars(vars: readonly Var[]): string {
  return vars.length > 0 ? vars.map((v) => `${v.name}<${v.extent}`).join(" ") : "once";
}

function showScores({ scale, cap, causal, window, segmented }: Scores): string {
  return [
    `scale ${scale}`,
    ...(cap === null ? [] : [`cap ${cap}`]),
    ...(causal ? ["causal"] : []),
    ...(window === null ? [] : [`window ${window}`]),
    ...(segmented ? ["segments"] : []),
  ].join(" ");
}

function showStages(form: Extract<Form, { form: "stages" | "stagesGrad" }>): string {
  const stages = form.stages.map((s) => `radix ${s.radix} stride ${s.stride} piece ${s.piece}`).join("; ");
  return `outer ${showVars(form.outer)}, feature ${
    showVars([form.feature])
  }, coefficients s${form.coefficients} [${stages}]`;
}

/** A number of its type, so that different constants look different: `2.0`, `2i`, `2u`, `true`. */
function showConstant(value: number, type: Expr["type"]): string {
  if (type === "bool") return value ? "true" : "false";
  const digits = Object.is(value, -0) ? "-0" : String(value);
  if (type !== "f32") return digits + type[0];
  return Number.isInteger(value) && !digits.includes("e") ? `${digits}.0` : digits;
}

function showCond({ ix, lo, hi }: Cond, ref: Ref): string {
  return `${lo}<=${showIx(ix, ref)}<${hi}`;
}

/** An index; large strides first, so that it reads like the axes it runs over. */
function showIx({ constant, terms }: Ix, ref: Ref): string {
  const parts = terms.map(({ coef, atom }) => ({ coef, text: showAtom(atom, ref) }));
  parts.sort((a, b) => Math.abs(b.coef) - Math.abs(a.coef) || b.coef - a.coef || (a.text < b.text ? -1 : 1));
  const texts = parts.map(({ coef, text }) =>
    coef === 1 ? text : `${coef}*${/[/%]/.test(text) ? `(${text})` : text}`
  );
  if (constant !== 0 || texts.length === 0) texts.push(String(constant));
  return texts.join("+").replaceAll("+-", "-");
}

function showAtom(atom: Atom, ref: Ref): string {
  if (atom.kind === "var") return atom.name;
  if (atom.kind === "value") return `{${ref(atom.of).text} <= ${atom.hi}}`;
  const of = showIx(atom.of, ref);
  return `${/^\w+$/.test(of) ? of : `(${of})`}${atom.kind === "div" ? "/" : "%"}${atom.by}`;
}

/** Values that an index reads from memory. */
function valuesIn(ix: Ix): Expr[] {
  return ix.terms.flatMap(({ atom }) =>
    atom.kind === "value" ? [atom.of] : atom.kind === "var" ? [] : valuesIn(atom.of)
  );
}

function childrenOf(e: Expr): readonly Expr[] {
  if (e.kind === "call") return e.args;
  if (e.kind === "index") return valuesIn(e.ix);
  return e.kind === "load" ? [e.ix, ...e.valid.map((c) => c.ix)].flatMap(valuesIn) : [];
}

/** Every node under `roots` once, parts first, memory reads inside indices included. */
function ordered(roots: readonly Expr[]): Expr[] {
  const seen = new Set<Expr>();
  const visit = (e: Expr): void => {
    if (seen.has(e)) return;
    childrenOf(e).forEach(visit);
    seen.add(e);
  };
  roots.forEach(visit);
  return [...seen];
}
