/** Ops against their definitions: in float64 by the table of rows, and every exported op in that table. @module */
import { assertEquals, assertThrows } from "@std/assert";
import { aval, type DType, input, type Shape, ShapeError, type Tensor, within } from "../core/ir/mod.ts";
import * as ops from "../ops/mod.ts";
import { checkPrimitive } from "./check_primitive.ts";
import { opRows } from "./op_rows.ts";

Deno.test("every row of the table has its own name", () => {
  assertEquals(new Set(opRows.map((r) => r.name)).size, opRows.length);
});

Deno.test("every exported op has a row", () => {
  const checked = new Set(opRows.map((r) => r.name.split(/\W/)[0]));
  const exported = Object.entries(ops).filter(([, op]) => typeof op === "function").map(([name]) => name);
  assertEquals(exported.filter((name) => !checked.has(name)), []);
});

for (const row of opRows) {
  Deno.test(`${row.name}: shape, derivatives by central differences, plans`, () => checkPrimitive(row));
}

function x(shape: Shape, dtype: DType = "f32"): Tensor {
  return input(aval(shape, dtype));
}

/** Calls that must be refused while tracing, and what the message must name. */
const refused: readonly (readonly [what: string, call: () => Tensor, message: string])[] = [
  [
    "shapes that do not broadcast",
    () => ops.add(x([2, 3]), x([4])),
    "f32[2,3] and f32[4]: axis -1 is 3 and 4",
  ],
  ["types that differ", () => ops.mul(x([2]), x([2], "i32")), "f32[2] and i32[2]"],
  ["the exponential of integers", () => ops.exp(x([2], "i32")), "exp to i32[2]: it takes f32; cast it"],
  ["a fraction of integers", () => ops.add(x([2], "i32"), 0.5), "the number 0.5 and a tensor of i32"],
  [
    "the sum of bools",
    () => ops.sum(x([2], "bool"), { axes: [0] }),
    "bool[2]: reductions are over f32; cast it",
  ],
  ["a repeated axis", () => ops.sum(x([2, 3]), { axes: [0, 0] }), "[0,0]: give distinct axes"],
  ["a condition that is no bool", () => ops.where(x([2]), 1, 2), "f32[2]: the condition must be bool"],
  ["another number of elements", () => ops.reshape(x([2, 3]), [4]), "they have 6 and 4 elements"],
  ["an axis given twice", () => ops.permute(x([2, 3]), [0, 0]), "give each axis once"],
  ["a slice past the end", () => ops.slice(x([3]), { start: [1], stop: [4] }), "f32[3] from [1] to [4]"],
  ["fewer axes", () => ops.broadcastTo(x([2, 3]), [3]), "it has fewer axes"],
  ["inner axes that differ", () => ops.linear(x([4, 8]), x([3, 6])), "inner axes are 8 and 6"],
  ["batch axes that differ", () => ops.matmul(x([2, 3, 4]), x([5, 4, 6])), "batch axes are 2 and 5"],
  ["indices that are no integers", () => ops.gather(x([3, 2]), x([2])), "indices must be i32 or u32"],
  [
    "heads that do not divide",
    () => ops.attention(x([1, 3, 4, 2]), x([1, 2, 4, 2]), x([1, 2, 4, 2])),
    "3 heads are not a multiple of 2",
  ],
  [
    "stages that do not divide",
    () => ops.stages(x([2, 6]), x([24]), { stages: [{ radix: 2, stride: 1, piece: 2 }] }),
    "6 is not divisible by 4",
  ],
  [
    "missing coefficients",
    () => ops.stages(x([2, 8]), x([24]), { stages: [{ radix: 2, stride: 1, piece: 2 }] }),
    "they must be f32[32]",
  ],
  ["systems that are not square", () => ops.solve(x([2, 3]), x([2, 1])), "give square matrices"],
  ["entries of another matrix", () => ops.skewFromEntries(x([5]), 4), "the last axis must be 6"],
];

for (const [what, call, message] of refused) {
  Deno.test(`${what}: a ShapeError that says so`, () => void assertThrows(call, ShapeError, message));
}

Deno.test("a ShapeError names the scopes of the user's program, innermost first", () => {
  const error = assertThrows(
    () => within("layer 3", () => within("q_proj", () => ops.linear(x([4, 8]), x([3, 6])))),
    ShapeError,
    "\n  in q_proj\n  in layer 3",
  );
  assertEquals(error.scopes, ["q_proj", "layer 3"]);
});
