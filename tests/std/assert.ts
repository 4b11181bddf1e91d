/**
 * The assertions that the tests use, under the names and signatures of `jsr:@std/assert`, over Deno's built-in
 * `node:assert`. `deno add jsr:@std/assert` rebinds the name `@std/assert` to the original; nothing else changes.
 * @module
 */
import { AssertionError, deepStrictEqual, notDeepStrictEqual, strictEqual } from "node:assert/strict";

/** A class of errors. */
export type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

function fault(message: string, msg: string | undefined): AssertionError {
  return new AssertionError({ message: msg ? `${message}: ${msg}` : message });
}

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 4, strAbbreviateSize: 1000 });
}

/** Throw unless `expr` is truthy. */
export function assert(expr: unknown, msg?: string): asserts expr {
  if (!expr) throw new AssertionError({ message: msg || "Assertion failed." });
}

/** Throw always. */
export function fail(msg?: string): never {
  throw fault("Failed assertion", msg);
}

/** Throw unless both are deeply equal, types and prototypes included. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  deepStrictEqual(actual, expected, msg);
}

/** Throw if both are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  notDeepStrictEqual(actual, expected, msg);
}

/** Throw unless both are the same by `Object.is`. */
export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): asserts actual is T {
  strictEqual(actual, expected, msg);
}

/** Throw unless |actual − expected| ≤ tolerance; without one, 10⁻⁷ of the expected value. */
export function assertAlmostEquals(actual: number, expected: number, tolerance?: number, msg?: string): void {
  if (Object.is(actual, expected)) return;
  const limit = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (delta <= limit) return;
  throw fault(
    `Expected ${actual} to be close to ${expected}: they differ by ${delta}, more than ${limit}`,
    msg,
  );
}

/** Throw if `actual` is null or undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual === undefined || actual === null) throw fault(`Expected ${actual} to be a value`, msg);
}

/** Throw unless actual > expected. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) throw fault(`Expected ${show(actual)} > ${show(expected)}`, msg);
}

/** Throw unless actual ≥ expected. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual >= expected)) throw fault(`Expected ${show(actual)} >= ${show(expected)}`, msg);
}

/** Throw unless actual < expected. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual < expected)) throw fault(`Expected ${show(actual)} < ${show(expected)}`, msg);
}

/** Throw unless actual ≤ expected. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual <= expected)) throw fault(`Expected ${show(actual)} <= ${show(expected)}`, msg);
}

/** Throw unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) throw fault(`Expected "${actual}" to contain "${expected}"`, msg);
}

/** Throw unless `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (actual.search(expected) < 0) throw fault(`Expected "${actual}" to match ${expected}`, msg);
}

function requireError<E extends Error>(
  error: unknown,
  kind: ErrorClass<E> | undefined,
  includes: string | undefined,
  msg: string | undefined,
): void {
  if (kind && !(error instanceof kind)) {
    const found = error instanceof Error ? `${error.constructor.name} "${error.message}"` : show(error);
    throw fault(`Expected error to be instance of "${kind.name}", but was ${found}`, msg);
  }
  if (includes !== undefined && !(error instanceof Error && error.message.includes(includes))) {
    const found = error instanceof Error ? `"${error.message}"` : show(error);
    throw fault(`Expected error message to include "${includes}", but got ${found}`, msg);
  }
}

/** Throw unless `fn` throws; gives what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Throw unless `fn` throws an instance of `kind` whose message contains `msgIncludes`; gives the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  kind: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  kindOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const kind = typeof kindOrMsg === "string" ? undefined : kindOrMsg;
  const text = typeof kindOrMsg === "string" ? kindOrMsg : msg;
  try {
    fn();
  } catch (error) {
    requireError(error, kind, msgIncludes, text);
    return error;
  }
  throw fault("Expected function to throw", text);
}

/** Reject unless the promise of `fn` rejects; gives what it rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Reject unless the promise of `fn` rejects with an instance of `kind` whose message contains `msgIncludes`. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  kind: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  kindOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const kind = typeof kindOrMsg === "string" ? undefined : kindOrMsg;
  const text = typeof kindOrMsg === "string" ? kindOrMsg : msg;
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch {
    throw fault("Function throws when expected to reject", text);
  }
  try {
    await promise;
  } catch (error) {
    requireError(error, kind, msgIncludes, text);
    return error;
  }
  throw fault("Expected function to reject", text);
}
