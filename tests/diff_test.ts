/** Differentiation beyond single ops: gradients, checkpoints, own pullbacks, forward mode. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { checkpoint, customVjp, grad, gradients, jvp, stopGradient, valueAndGrad } from "../core/diff/mod.ts";
import { evaluate } from "../core/eval/mod.ts";
import { aval, fill, input, linearise, ShapeError, type Tensor } from "../core/ir/mod.ts";
import { add, cast, div, eq, iota, mul, silu, sin, softmax, square, sum } from "../ops/mod.ts";
import { requireClose } from "./check_primitive.ts";

const numbers = Float64Array.of(0.3, -0.7, 1.1);

/** Values of a function's results at `numbers`. */
function at(f: (x: Tensor) => readonly Tensor[]): Float64Array[] {
  const x = input(aval([3]), "x");
  return evaluate(f(x), new Map([[x, numbers]]));
}

function total(x: Tensor): Tensor {
  return sum(x, { axes: [0] });
}

Deno.test("gradients add up over all uses, and are zero where no path leads", () => {
  const [dx, unused] = at((x) => {
    const other = fill(2, [3]);
    return gradients([total(mul(x, x)), total(sin(x))], [fill(1), fill(3)], [x, other]);
  });
  requireClose("gradient", dx!, numbers.map((v) => 2 * v + 3 * Math.cos(v)), 1e-12);
  assertEquals(unused, new Float64Array(3));
});

Deno.test("valueAndGrad refuses what is no scalar", () => {
  assertThrows(
    () => valueAndGrad((x) => x!)(input(aval([3]))),
    ShapeError,
    "f32[3]: the function must return a scalar",
  );
});

Deno.test("derivatives of derivatives: sin four times over", () => {
  const once = (f: (x: Tensor) => Tensor): (x: Tensor) => Tensor => (x) => grad((v) => total(f(v!)))(x)[0]!;
  const [fourth] = at((x) => [once(once(once(once(sin))))(x)]);
  requireClose("fourth derivative", fourth!, numbers.map(Math.sin), 1e-12);
});

Deno.test("stopGradient keeps the value and lets no cotangent through", () => {
  const [y, dx] = at((x) => {
    const value = total(mul(x, stopGradient(x)));
    return [value, gradients([value], [fill(1)], [x])[0]!];
  });
  requireClose("value", y!, Float64Array.of(numbers.reduce((a, v) => a + v * v, 0)), 1e-12);
  assertEquals(dx, numbers);
});

Deno.test("customVjp takes the given pullback, of any order", () => {
  // Half of the true derivative of x²; its own derivative then is that of x.
  const odd = customVjp((x) => square(x!), (ct, [x]) => [mul(ct, x!)]);
  const [first, second] = at((x) => {
    const [dx] = gradients([total(odd(x))], [fill(1)], [x]);
    return [dx!, gradients([total(dx!)], [fill(1)], [x])[0]!];
  });
  assertEquals(first, numbers);
  assertEquals(second, Float64Array.of(1, 1, 1));
});

Deno.test("checkpoint: the same value and derivatives, with its inside computed again", () => {
  const inside = (...[x, w]: readonly Tensor[]): Tensor => softmax(mul(silu(mul(x!, w!)), x!));
  const orders = (f: (...xs: readonly Tensor[]) => Tensor) => (x: Tensor): Tensor[] => {
    const w = add(sin(x), 2);
    const y = total(square(f(x, w)));
    const [dx] = gradients([y], [fill(1)], [x]);
    return [y, dx!, gradients([total(square(dx!))], [fill(1)], [x])[0]!];
  };
  const plain = at(orders(inside)), again = at(orders(checkpoint(inside)));
  again.forEach((y, i) => requireClose(`order ${i}`, y, plain[i]!, 1e-12));
  const x = input(aval([3]));
  const count = (f: (...xs: readonly Tensor[]) => Tensor): number =>
    linearise([x], orders(f)(x).slice(0, 2)).nodes.filter((n) => n.op === "silu").length;
  assertEquals([count(inside), count(checkpoint(inside))], [1, 2]);
});

Deno.test("jvp is the derivative along a direction", () => {
  const direction = [0.2, 0.5, -0.4], step = 1e-6;
  const f = (x: Tensor): Tensor => div(sin(x), add(square(x), 1));
  const tangent = at((
    x,
  ) => [
    jvp((v) => f(v!), [x], [direction.map((d, i) => mul(unit(i), d)).reduce((a, b) => add(a, b))]).tangent,
  ])[0]!;
  const moved = (sign: number): Float64Array => {
    const x = input(aval([3]));
    return evaluate([f(x)], new Map([[x, numbers.map((v, i) => v + sign * step * direction[i]!)]]))[0]!;
  };
  const [ahead, behind] = [moved(1), moved(-1)];
  assert(tangent.every((t, i) => Math.abs(t - (ahead[i]! - behind[i]!) / (2 * step)) < 1e-8));
});

/** The unit vector along axis `i` of three. */
function unit(i: number): Tensor {
  return cast(eq(iota([3]), i), "f32");
}
