/** Plans as text and back: every object once, so that what kernels share stays shared. @module */
import type { Plan } from "./plan.ts";

/** A number or text as it is, another object by its place in the list. */
type Item = number | string | boolean | null | readonly [place: number] | { readonly n: string };
/** An array, or an object's fields. */
type Entry = { readonly a: readonly Item[] } | {
  readonly o: readonly (readonly [key: string, item: Item])[];
};

/** A plan as text. */
export function writePlan(plan: Plan): string {
  const places = new Map<object, number>();
  const entries: Entry[] = [];
  const item = (x: unknown): Item => {
    if (typeof x === "number") {
      return Number.isFinite(x) && !Object.is(x, -0) ? x : { n: Object.is(x, -0) ? "-0" : `${x}` };
    }
    if (typeof x === "string" || typeof x === "boolean" || x === null) return x;
    if (typeof x === "object") return [place(x)];
    throw new TypeError(`A plan holds a ${typeof x}, which has no text.`);
  };
  const place = (x: object): number => {
    const known = places.get(x);
    if (known !== undefined) return known;
    const entry: Entry = Array.isArray(x)
      ? { a: x.map(item) }
      : { o: Object.entries(x).filter(([, v]) => v !== undefined).map(([k, v]) => [k, item(v)] as const) };
    // Behind what it is made of, so that reading makes one pass.
    places.set(x, entries.push(entry) - 1);
    return entries.length - 1;
  };
  place(plan);
  return JSON.stringify(entries);
}

/** The plan of a text that {@linkcode writePlan} made. Throws SyntaxError for any other text. */
export function readPlan(text: string): Plan {
  const entries: unknown = JSON.parse(text);
  const bad = (): SyntaxError => new SyntaxError("not the text of a plan");
  if (!Array.isArray(entries)) throw bad();
  const made: unknown[] = [];
  const value = (x: Item): unknown => {
    if (typeof x !== "object" || x === null) return x;
    if ("n" in x) return Number(x.n);
    if (!(x[0] < made.length)) throw bad();
    return made[x[0]];
  };
  for (const entry of entries as readonly Entry[]) {
    if (typeof entry !== "object" || entry === null) throw bad();
    if ("a" in entry) made.push(entry.a.map(value));
    else if ("o" in entry) made.push(Object.fromEntries(entry.o.map(([key, x]) => [key, value(x)])));
    else throw bad();
  }
  const plan = made.at(-1);
  if (!isPlan(plan)) throw bad();
  return plan;
}

function isPlan(x: unknown): x is Plan {
  return typeof x === "object" && x !== null &&
    ["inputs", "outputs", "buffers", "kernels", "steps"].every((key) => Array.isArray(Reflect.get(x, key)));
}
