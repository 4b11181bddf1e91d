/** Choice by a condition. @module */
import { call, primitive, requireSame, ShapeError, showAval, type Tensor } from "../core/ir/mod.ts";
import { broadcastTo } from "./broadcast.ts";
import { broadcastPair, broadcastShape, type Operand } from "./elementwise.ts";

const select = primitive<[condition: Tensor, x: Tensor, y: Tensor]>("where", () => ({
  shape: ([condition, x, y]) => {
    requireSame("choose between", x, y);
    if (condition.dtype !== "bool") {
      throw new ShapeError(`Cannot choose by ${showAval(condition)}: the condition must be bool.`);
    }
    return x;
  },
  reference: ([condition, x, y]) => condition.map((c, i) => (c ? x[i]! : y[i]!)),
  vjp: (ct, [condition]) => [null, where(condition, ct, 0), where(condition, 0, ct)],
  lower: { kind: "elementwise", expr: ([condition, x, y]) => call("select", condition!, x!, y!) },
}))(undefined);

/** x where the condition holds, else y; broadcasts. The cotangent goes to whichever was chosen. */
export function where(condition: Tensor, x: Operand, y: Operand): Tensor {
  const [a, b] = broadcastPair("choose between", x, y);
  const shape = broadcastShape("choose by", condition, a);
  return select(broadcastTo(condition, shape), broadcastTo(a, shape), broadcastTo(b, shape));
}
