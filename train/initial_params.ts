/** Initial parameters as a pure graph. @module */
import type { Tensor } from "../core/mod.ts";
import { type Factors, type Site, siteOf } from "../adapters/mod.ts";
import { cast, reshape, slice } from "../ops/mod.ts";
import type { ShapeClass } from "./arena.ts";
import type { Weights } from "./bind_model.ts";

/** u32 words between the keys of two members: 256 bytes, so that each can be bound on its own. */
export const KEY_STRIDE = 64;

/** Factors that adapters asked for, by member, in the order of their asks. */
export type FactorsOf = ReadonlyMap<string, readonly Factors[]>;

/**
 * Initial parameters of every member: adapters draw theirs from the member's key, the first two words of its row of
 * `keys` u32[members, KEY_STRIDE], and from the weight that they adapt; weights that are trained themselves start as
 * they are.
 */
export function initialParams(
  classes: readonly ShapeClass[],
  weights: Weights,
  keys: Tensor,
  factors: FactorsOf,
): Map<string, readonly Tensor[]> {
  const params = new Map<string, readonly Tensor[]>();
  let row = 0;
  for (const { members, fitted } of classes) {
    for (const member of members) {
      const bits = reshape(slice(keys, { start: [row, 0], stop: [row + 1, 2] }), [2]);
      const site = (): Site => siteOf(weights[`${member}.weight`]!, factors.get(member));
      params.set(member, fitted ? fitted.init({ bits }, site()) : [cast(weights[member]!, "f32")]);
      row++;
    }
  }
  return params;
}
