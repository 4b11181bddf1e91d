/** What a template reads as a whole, found once from its parts. @module */

/** How much of a part's value is read where it stands. */
type Kind =
  /** Every item once. */
  | "items"
  /** Every text in it. */
  | "whole";

/** Steps that going over one item of a list may take. */
export const LENGTH_COST = 8;

/** Parts of a template whose evaluation costs more than one step. */
export interface Readings {
  readonly kinds: ReadonlyMap<object, Kind>;
  /** Parts that the library looks through whenever it meets a definition. */
  readonly scanned: ReadonlyMap<object, number>;
}

type Fields = Record<string, unknown>;

/** Lists of parts whose values are written. */
const BLOCKS = ["body", "alternate", "defaultBlock"] as const;

/**
 * Find what `program` reads, and turn its `{% filter %}` blocks into filters of a block's text, which mean the same and
 * are evaluated like others.
 */
export function readingsOf(program: object): Readings {
  const kinds = new Map<object, Kind>(), scanned = new Map<object, number>();
  const mark = (part: unknown, kind: Kind): void => {
    if (typeof part === "object" && part !== null) kinds.set(part, kind);
  };
  /** Parts at and below. */
  const visit = (part: unknown): number => {
    if (typeof part !== "object" || part === null) return 0;
    const at = part as Fields;
    if (at["type"] === "FilterStatement") {
      const block = Object.create(Object.getPrototypeOf(program) as object) as object;
      at["operand"] = Object.assign(block, { type: "Program", body: at["body"] });
      at["type"] = "FilterExpression";
      delete at["body"];
    }
    for (const block of BLOCKS) {
      if (Array.isArray(at[block])) at[block].forEach((written) => mark(written, "whole"));
    }
    markOperands(at, mark);
    let parts = 1;
    for (const inner of at instanceof Map ? [...at].flat() : Object.values(at)) parts += visit(inner);
    if (at["type"] === "Macro" || at["type"] === "CallStatement") scanned.set(part, parts);
    return parts;
  };
  visit(program);
  return { kinds, scanned };
}

function markOperands(at: Fields, mark: (part: unknown, kind: Kind) => void): void {
  switch (at["type"]) {
    case "For": {
      const over = at["iterable"] as Fields;
      mark(over["type"] === "SelectExpression" ? over["lhs"] : over, "items");
      break;
    }
    case "SpreadExpression":
    case "KeywordSpreadExpression":
      mark(at["argument"], "items");
      break;
    case "CallExpression":
      (at["args"] as readonly unknown[]).forEach((arg) => mark(arg, "items"));
      break;
    case "BinaryExpression": {
      const { value: operator } = at["operator"] as { readonly value: string };
      if (operator === "and" || operator === "or") break;
      mark(at["left"], "whole");
      mark(at["right"], "whole");
      break;
    }
    case "MemberExpression":
      if ((at["property"] as Fields)["type"] === "SliceExpression") mark(at["object"], "items");
      break;
  }
}
