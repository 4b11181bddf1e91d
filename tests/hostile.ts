/** Files that somebody made to do harm: mutations of good ones, and a watch over what reading them does. @module */
import { assert } from "@std/assert";
import * as fc from "fast-check";
import { gunzipSync, gzipSync } from "node:zlib";
import * as Effect from "effect/Effect";
import { UserError } from "../train/errors.ts";
import { attempt } from "../train/attempt.ts";

/** Files of a directory by their names in it. */
export type Files = ReadonlyMap<string, Uint8Array>;

/** What is put in the place of a file. */
export type Stray = "nothing" | "directory" | "zeros" | "loop" | "outside";

/** A directory to write: files, and what stands in the place of some. */
export interface Hostile {
  readonly files: Files;
  readonly strays: ReadonlyMap<string, Stray>;
}

const utf8 = new TextEncoder(), text = new TextDecoder();

/** Numbers, texts and other values that readers of JSON do not expect. */
const NUMBERS: readonly number[] = [0, -1, 1, 7, 1.5, 1000, 65536, 2 ** 31, 2 ** 40, 2 ** 53, 1e300, -1e300];
const TEXTS: readonly string[] = [
  ...["", "NaN", "../../../etc/passwd", "/etc/passwd", "..\\x", "a\0b.safetensors", "\x1b[2J", "\uD800"],
  ...["(a+)+$", "(a|a)*b", "(?:x*)*y", "((", "a{1000000}", "[a-z]{1,60}{1,60}$"],
  "{% for i in range(1000000000) %}{{ i }}{% endfor %}",
  "{{ 'x' * 1000000000 }}",
  "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s|replace('a', ns.s) %}{% endfor %}",
  "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
  ...["__proto__", "constructor", "toString", "all-linear", "hybrid(r=1000000000)"],
  "x".repeat(100_000),
];
const OTHERS: readonly (() => unknown)[] = [
  ...[null, true, false, [], {}].map((v) => () => v),
  () => ({ toString: 1, valueOf: 1 }),
  () => JSON.parse('{"__proto__": {"polluted": true}}'),
  () => Array.from({ length: 20_000 }, (_, i) => i),
  () => JSON.parse(`${"[".repeat(30_000)}${"]".repeat(30_000)}`),
  () => JSON.parse(`${'{"a":'.repeat(30_000)}1${"}".repeat(30_000)}`),
];

/** A bad value; half of the time of the type that stands there. */
function badValue(old: unknown, what: number): unknown {
  const n = what >>> 2;
  if (what % 2 === 0 && typeof old === "number") return NUMBERS[n % NUMBERS.length];
  if (what % 2 === 0 && typeof old === "string") return TEXTS[n % TEXTS.length];
  const all = [...NUMBERS, ...TEXTS].map((v) => () => v as unknown).concat(OTHERS, OTHERS);
  return all[n % all.length]!();
}

type Fields = Record<string, unknown>;

function isContainer(x: unknown): x is Fields {
  return typeof x === "object" && x !== null && Object.keys(x).length > 0;
}

/** A place in a JSON value: the way down is as likely through a small part as through a large one. */
function placeIn(json: Fields, where: number): { readonly holder: Fields; readonly key: string } {
  let holder = json, left = where;
  const draw = (limit: number): number => {
    const n = left % limit;
    left = Math.imul(left ^ (left >>> 15), 0x2c1b3c6d) >>> 0;
    return n;
  };
  for (;;) {
    const keys = Object.keys(holder), key = keys[draw(keys.length)]!, inner = holder[key];
    if (!isContainer(inner) || draw(4) === 0) return { holder, key };
    holder = inner;
  }
}

/** Change a JSON value at one place, as numbers say. */
function mutateJson(json: unknown, [where, how, what]: readonly [number, number, number]): unknown {
  const copy: unknown = structuredClone(json);
  if (!isContainer(copy) || how % 32 === 0) return badValue(json, what);
  const { holder, key } = placeIn(copy, where), value = badValue(holder[key], what);
  const put = (name: string, v: unknown): void =>
    void Object.defineProperty(holder, name, {
      value: v,
      enumerable: true,
      writable: true,
      configurable: true,
    });
  switch (how % 8) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      break;
    case 1:
      put(typeof value === "string" ? value : `${key}2`, holder[key]);
      break;
    case 2: {
      const other = placeIn(copy, what);
      put(key, structuredClone(other.holder[other.key]));
      break;
    }
    default:
      put(key, value);
  }
  return copy;
}

