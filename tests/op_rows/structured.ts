/** Rows of structured maps: butterflies, rotations, reflections, and complex ones. @module */
import { gradients } from "../../core/diff/mod.ts";
import { fill, type Tensor } from "../../core/ir/mod.ts";
import * as ops from "../../ops/mod.ts";
import { on1, on2, type OpRow, type Options, row, whole } from "./row.ts";

const butterfly = [{ radix: 2, stride: 1, piece: 2 }, { radix: 2, stride: 2, piece: 2 }, {
  radix: 2,
  stride: 4,
  piece: 2,
}];
const mixedRadix = [{ radix: 3, stride: 1, piece: 2 }, { radix: 2, stride: 3, piece: 2 }];
const twoFactors = butterfly.slice(0, 2);
const primes = [{ radix: 5, stride: 1, piece: 1 }, { radix: 3, stride: 5, piece: 1 }, {
  radix: 2,
  stride: 15,
  piece: 1,
}];
const blocks = [{ radix: 1, stride: 1, piece: 4 }];

const distant = [{ radix: 2, stride: 512, piece: 2 }, { radix: 2, stride: 1, piece: 1 }];
/** Vectors away from 0. */
const reflecting: Options = { fill: (u, i) => u + (i % 2 ? 1.5 : -1.5) };

/** Rows of structured maps. */
export const structured: readonly OpRow[] = [
  row("stages, one factor", [[3, 8], [32]], on2((x, c) => ops.stages(x, c, { stages: blocks }))),
  row(
    "stages, one factor transposed",
    [[3, 8], [32]],
    on2((x, c) => ops.stages(x, c, { stages: blocks, transposed: true })),
  ),
  row("stages, two factors", [[3, 8], [64]], on2((x, c) => ops.stages(x, c, { stages: twoFactors }))),
  row(
    "stages, two factors transposed",
    [[3, 8], [64]],
    on2((x, c) => ops.stages(x, c, { stages: twoFactors, transposed: true })),
  ),
  row("stages, radices 5, 3, 2", [[2, 30], [300]], on2((x, c) => ops.stages(x, c, { stages: primes }))),
  row("stages, butterfly", [[2, 3, 16], [192]], on2((x, c) => ops.stages(x, c, { stages: butterfly }))),
  row(
    "stages, butterfly transposed",
    [[2, 16], [192]],
    on2((x, c) => ops.stages(x, c, { stages: butterfly, transposed: true })),
  ),
  row("stages, mixed radix", [[2, 12], [120]], on2((x, c) => ops.stages(x, c, { stages: mixedRadix }))),
  row(
    "stages, mixed radix transposed",
    [[2, 12], [120]],
    on2((x, c) => ops.stages(x, c, { stages: mixedRadix, transposed: true })),
  ),
  row(
    "stagesGrad",
    [[3, 12], [120], [3, 12]],
    (x, c, ct) => ops.stagesGrad(x!, c!, ct!, { stages: mixedRadix }),
  ),
  // The cotangent depends on x and on the coefficients too: their derivatives have two ways to go.
  row(
    "stagesGrad, one factor",
    [[3, 8], [32], [3, 8]],
    (x, c, ct) => ops.stagesGrad(x!, c!, ct!, { stages: blocks }),
  ),
  row(
    "stagesGrad, three factors",
    [[2, 16], [192], [2, 16]],
    (x, c, ct) => ops.stagesGrad(x!, c!, ct!, { stages: butterfly }),
  ),
  row(
    "gradient of the energy of stages",
    [[2, 8], [32]],
    on2((x, c) => {
      const y = ops.stages(x, c, { stages: blocks });
      return gradients([ops.sum(ops.mul(ops.square(y), y), { axes: [0, 1] })], [fill(1)], [c])[0]!;
    }),
  ),
  row(
    "rotated linear",
    [[3, 8], [32], [5, 8]],
    (x, c, w) => ops.linear(ops.stages(x!, c!, { stages: blocks, transposed: true }), w!),
  ),
  row(
    "solve",
    [[2, 4, 4], [2, 4, 3]],
    on2((a, b) => ops.solve(ops.add(a, ops.mul(ops.eye([2, 4, 4]), 5)), b)),
  ),
  row("eye", [], () => ops.eye([2, 3, 3]), whole),
  row("skewFromEntries, even", [[2, 6]], on1((u) => ops.square(ops.skewFromEntries(u, 4)))),
  row("skewFromEntries, odd", [[2, 10]], on1((u) => ops.square(ops.skewFromEntries(u, 5)))),
  row("skewFromEntries, six", [[2, 15]], on1((u) => ops.square(ops.skewFromEntries(u, 6)))),
  row(
    "stages, longer than a run",
    [[2, 2048], [2048 * 6]],
    on2((x, c) => ops.stages(x, c, { stages: distant })),
    { order: 1 },
  ),
  row(
    "stages, longer than a run, transposed",
    [[2, 2048], [2048 * 6]],
    on2((x, c) => ops.stages(x, c, { stages: distant, transposed: true })),
    { order: 1 },
  ),
  row("cayleyNeumann, 2 terms", [[2, 6]], on1((u) => ops.cayleyNeumann(ops.skewFromEntries(u, 4), 2))),
  row("cayleyNeumann, 5 terms", [[2, 6]], on1((u) => ops.cayleyNeumann(ops.skewFromEntries(u, 4), 5))),
  row("compactWy", [[6, 3]], on1((u) => ops.compactWy(u).v), reflecting),
  row("compactWy, Gram–Schmidt", [[6, 3]], on1((u) => ops.compactWy(u, { gramSchmidt: true }).v), reflecting),
  row("wyAt", [[2, 5, 2]], on1((u) => ops.wyAt(ops.compactWy(u), 1).v), reflecting),
  row("reflect", [[2, 3, 6], [6, 4]], on2((x, u) => ops.reflect(x, ops.compactWy(u))), reflecting),
  row(
    "reflect, transposed",
    [[3, 6], [6, 4]],
    on2((x, u) => ops.reflect(x, ops.compactWy(u), { transposed: true })),
    reflecting,
  ),
  row(
    "reflect, the same vector twice",
    [[3, 6], [6, 1]],
    on2((x, u) => ops.reflect(x, ops.compactWy(ops.concat([u, ops.mul(u, 2)], 1)))),
    reflecting,
  ),
  row("cayley", [[2, 6]], on1((u) => ops.cayley(ops.skewFromEntries(u, 4)))),
];

