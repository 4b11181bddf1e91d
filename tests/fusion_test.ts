/** What must fuse: kernel counts of plans. @module */
import { assert, assertEquals } from "@std/assert";
import * as Either from "fp-ts/Either.js";
import { type Aval, aval, compile, type Compiled, gradients, type Tensor } from "../core/mod.ts";
import { butterfly, unitary } from "../adapters/mod.ts";
import * as ops from "../ops/mod.ts";
import { weightClasses } from "../train/arena.ts";
import { adamW } from "../train/optimiser.ts";

type Inputs = Readonly<Record<string, Tensor>>;

function compiled(
  f: (x: Inputs) => object,
  avals: Readonly<Record<string, Aval>>,
  inPlace: readonly string[] = [],
): Compiled {
  const result = compile(f as (x: object) => object, avals, {
    maxSlots: 16,
    inPlace: inPlace.map((path) => ({ output: path, input: path })),
  });
  if (Either.isLeft(result)) throw result.left;
  return result.right;
}

/** The forms of the plan's steps, in order. */
function forms({ plan }: Compiled): string[] {
  return plan.steps.map((s) => plan.kernels[s.kernel]!.body.form);
}

function inOf(x: Inputs, ...names: readonly string[]): Tensor[] {
  return names.map((n) => x[n]!);
}

const rows = aval([64, 32]);

Deno.test("(a) a low-rank map is two kernels: the thin product, then one accumulator over both inner axes", () => {
  const sizes = { x: rows, w: aval([48, 32]), a: aval([4, 32]), b: aval([48, 4]), r: aval([64, 48]) };
  const map = (x: Inputs): Tensor => {
    const [input, w, a, b] = inOf(x, "x", "w", "a", "b") as [Tensor, Tensor, Tensor, Tensor];
    return ops.add(ops.linear(input, w), ops.mul(ops.linear(ops.linear(input, a), b), 2));
  };
  for (const f of [map, (x: Inputs) => ops.add(x["r"]!, ops.silu(map(x)))]) {
    const c = compiled((x) => ({ y: f(x) }), sizes);
    assertEquals(forms(c), ["contract", "contract"]);
    const last = c.plan.kernels[c.plan.steps[1]!.kernel]!.body;
    assert(last.form === "contract" && last.terms.length === 2);
  }
});

Deno.test("(b) softmax, RMSNorm, logSumExp and their derivatives are one row kernel each", () => {
  const cases: readonly [string, (x: Inputs) => Tensor][] = [
    ["softmax", (x) => ops.softmax(x["x"]!)],
    ["rmsNorm", (x) => ops.rmsNorm(x["x"]!, x["w"]!, 1e-5)],
    ["logSumExp", (x) => ops.logSumExp(x["x"]!)],
  ];
  for (const [name, f] of cases) {
    const sizes = { x: rows, w: aval([32]) };
    assertEquals(forms(compiled((x) => ({ y: f(x) }), sizes)), ["row"], name);
    const ct = name === "logSumExp" ? aval([64]) : rows;
    const both = compiled((x) => {
      const y = f(x);
      return { y, dx: gradients([y], [x["ct"]!], [x["x"]!])[0]! };
    }, { ...sizes, ct });
    assertEquals(forms(both), ["row", "row"], `${name} and its derivative`);
  }
});

Deno.test("(c) a butterfly is one kernel, its derivative two, and nothing has d×d elements", () => {
  const d = 256;
  for (const factors of [1, 2, 3]) {
    const adapter = butterfly({ block: 8, factors });
    const sizes = { x: aval([16, d]), skew: aval([factors, d / 8, 28]), ct: aval([16, d]) };
    const forward = (x: Inputs): Tensor => adapter.apply({ skew: x["skew"]! }, (v) => v)(x["x"]!);
    const one = compiled((x) => ({ y: forward(x) }), sizes);
    assertEquals(forms(one), ["solve", "stages"]);
    const both = compiled((x) => {
      const y = forward(x);
      const [dx, ds] = gradients([y], [x["ct"]!], [x["x"]!, x["skew"]!]);
      return { y, dx: dx!, ds: ds! };
    }, sizes);
    assertEquals(forms(both).filter((f) => f === "stages").length, 2);
    assertEquals(forms(both).filter((f) => f === "stagesGrad").length, 1);
    for (const { plan } of [one, both]) {
      assert(plan.buffers.every((b) => b.bytes < 4 * d * d), "a d×d buffer");
    }
  }
});

