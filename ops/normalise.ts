/** Softmax and normalisation along the last axis: each is one row kernel, and so is its derivative. @module */
import { customVjp } from "../core/diff/vjp.ts";
import type { Tensor } from "../core/ir/mod.ts";
import { add, div, mul, square, sub } from "./arithmetic.ts";
import { broadcastIn, sum } from "./broadcast.ts";
import { max, mean } from "./reduce.ts";
import { exp, log, rsqrt } from "./transcendental.ts";

/** A value per row, repeated along the last axis of x. */
function alongRow(value: Tensor, x: Tensor): Tensor {
  return broadcastIn(value, { shape: x.shape, axes: [x.shape.length - 1] });
}

function last(x: Tensor): { axes: number[] } {
  return { axes: [x.shape.length - 1] };
}

/** e^(x − max) / Σ e^(x − max) along the last axis. Derivative: y·(ct − Σ ct·y), from the result alone. */
export const softmax: (x: Tensor) => Tensor = customVjp(
  (x) => {
    const e = exp(sub(x!, alongRow(max(x!, last(x!)), x!)));
    return div(e, alongRow(sum(e, last(x!)), x!));
  },
  (ct, _xs, y) => [mul(y, sub(ct, alongRow(sum(mul(ct, y), last(y)), y)))],
);

/** log Σ eˣ along the last axis, without overflow: x [..., n] → [...]. Derivative: softmax. */
export const logSumExp: (x: Tensor) => Tensor = customVjp(
  (x) => {
    const top = max(x!, last(x!));
    return add(log(sum(exp(sub(x!, alongRow(top, x!))), last(x!))), top);
  },
  (ct, [x], y) => [mul(alongRow(ct, x!), exp(sub(x!, alongRow(y, x!))))],
);

/** log softmax along the last axis. */
export function logSoftmax(x: Tensor): Tensor {
  return sub(x, alongRow(logSumExp(x), x));
}

/** x / √(mean x² + eps) · weight along the last axis: x [..., n], weight [n]. arXiv:1910.07467. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const scale = rsqrt(add(mean(square(x), last(x)), eps));
  return mul(mul(x, alongRow(scale, x)), weight);
}

/** (x − mean) / √(variance + eps) · weight + bias along the last axis. arXiv:1607.06450. */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  const centred = sub(x, alongRow(mean(x, last(x)), x));
  return add(rmsNorm(centred, weight, eps), bias);
}
