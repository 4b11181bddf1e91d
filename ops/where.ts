/** Choice by a condition. @module */
import { call, fill, primitive, requireSame, ShapeError, showAval, type Tensor } from "../core/ir/mod.ts";
import { broadcastTo } from "./broadcast.ts";
import { broadcastShape, type Operand } from "./elementwise.ts";

const select = primitive<[condition: Tensor, x: Tensor, y: Tensor]>("where", () => ({
  shape: ([condition, x, y]) => {
    requireSame("choose between", x, y);
    if (condition.dtype !== "bool") throw new ShapeError(`Cannot choose by ${showAval(condition)}: the condition must be bool.`);
    return x;
  },
  reference: ([condition, x, y]) => condition.map((c, i) => (c ? x[i]! : y[i]!)),
  vjp: (ct, [condition]) => [null, where(condition, ct, 0), where(condition, 0, ct)],
  lower: { kind: "elementwise", expr: ([condition, x, y]) => call("select", condition!, x!, y!) },
}))(undefined);

/** x where the condition holds, else y; broadcasts. The cotangent goes to whichever was chosen. */
export function where(condition: Tensor, x: Operand, y: Operand): Tensor {
  const dtype = typeof x !== "number" ? x.dtype : typeof y !== "number" ? y.dtype : "f32";
  const a = typeof x === "number" ? fill(x, [], dtype) : x;
  const b = typeof y === "number" ? fill(y, [], dtype) : y;
  const pair = broadcastTo(a, broadcastShape("choose between", a, b));
  const shape = broadcastShape("choose by", condition, pair);
  return select(broadcastTo(condition, shape), broadcastTo(a, shape), broadcastTo(b, shape));
}