Deno.test("(c) a unitary map is two thin products and one kernel of stages; its derivative keeps no rows but x", () => {
  const d = 128, adapter = unitary(), small = { phases: aval([3, d / 2]), reflections: aval([2, d]) };
  const fixed = { start: aval([2, d]), blocks: aval([2 * 3 * 8 * d]), u: aval([d, 8]), v: aval([8, d]) };
  const sizes = { x: aval([512, d]), ct: aval([512, d]), ...small, ...fixed };
  const forward = (x: Inputs): Tensor => {
    const [phases, reflections, start, blocks, u, v] = inOf(x, ...Object.keys({ ...small, ...fixed })) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    return adapter.apply({ phases, reflections, start, blocks, u, v }, (z) => z)(x["x"]!);
  };
  assertEquals(forms(compiled((x) => ({ y: ops.mul(forward(x), 2) }), sizes)), [
    "contract",
    "contract",
    "stages",
    "row",
  ]);
  const back = compiled((x) => {
    const [dx, du, dv, dPhases] = gradients([forward(x)], [x["ct"]!], inOf(x, "x", "u", "v", "phases"));
    return { dx: dx!, du: du!, dv: dv!, dPhases: dPhases! };
  }, sizes);
  const count = (form: string): number => forms(back).filter((f) => f === form).length;
  assertEquals([count("stages"), count("stagesGrad"), count("contract"), count("row")], [4, 3, 6, 1]);
});

Deno.test("(d) AdamW over all parameters of a shape class is one kernel, in place", () => {
  const classes = weightClasses(["p", "q", "r"].map((name) => ({ name, aval: aval([40, 24]) })));
  const optimiser = adamW({ clip: 0 });
  const arena = aval([3, 960]);
  const key = classes[0]!.leaves[0]!.key;
  const rates = { plain: aval([]), orthogonal: aval([]), correction1: aval([]), correction2: aval([]) };
  const sizes = { p: arena, m: arena, v: arena, g: arena, ...rates };
  const c = compiled(
    (x) => {
      const [plain, orthogonal, correction1, correction2] = inOf(x, ...Object.keys(rates)) as [
        Tensor,
        Tensor,
        Tensor,
        Tensor,
      ];
      const { updates, state } = optimiser.update({ [key]: x["g"]! }, {
        [`m_${key}`]: x["m"]!,
        [`v_${key}`]: x["v"]!,
      }, {
        classes,
        params: { [key]: x["p"]! },
        grads: { [key]: x["g"]! },
        rates: { plain, orthogonal, correction1, correction2 },
      });
      return { p: ops.add(x["p"]!, updates[key]!), m: state[`m_${key}`]!, v: state[`v_${key}`]! };
    },
    sizes,
    ["p", "m", "v"],
  );
  assertEquals(forms(c), ["row"]);
  assertEquals(c.plan.kernels[0]!.slots.filter((s) => s.access === "readwrite").length, 3);
  assert(c.plan.buffers.every((b) => b.role === "input"), "no new memory");
});

Deno.test("(e) elementwise chains and residuals live in epilogues; a gated product is written by its second factor", () => {
  const sizes = { x: rows, w: aval([48, 32]), u: aval([48, 32]), r: aval([64, 48]) };
  const chain = compiled((x) => {
    const [input, w, r] = inOf(x, "x", "w", "r") as [Tensor, Tensor, Tensor];
    return { y: ops.add(ops.mul(ops.tanh(ops.linear(input, w)), 3), r) };
  }, sizes);
  assertEquals(forms(chain), ["contract"]);
  const gated = compiled((x) => {
    const [input, w, u] = inOf(x, "x", "w", "u") as [Tensor, Tensor, Tensor];
    return { y: ops.mul(ops.silu(ops.linear(input, w)), ops.linear(input, u)) };
  }, sizes);
  assertEquals(forms(gated), ["contract", "contract"]);
});

Deno.test("a chain that reads each of its values twice, and too many buffers, is cut without following every path", () => {
  const names = Array.from({ length: 20 }, (_, i) => `x${i}`);
  // Every step doubles the ways from the end to the start: 2⁶⁰ in all.
  const chain = (x: Inputs): Tensor =>
    inOf(x, ...names).reduce((y, next) => {
      let z = ops.add(ops.mul(y, y), next);
      for (let i = 0; i < 2; i++) z = ops.mul(ops.add(z, 0.5), z);
      return z;
    });
  const c = compiled((x) => ({ y: chain(x) }), Object.fromEntries(names.map((name) => [name, rows])));
  assert(c.plan.kernels.every((k) => k.slots.length <= 16));
  assert(c.plan.steps.length <= 4, forms(c).join());
});