/** The text of a JSON value; what JavaScript cannot write stays as it was. */
function mutateText(json: string, by: readonly [number, number, number]): string {
  try {
    return JSON.stringify(mutateJson(JSON.parse(json), by)) ?? json;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return json;
    throw error;
  }
}

/** Change what a file says in its own language. */
function mutateMeaning(name: string, bytes: Uint8Array, by: readonly [number, number, number]): Uint8Array {
  if (name.endsWith(".gz")) {
    let inner: Uint8Array;
    try {
      inner = gunzipSync(bytes);
    } catch {
      return bytes;
    }
    return gzipSync(mutateMeaning(name.slice(0, -3), inner, by));
  }
  if (name.endsWith(".json")) return utf8.encode(mutateText(text.decode(bytes), by));
  if (name.endsWith(".safetensors") && bytes.length >= 8) {
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    const header = utf8.encode(mutateText(text.decode(bytes.subarray(8, 8 + length)), by));
    const head = new Uint8Array(8);
    new DataView(head.buffer).setBigUint64(0, BigInt(header.length), true);
    return joined([head, header, bytes.subarray(8 + length)]);
  }
  // Thrift's varints are what a parquet file says in its own language: the end of its bytes describes the rest.
  if (name.endsWith(".parquet")) {
    return mutateBytes(bytes, [bytes.length - 1 - by[0] % 400, 2 * by[1] + 1, by[2]]);
  }
  const lines = text.decode(bytes).split("\n"), at = by[0] % lines.length;
  if (name.endsWith(".jsonl")) lines[at] = mutateText(lines[at]!, [by[2], by[1], by[2]]);
  else {
    const cells = lines[at]!.split(/[\t,]/), value = badValue("", by[2]);
    cells[by[1] % cells.length] = typeof value === "string" ? value : '"';
    lines[at] = cells.join(name.endsWith(".csv") ? "," : "\t");
  }
  return utf8.encode(lines.join("\n"));
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Lengths and counts as a file may claim them. */
const CLAIMS = [10_000_000_000n, 2n ** 63n, 2n ** 64n - 1n, 99_999_999n, 0n, 7n];

function mutateBytes(bytes: Uint8Array, [where, how, what]: readonly [number, number, number]): Uint8Array {
  // Heads are where lengths are.
  const at = how % 2 === 0 ? where % Math.min(64, bytes.length + 1) : where % (bytes.length + 1);
  const end = Math.min(bytes.length, at + 1 + what % 64);
  const [before, part, after] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
  switch (how % 7) {
    case 0:
      return before;
    case 1:
      return joined([before, after]);
    case 2:
      return joined([before, part, part, after]);
    case 3:
      return joined([before, part.map((b, i) => b ^ (what >> (i % 24))), after]);
    case 4: {
      const claim = new Uint8Array(8);
      new DataView(claim.buffer).setBigUint64(0, CLAIMS[what % CLAIMS.length]!, true);
      return joined([before, claim, bytes.subarray(Math.min(bytes.length, at + 8))]);
    }
    case 5:
      return joined([
        before,
        Uint8Array.from({ length: 1 + what % 300 }, (_, i) => what * (i + 1)),
        part,
        after,
      ]);
    default:
      return joined([before, new Uint8Array(part.length), after]);
  }
}

/** Directories made from a good one by one to three changes. */
export function hostileFiles(good: Files): fc.Arbitrary<Hostile> {
  const names = [...good.keys()];
  const change = fc.record({
    kind: fc.constantFrom("meaning", "meaning", "meaning", "bytes", "bytes", "stray"),
    file: fc.nat(names.length - 1),
    by: fc.tuple(fc.nat(), fc.nat(), fc.nat()),
  });
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => {
    const files = new Map(good), strays = new Map<string, Stray>();
    for (const { kind, file, by } of changes) {
      const name = names[file]!, bytes = files.get(name)!;
      if (kind === "meaning") files.set(name, mutateMeaning(name, bytes, by));
      else if (kind === "bytes") files.set(name, mutateBytes(bytes, by));
      else {
        const all: readonly Stray[] = ["nothing", "nothing", "directory", "zeros", "loop", "outside"];
        strays.set(name, all[by[0] % all.length]!);
      }
    }
    return { files, strays };
  });
}

