/** Cotangents: how they add up. @module */
import type { Semigroup } from "fp-ts/Semigroup.js";
import { call } from "../ir/expr.ts";
import { primitive, requireSame, type Tensor } from "../ir/tensor.ts";

/** Sum of two cotangents of one value, x and y of one aval. Linear: `ct` flows to both. */
export const addCotangents: (x: Tensor, y: Tensor) => Tensor = primitive<[x: Tensor, y: Tensor]>(
  "add",
  () => ({
    shape: ([x, y]) => (requireSame("add", x, y), x),
    reference: ([x, y]) => x.map((v, i) => v + y[i]!),
    vjp: (ct) => [ct, ct],
    lower: { kind: "elementwise", expr: ([x, y]) => call("add", x!, y!) },
  }),
)(undefined);

/** Cotangents of one value form a semigroup: every use of the value adds one. */
export const cotangentSemigroup: Semigroup<Tensor> = { concat: addCotangents };
