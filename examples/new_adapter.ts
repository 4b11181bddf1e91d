/** A new adapter from nothing: a ladder of Givens rotations. Run it: `deno run -A examples/new_adapter.ts` @module */
import { type Adapter, compose, type LinearMap, lowRank } from "../adapters/mod.ts";
import { openCpu } from "../core/cpu/mod.ts";
import { evaluate, fill, type Tensor } from "../core/mod.ts";
import {
  add,
  cos,
  eye,
  key,
  linear,
  mean,
  mul,
  normal,
  reshape,
  sin,
  skewFromEntries,
  square,
  stages,
  sub,
} from "../ops/mod.ts";
import { minimise } from "../train/minimise.ts";

/** W' = W·R: layer i of R turns features at distance 2^i in pairs, by `angle` f32[log₂ in, in/2, 1, 1]. */
const givens: Adapter<{ readonly angle: Tensor }> = {
  name: "givens",
  init: (_key, { inDim }) => ({ angle: fill(0, [Math.log2(inDim), inDim / 2, 1, 1]) }),
  apply: ({ angle }, base) => (x) =>
    base(stages(x, turns(angle), { stages: ladder(angle), transposed: true })),
  merge: ({ angle }, weight) => stages(weight, turns(angle), { stages: ladder(angle) }),
};
const ladder = ({ shape }: Tensor) =>
  Array.from({ length: shape[0]! }, (_, i) => ({ radix: 2, stride: 2 ** i, piece: 1 }));

/** cos φ·I + sin φ·J for each angle φ, one 2×2 block after the other. */
function turns(angle: Tensor): Tensor {
  const [layers, pairs] = angle.shape as [number, number];
  const i = eye([layers, pairs, 2, 2]), j = skewFromEntries(fill(1, [layers, pairs, 1]), 2);
  return reshape(add(mul(cos(angle), i), mul(sin(angle), j)), [4 * layers * pairs]);
}

const adapter = compose(givens, lowRank({ rank: 2, alpha: 2 }));
const x = normal(key(1), [64, 16]), w = normal(key(2), [8, 16]);
const base: LinearMap = (u) => linear(u, w);
const start = adapter.init(key(3), { inDim: 16, outDim: 8 });
const far = [{ angle: normal(key(4), [4, 8, 1, 1]) }, {
  a: normal(key(5), [2, 16]),
  b: normal(key(6), [8, 2]),
}] as const;
const target = linear(x, adapter.merge(far, w));
const error = (y: Tensor, z: Tensor): Tensor => mean(square(sub(y, z)), { axes: [0, 1] });

const loss = (p: typeof start): Tensor => error(adapter.apply(p, base)(x), target);
const { losses, params, values } = await minimise(await openCpu({ threads: 1 }), loss, start, {
  steps: 400,
  rate: 0.03,
});
for (let t = 0; t < losses.length; t += 50) console.log(`step ${t}: loss ${losses[t]!.toFixed(5)}`);
const laws = [
  error(adapter.apply(start, base)(x), base(x)),
  error(adapter.apply(params, base)(x), linear(x, adapter.merge(params, w))),
];
const [atStart, merged] = evaluate(laws, values);
console.log(
  `${adapter.name}: loss ${
    losses.at(-1)
  }, identity at the start within ${atStart}, merge law within ${merged}`,
);
