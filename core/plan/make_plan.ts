/** Planning: kernels in a line, values in buffers that are used again as soon as their last reader is done. @module */
import { type Aval, bytesOf, sizeOf } from "../ir/aval.ts";
import { ixVar } from "../ir/ix.ts";
import type { Program } from "../ir/program.ts";
import { scalarType } from "../ir/expr.ts";
import { canUpdate, finish } from "../kernel/finish.ts";
import { fuse, type FuseLimits } from "../kernel/fuse.ts";
import type { Kernel } from "../kernel/kernel.ts";
import { kernelKey } from "../kernel/show_kernel.ts";
import { allocate } from "./allocate.ts";
import type { Plan, Step } from "./plan.ts";
import { expand } from "./expand.ts";
import { halveLate } from "./halve_late.ts";
import { narrow } from "./narrow.ts";
import { overlap } from "./overlap.ts";
import { type Recomputation, recompute } from "./recompute.ts";
import { type Donation, prepare } from "./prepare.ts";
import { splitDeep, type Splitting } from "./split.ts";

/** What a plan must respect and may use. */
export interface PlanLimits extends FuseLimits {
  /** Products may round their operands to f16, so values may be stored so; default false. */
  readonly halfProducts?: boolean;
  /** Values that may be computed again rather than kept; absent: all are kept. */
  readonly recompute?: Recomputation;
  /** Deep products that may be cut into parts; absent: none is. */
  readonly split?: Splitting;
  /** Order the kernels so that neighbours can run at once, as on a GPU; default false. */
  readonly overlap?: boolean;
}

/** Compile a program down to a plan. */
export function makePlan(source: Program, limits: PlanLimits, donations: readonly Donation[] = []): Plan {
  const prepared = prepare(expand(source, limits.halfProducts ?? false), donations);
  const fused = fuse(prepared, limits), { bindings } = fused;
  const stored = limits.halfProducts
    ? { ...fused, program: narrow(prepared, fused.drafts, bindings) }
    : fused;
  const whole = limits.recompute ? recompute(stored, limits, limits.recompute) : stored;
  const light = limits.halfProducts && limits.recompute
    ? halveLate({ ...whole, bindings }, limits, limits.recompute)
    : whole;
  const { program, drafts } = limits.split ? splitDeep({ ...light, bindings }, limits.split) : light;
  const lastRead = new Map<number, number>();
  drafts.forEach((d, i) => bindings.reads(d.body).forEach((id) => lastRead.set(id, i)));
  const { inPlace, late } = takeOver(program, donations, (to, from) => {
    const i = drafts.findIndex((d) => d.writes.includes(to));
    return i >= 0 && (lastRead.get(from) ?? -1) <= i && canUpdate(drafts[i]!, bindings, from, to);
  });
  const uses = drafts.map((d) => finish(program, d, bindings, inPlace));
  const { places, buffers } = allocate(program, uses, inPlace, limits.overlap ?? false);
  const table = new KernelTable();
  const steps: Step[] = uses.map((use) => ({
    kernel: table.add(use.kernel),
    slots: use.bound.map(({ node, base }) => {
      const { buffer, offset } = places.get(node)!;
      return { buffer, offset: offset + base * bytesOf(program.nodes[node]!.aval.dtype) };
    }),
  }));
  const outputs = program.outputs.map((id) => ({ aval: program.nodes[id]!.aval, place: places.get(id)! }));
  for (const { output, input } of late) {
    const id = program.outputs[output]!, to = places.get(program.inputs[input]!)!;
    const at = program.nodes[id]!.aval;
    steps.push({ kernel: table.add(copyKernel(at)), slots: [places.get(id)!, to] });
    outputs[output] = { aval: at, place: to };
  }
  const inputs = program.inputs.map((id) => ({
    aval: program.nodes[id]!.aval,
    buffer: places.get(id)!.buffer,
  }));
  const plan = { inputs, outputs, buffers, kernels: table.kernels, steps };
  return limits.overlap ? overlap(plan) : plan;
}

/** Which outputs are written straight into their input's memory, and which must be copied there at the end. */
function takeOver(
  program: Program,
  donations: readonly Donation[],
  fits: (to: number, from: number) => boolean,
): { inPlace: Map<number, number>; late: Donation[] } {
  const inPlace = new Map<number, number>();
  const late: Donation[] = [];
  for (const donation of donations) {
    const to = program.outputs[donation.output]!, from = program.inputs[donation.input]!;
    if (to === from) continue;
    if (
      !inPlace.has(to) && program.outputs.indexOf(to) === program.outputs.lastIndexOf(to) && fits(to, from)
    ) inPlace.set(to, from);
    else late.push(donation);
  }
  return { inPlace, late };
}

/** Each distinct kernel once. */
class KernelTable {
  readonly kernels: Kernel[] = [];
  readonly #known = new Map<string, number>();

  add(kernel: Kernel): number {
    const key = kernelKey(kernel);
    const old = this.#known.get(key);
    if (old !== undefined) return old;
    this.#known.set(key, this.kernels.length);
    return this.kernels.push(kernel) - 1;
  }
}

/** Copies slot 0 to slot 1, element by element. */
function copyKernel({ shape, dtype }: Aval): Kernel {
  const v = { name: "d0", extent: sizeOf(shape) };
  const ix = ixVar(v);
  return {
    name: "copy",
    slots: [{ dtype, access: "read" }, { dtype, access: "write" }],
    body: {
      form: "row",
      outer: [],
      reduces: [],
      rowStores: [],
      inner: [v],
      stores: [{ slot: 1, ix, value: { kind: "load", type: scalarType(dtype), slot: 0, ix, valid: [] } }],
    },
  };
}
