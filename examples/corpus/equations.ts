/**
 * One-step arithmetic on whole numbers from 0 to 99, the size of number this example's world knows.
 * @module
 */
import type { Draw } from "./draw.ts";

/** The three operations of the example. */
export type Sign = "+" | "-" | "*";

/** `left sign right = result`, all whole numbers. */
export interface Equation {
  readonly left: number;
  readonly sign: Sign;
  readonly right: number;
  readonly result: number;
}

/** The largest number that occurs. */
export const LARGEST = 99;

/** The equation with its result worked out. Throws a RangeError when the result leaves [0, 99]. */
export function equation(left: number, sign: Sign, right: number): Equation {
  const result = sign === "+" ? left + right : sign === "-" ? left - right : left * right;
  if (result < 0 || result > LARGEST) {
    throw new RangeError(
      `${left}${sign}${right} is ${result}: choose numbers with a result from 0 to ${LARGEST}`,
    );
  }
  return { left, sign, right, result };
}

/** As text without spaces, `7+5=12`. */
export function written({ left, sign, right, result }: Equation): string {
  return `${left}${sign}${right}=${result}`;
}

/** In words, `7 plus 5 is 12`. */
export function spoken({ left, sign, right, result }: Equation): string {
  const verb = sign === "+" ? "plus" : sign === "-" ? "minus" : "times";
  return `${left} ${verb} ${right} is ${result}`;
}

/** Any equation of the world: sums and differences up to 99, products of 0 to 10. */
export function drawEquation(d: Draw): Equation {
  const sign = d.pick<Sign>(["+", "+", "-", "-", "*"]);
  if (sign === "*") return equation(d.between(0, 10), sign, d.between(0, 9));
  if (d.chance(50)) return drawChange(d, d.between(4, 60), sign);
  const whole = d.between(0, LARGEST);
  const part = d.between(0, whole);
  return sign === "+" ? equation(part, sign, whole - part) : equation(whole, sign, part);
}

/** Something of 2 to 20 added to `start` or taken from it; turns to the other sign where the result would leave [2, 99]. */
export function drawChange(d: Draw, start: number, sign: "+" | "-" = d.pick(["+", "-"] as const)): Equation {
  const change = d.between(2, 20);
  const fits = sign === "+" ? start + change <= LARGEST : start - change >= 2;
  if (fits) return equation(start, sign, change);
  return sign === "+" ? equation(start, "-", change) : equation(start, "+", change);
}
