/** What combinators of adapters share: the parts' parameters lie side by side. @module */
import { type Key, split } from "../ops/mod.ts";
import type { Adapter, Ask, LinearDims, Mixing, Rate, Site } from "./adapter.ts";

/** A part of a combined adapter: everything of it but the type of its parameters. */
export type Part = Pick<Adapter<never>, "name" | "rate" | "asks" | "mixing">;

/** The site of each part: the same weight, the factors that this part asked for. */
export function sitesOf(parts: readonly Part[], site: Site): Site[] {
  let next = 0;
  return parts.map((p) => {
    const count = p.asks?.(site).length ?? 0;
    return { ...site, factors: site.factors.slice(next, next += count) };
  });
}

/** Keys of the parts for dropout: none without one. */
export function keysOf(key: Key | undefined, parts: number): readonly (Key | undefined)[] {
  return key ? split(key, parts) : new Array<undefined>(parts).fill(undefined);
}

/** Rates, factorisations and mixings of parts whose parameters lie at `path`0, `path`1, … */
export function partsOf(parts: readonly Part[], path = ""): Required<Omit<Part, "name">> {
  return {
    rate: (leaf) => {
      const [place, ...rest] = leaf.slice(path.length).split(".");
      const rate: Rate | undefined = leaf.startsWith(path)
        ? parts[Number(place)]?.rate?.(rest.join("."))
        : undefined;
      return rate ?? "plain";
    },
    asks: (dims: LinearDims): readonly Ask[] => parts.flatMap((p) => p.asks?.(dims) ?? []),
    mixing: parts.flatMap((p, i) =>
      (p.mixing ?? []).map((m): Mixing => ({ ...m, path: `${path}${i}.${m.path}` }))
    ),
  };
}
