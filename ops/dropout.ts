/** Dropout. @module */
import type { Tensor } from "../core/ir/mod.ts";
import { mul } from "./arithmetic.ts";
import { le } from "./compare.ts";
import { type Key, uniform } from "./random.ts";
import { where } from "./where.ts";

/** Each number 0 with this probability, in [0, 1), else divided by the probability of staying: x f32 → its shape (arXiv:1207.0580). */
export function dropped(x: Tensor, probability: number, key: Key): Tensor {
  return where(le(probability, uniform(key, x.shape)), mul(x, 1 / (1 - probability)), 0);
}
