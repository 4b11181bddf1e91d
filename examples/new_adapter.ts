/** A new adapter from nothing, composed and trained: `deno run -A examples/new_adapter.ts`. @module */
import { type Adapter, compose, evaluate, lowRank, openCpu, siteOf, type Tensor } from "../mod.ts";
import { div, key, linear, mean, mul, normal, square, sub, sum } from "../ops/mod.ts";
import { minimise } from "../train/minimise.ts";

/** Rows of x f32[n, in] in the mirror at right angles to v f32[1, in]: x − 2·(x·vᵀ)·v / ‖v‖². */
function reflect(x: Tensor, v: Tensor): Tensor {
  return sub(x, mul(mul(linear(x, v), v), div(2, sum(square(v), { axes: [0, 1] }))));
}

/** Two mirrors make a rotation: W' = W·H(v)·H(u). They start equal and cancel out. */
const mirrors: Adapter<{ readonly u: Tensor; readonly v: Tensor }> = {
  name: "mirrors",
  init: (k, { inDim }) => ({ u: normal(k, [1, inDim]), v: normal(k, [1, inDim]) }),
  apply: ({ u, v }, base) => (x) => base(reflect(reflect(x, u), v)),
  merge: ({ u, v }, weight) => reflect(reflect(weight, v), u),
};

const adapter = compose(mirrors, lowRank({ rank: 2, alpha: 2 }));
const x = normal(key(1), [64, 16]), w = normal(key(2), [8, 16]);
const base = (x: Tensor): Tensor => linear(x, w);
const distance = (y: Tensor, z: Tensor): Tensor => mean(square(sub(y, z)), { axes: [0, 1] });

// To find: the same map after two other mirrors and a change of rank 1.
const turned = reflect(reflect(w, normal(key(3), [1, 16])), normal(key(4), [1, 16]));
const target = linear(x, sub(turned, linear(normal(key(5), [8, 1]), normal(key(6), [16, 1]))));
const start = adapter.init(key(7), siteOf(w));
const loss = (p: typeof start): Tensor => distance(adapter.apply(p, base)(x), target);
const found = await minimise(await openCpu({ threads: 1 }), loss, start, { steps: 300, rate: 0.05 });
found.losses.forEach((loss, t) => t % 50 === 0 && console.log(`step ${t}: loss ${loss}`));

const merged = linear(x, adapter.merge(found.params, w));
const mergeLaw = distance(adapter.apply(found.params, base)(x), merged);
const identity = distance(adapter.apply(start, base)(x), base(x));
const [atStart, atEnd] = evaluate([identity, mergeLaw], found.values);
console.log(`at the end: loss ${found.losses.at(-1)}\nidentity ${atStart}\nmerge law ${atEnd}`);