/** Write a directory anew. */
export function writeHostile(dir: string, { files, strays }: Hostile): void {
  for (const { name } of [...Deno.readDirSync(dir)]) Deno.removeSync(`${dir}/${name}`, { recursive: true });
  for (const [name, bytes] of files) {
    const path = `${dir}/${name}`, stray = strays.get(name);
    if (name.includes("/")) Deno.mkdirSync(path.replace(/\/[^/]*$/, ""), { recursive: true });
    switch (stray) {
      case undefined:
        Deno.writeFileSync(path, bytes);
        break;
      case "directory":
        Deno.mkdirSync(path);
        break;
      case "zeros":
        Deno.symlinkSync("/dev/zero", path);
        break;
      case "loop":
        Deno.symlinkSync(path, path);
        break;
      case "outside":
        Deno.symlinkSync("/etc/passwd", path);
        break;
    }
  }
}

/** Milliseconds that reading one directory may take; the slowest real ones take a tenth. */
const PATIENCE = 5000;
/** Bytes that one array may have beside what the files justify. */
const SPARE = 2 ** 20;
/** Longest message. */
const LINE = 3000;

const ARRAYS = [
  "Uint8Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float32Array",
  "Float64Array",
] as const;
const READERS = [
  "openSync",
  "readFileSync",
  "readTextFileSync",
  "statSync",
  "readDirSync",
  "lstatSync",
] as const;
type Call = (...args: unknown[]) => unknown;

/**
 * Read a directory under watch. Nothing but UserError may be thrown, in one printable line; no path outside of `dir` may
 * be opened, no array be asked for that is out of proportion to the files, and it may not take long. Returns the refusal,
 * or null where the files were taken.
 */
export async function underWatch(dir: string, bytes: number, read: () => unknown): Promise<UserError | null> {
  const faults: string[] = [];
  const most = SPARE + 64 * bytes;
  const undo: (() => void)[] = [];
  const replace = (holder: object, name: string, by: (old: unknown) => unknown): void => {
    const old: unknown = Reflect.get(holder, name);
    Reflect.set(holder, name, by(old));
    undo.push(() => Reflect.set(holder, name, old));
  };
  for (const name of READERS) {
    replace(Deno, name, (old) => (...args: unknown[]) => {
      const path = String(args[0]);
      if (!`${path}/`.startsWith(`${dir}/`) || /(^|\/)\.\.(\/|$)/.test(path)) {
        faults.push(`${name} of ${path}`);
      }
      return (old as Call).apply(Deno, args);
    });
  }
  for (const name of ARRAYS) {
    replace(globalThis, name, (old) =>
      new Proxy(old as new (...args: unknown[]) => ArrayBufferView, {
        construct: (target, args: unknown[], as) => {
          const asked = typeof args[0] === "number" ? args[0] * Reflect.get(target, "BYTES_PER_ELEMENT") : 0;
          if (asked > most) faults.push(`${name} of ${asked} bytes for files of ${bytes}`);
          // So that a fault is told instead of a machine without memory.
          return Reflect.construct(target, asked > most ? [0] : args, as) as object;
        },
      }));
  }
  const begin = performance.now();
  let refusal: UserError | null = null;
  try {
    // As programs do it.
    refusal = await Effect.runPromise(
      Effect.match(attempt(async () => void await read()), {
        onFailure: (error) => error,
        onSuccess: () => null,
      }),
    );
  } catch (error) {
    faults.push(error instanceof Error ? `${error.stack}` : String(error));
  } finally {
    undo.forEach((back) => back());
  }
  const took = performance.now() - begin;
  if (took > PATIENCE) faults.push(`took ${took.toFixed()} ms`);
  if (refusal && (refusal.message.length > LINE || /\p{Cc}/u.test(refusal.message))) {
    faults.push(`the message is no line for people: ${JSON.stringify(refusal.message).slice(0, 400)}`);
  }
  assert(Reflect.get({}, "polluted") === undefined, "a file changed what all objects are");
  assert(faults.length === 0, faults.join("\n"));
  return refusal;
}

/** How many directories of each kind are tried: `GYRE_HOSTILE` says how many of all kinds together, else a few. */
export function triesOf(kinds: number): number {
  return Math.ceil(Number(Deno.env.get("GYRE_HOSTILE") ?? 2000) / kinds);
}
