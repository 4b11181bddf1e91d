/** Readers of values that are given as text. @module */
import * as Either from "fp-ts/Either.js";
import { nearest } from "./nearest.ts";

/** The value of a text, or what was expected instead. */
export type Read<T> = (text: string) => Either.Either<string, T>;

/** Any text. */
export const text: Read<string> = (t) => Either.right(t);

/** A finite number of which `holds` is true; `expected` says so in words. */
export function number(expected: string, holds: (n: number) => boolean): Read<number> {
  return (t) => {
    const n = t.trim() === "" ? NaN : Number(t);
    return Number.isFinite(n) && holds(n) ? Either.right(n) : Either.left(expected);
  };
}

/** A whole number between bounds, both included. */
export function whole(from: number, to = Number.MAX_SAFE_INTEGER): Read<number> {
  const expected = to === Number.MAX_SAFE_INTEGER ? `from ${from} on` : `from ${from} to ${to}`;
  return number(`a whole number ${expected}`, (n) => Number.isSafeInteger(n) && n >= from && n <= to);
}

/** One of some words; suggests the nearest. */
export function oneOf<T extends string>(...choices: readonly T[]): Read<T> {
  return (t) => {
    const found = choices.find((c) => c === t);
    const near = nearest(t, choices);
    const hint = near === null ? "" : `; did you mean ${near}?`;
    return found === undefined ? Either.left(`one of ${choices.join(", ")}${hint}`) : Either.right(found);
  };
}

/** `true` or `false`. */
export const truth: Read<boolean> = (t) => Either.map((word) => word === "true")(oneOf("true", "false")(t));

/** Above 0. */
export const above0: Read<number> = number("a number above 0", (n) => n > 0);
/** From 0 to below 1. */
export const share: Read<number> = number("a number from 0 to below 1", (n) => n >= 0 && n < 1);
/** From 0 on. */
export const from0: Read<number> = number("a number from 0 on", (n) => n >= 0);