/** With the blocks of the same phases. */
function turnedFourier(z: Tensor, phases: Tensor, adjoint = false): Tensor {
  const table = ops.concat(
    [ops.cos(phases), ops.sin(phases)].map((x) => ops.reshape(x, [3, 1, x.shape[1]!])),
    1,
  );
  return ops.turnedFourier(z, phases, ops.turnedBlocks(table), { adjoint });
}

/** Rows of maps of complex numbers. */
export const complex: readonly OpRow[] = [
  row("phasors", [[5]], on1(ops.phasors)),
  row("turnPhases", [[2, 6], [2, 3]], on2(ops.turnPhases)),
  row(
    "turnPhases, adjoint",
    [[2, 6], [3]],
    on2((x, t) => ops.turnPhases(x, ops.phasors(t), { adjoint: true })),
  ),
  row("complexReflectors", [[2, 2, 6]], on1((v) => ops.square(ops.complexReflectors(v)))),
  row("interleave", [[2, 6]], on1((x) => ops.square(ops.interleave(x)))),
  row("deinterleave", [[2, 6]], on1((x) => ops.square(ops.deinterleave(x)))),
  row("shuffle", [[2, 12]], on1((x) => ops.square(ops.shuffle(x)))),
  row("shuffle, inverse", [[2, 12]], on1((x) => ops.square(ops.shuffle(x, { inverse: true })))),
  row("fourierPlan", [[2, 12], [12 * 10]], on2((x, c) => ops.stages(x, c, ops.fourierPlan(6)))),
  row("fourierCoefficients", [], () => ops.fourierCoefficients(30), whole),
  row("fourier", [[2, 24]], on1((x) => ops.square(ops.fourier(x)))),
  row("fourier, inverse", [[2, 28]], on1((x) => ops.square(ops.fourier(x, { inverse: true })))),
  row("stored", [[3, 5]], on1((x) => ops.square(ops.stored(x)))),
  row("turnedBlocks", [[3, 2, 6]], on1(ops.turnedBlocks)),
  row("turnedBlocks of two maps, without stages", [[2, 3, 2, 11]], on1(ops.turnedBlocks)),
  row("turnedFourier", [[2, 24], [3, 12]], on2((z, phases) => turnedFourier(z, phases))),
  row(
    "turnedFourier, adjoint, of one stage",
    [[2, 10], [3, 5]],
    on2((z, phases) => turnedFourier(z, phases, true)),
  ),
  row(
    "urnnTransition",
    [[2, 12], [3, 6], [2, 12]],
    (h, phases, reflections) => ops.urnnTransition(h!, { phases: phases!, reflections: reflections! }),
    reflecting,
  ),
  row("modRelu", [[3, 8], [4]], on2(ops.modRelu), {
    fill: (u, i, k) => (k === 0 ? u + 1 : i % 2 ? u / 4 : -4),
  }),
  row(
    "urnnCell",
    [[2, 8], [2, 3], [3, 4], [2, 8], [8, 3], [4]],
    (h, x, phases, reflections, input, bias) =>
      ops.urnnCell(h!, x!, { phases: phases!, reflections: reflections!, input: input!, bias: bias! }),
    { fill: (u, _i, k) => (k === 3 ? u + 1.5 : k === 5 ? 0.5 + u / 4 : u), order: 1 },
  ),
];
