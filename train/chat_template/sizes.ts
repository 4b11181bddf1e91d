/** How large values of a template are, and what comes of them by its filters and methods. @module */
import type { Interpreter } from "@huggingface/jinja";

/** A value of a template. */
export type Value = ReturnType<Interpreter["evaluate"]>;

/** A value with all that is in it; what is in it twice counts twice, as when it is written. */
export interface Size {
  /** Characters of texts and names, and two for each value. */
  readonly whole: number;
  /** Values within values. */
  readonly depth: number;
}

/** Items of a list or entries of a mapping; characters of a text; 1 for others. */
export function lengthOf({ value }: Value): number {
  if (typeof value === "string" || Array.isArray(value)) return value.length;
  return value instanceof Map ? value.size : 1;
}

/**
 * The size of a value. Sizes of lists and mappings are kept in `known`, but for those with a namespace in them, which
 * may change; `step` is called with the number of values that are gone through.
 */
export function sizeOfValue(value: Value, known: WeakMap<object, Size>, step: (n: number) => void): Size {
  /** Whether the size is one for good. */
  const measure = (value: Value): readonly [Size, boolean] => {
    const { value: inner } = value;
    if (typeof inner === "string") return [{ whole: inner.length + 2, depth: 0 }, true];
    if (!Array.isArray(inner) && !(inner instanceof Map)) return [{ whole: 24, depth: 0 }, true];
    const size = known.get(value);
    if (size) return [size, true];
    step(1 + lengthOf(value));
    let whole = 2, depth = 0, lasting = value.type !== "NamespaceValue";
    for (const [key, item] of inner.entries() as Iterable<[string | number, Value | undefined]>) {
      if (!item) continue;
      const [part, stays] = measure(item);
      whole += part.whole + (typeof key === "string" ? key.length + 4 : 2);
      depth = Math.max(depth, part.depth);
      lasting &&= stays;
    }
    const found = { whole, depth: depth + 1 };
    if (lasting) known.set(value, found);
    return [found, lasting];
  };
  return measure(value)[0];
}

/** Times that a text is found in another. */
function timesIn(text: string, part: string): number {
  if (part === "") return text.length + 1;
  let times = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + part.length)) times++;
  return times;
}

/**
 * A bound of the characters that a filter or method reads and writes.
 * @param args values of its arguments, named ones too; a list among them may be arguments to be spread
 */
export function growthOf(
  name: string,
  on: Value,
  args: readonly Value[],
  sizeOf: (value: Value) => Size,
): number {
  const flat = args.flatMap((arg) =>
    Array.isArray(arg.value)
      ? arg.value as Value[]
      : arg.value instanceof Map
      ? [...arg.value.values()] as Value[]
      : [arg]
  );
  const texts = flat.flatMap(({ value }) => typeof value === "string" ? [value] : []);
  const numbers = flat.flatMap(({ value }) => typeof value === "number" ? [value] : []);
  const text = typeof on.value === "string" ? on.value : null;
  const given = texts.reduce((n, t) => n + t.length, 0), number = Math.max(0, ...numbers), n = lengthOf(on);
  switch (name) {
    case "replace": {
      const [old = "", by = ""] = texts;
      return n + given + (text === null ? sizeOf(on).whole : timesIn(text, old) * by.length);
    }
    case "indent":
      return n + (text === null ? 0 : timesIn(text, "\n") + 1) * (number + 4);
    case "join":
      return sizeOf(on).whole + n * given;
    case "string":
    case "tojson": {
      const { whole, depth } = sizeOf(on);
      // A character can become \u0000; a value has a line of its own, indented before and after it.
      return whole * (6 + given + number * (depth + 1));
    }
    case "sort":
    case "dictsort":
      return (sizeOf(on).whole + n * given) * (1 + Math.ceil(Math.log2(n + 1)));
    default:
      return n * (1 + given);
  }
}
