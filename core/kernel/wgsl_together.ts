/**
 * Several kernels as one shader: small ones that do not touch each other's results fill a GPU better side by side than
 * one after the other. The first workgroups run the first kernel, the next ones the second, and so on. @module
 */
import type { Kernel, Slot } from "./kernel.ts";
import { entryPoint, type Printed, printed, type Wgsl } from "./wgsl.ts";
import type { WgslLimits } from "./wgsl_memory.ts";

/** A shader of several kernels. */
export interface Together extends Wgsl {
  /** What the bindings are: those of the first kernel's slots, then of the second's, … */
  readonly slots: readonly Slot[];
}

/** A kind of workgroup variable that kernels can share: each starts anew in it. */
const SHARED = /^var<workgroup> (\w+): (?:array<(f32|vec4f|array<vec4f, \d+>), (\d+)>|(buffer)<(\d+)>);$/;

/** Bytes of an element: a number, a vector of four, a row of such vectors, or a byte of a buffer. */
function bytesOf(type: string): number {
  const row = /^array<vec4f,(\d+)>$/.exec(type);
  return row ? 16 * Number(row[1]) : { f32: 4, vec4f: 16, buffer: 1 }[type]!;
}

/** Bytes of workgroup memory that shared variables of printed kernels take; null where they cannot be one shader. */
export function sharedBytes(of: readonly Printed[]): number | null {
  const room = roomOf(of);
  return room && [...room].reduce((sum, [kind, count]) => sum + bytesOf(kind.split(" ")[0]!) * count, 0);
}

/**
 * Elements of each shared variable: the first of a kind in every kernel is one, the second another. Null where one shader
 * cannot hold them all.
 */
function roomOf(of: readonly Printed[]): Map<string, number> | null {
  const room = new Map<string, number>();
  // Drivers crash over matrix units beside other work of subgroups.
  if (new Set(of.map(({ module }) => module.directives.join()).filter((d) => d !== "")).size > 1) return null;
  for (const { module } of of) {
    for (const { kind, count } of variablesOf(module.globals) ?? []) {
      room.set(kind, Math.max(count, room.get(kind) ?? 0));
    }
    if (variablesOf(module.globals) === null) return null;
  }
  // A buffer has to be alone.
  return room.size > 1 && [...room.keys()].some((kind) => kind.startsWith("buffer")) ? null : room;
}

/** Workgroup variables of a kernel by kind and number among that kind; null where one cannot be shared. */
function variablesOf(
  globals: readonly string[],
): { readonly name: string; readonly kind: string; readonly count: number }[] | null {
  const seen = new Map<string, number>();
  const all = globals.filter((g) => g.startsWith("var<workgroup>")).map((g) => {
    const match = SHARED.exec(g);
    if (!match) return null;
    const type = (match[2] ?? match[4]!).replaceAll(" ", ""), n = seen.get(type) ?? 0;
    seen.set(type, n + 1);
    return { name: match[1]!, kind: `${type} ${n}`, count: Number(match[3] ?? match[5]) };
  });
  return all.includes(null) ? null : all.flatMap((v) => v ?? []);
}

/**
 * Print kernels as one. All must have the same number of invocations and {@linkcode sharedBytes}; binding i is the
 * i-th of all their slots.
 */
export function wgslTogether(kernels: readonly Kernel[], limits: WgslLimits): Together {
  return together(kernels.map((k) => printed(k, limits)));
}

/** {@linkcode wgslTogether} for kernels that were printed. */
export function together(parts: readonly Printed[]): Together {
  const kernels = parts.map((p) => p.module.kernel), room = roomOf(parts), { lanes } = parts[0]!;
  if (room === null || parts.some((p) => p.lanes !== lanes)) {
    throw new Error(`Kernels ${kernels.map((k) => k.name).join(", ")} cannot be one.`);
  }
  const shared = (kind: string): string => `shared_${kind.replace(/\W+/g, "_")}`;
  const variables = [...room].map(([kind, count]) => {
    const [type] = kind.split(" ") as [string];
    return `var<workgroup> ${shared(kind)}: ${
      type === "buffer" ? `buffer<${count}>` : `array<${type}, ${count}>`
    };`;
  });
  const declarations: string[] = [], definitions: string[] = [], lines: string[] = [];
  let first = 0, binding = 0;
  parts.forEach(({ module, units, lines: own }, i) => {
    const names = new Map<string, string>();
    for (const { name, kind } of variablesOf(module.globals)!) names.set(name, shared(kind));
    for (const [, name] of module.definitions().flatMap((d) => [...d.matchAll(/^fn (\w+)/gm)])) {
      names.set(name!, `${name}_k${i}`);
    }
    module.kernel.slots.forEach((_, slot) => names.set(`s${slot}`, `s${binding + slot}`));
    const renamed = (text: string): string =>
      text.replace(/\b[A-Za-z_]\w*\b/g, (word) => names.get(word) ?? word);
    declarations.push(
      ...module.declarations().map((d, slot) =>
        renamed(d).replace(`@binding(${slot})`, `@binding(${binding + slot})`)
      ),
    );
    definitions.push(...module.definitions().filter((d) => !d.startsWith("var<workgroup>")).map(renamed));
    const last = i === parts.length - 1;
    lines.push(
      `${i === 0 ? "" : "} else "}${last ? "{" : `if (launched < ${first + units}u) {`}`,
      `  let unit = launched${first === 0 ? "" : ` - ${first}u`};`,
      ...own.map((l) => `  ${renamed(l)}`),
    );
    first += units;
    binding += module.kernel.slots.length;
  });
  const extensions = [...new Set(parts.flatMap(({ module }) => module.extensions()))];
  return {
    ...entryPoint(
      kernels.map((k) => k.name).join(" | "),
      [...extensions, ...declarations, ...variables, ...definitions],
      first,
      lanes,
      "launched",
      [...lines, "}"],
    ),
    slots: kernels.flatMap((k) => k.slots),
  };
}
