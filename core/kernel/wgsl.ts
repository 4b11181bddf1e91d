/** Kernels as WGSL, the language of WebGPU. @module */
import type { Kernel } from "./kernel.ts";
import { attention } from "./wgsl_attention.ts";
import { contract } from "./wgsl_contract.ts";
import { Module, Scope } from "./wgsl_expr.ts";
import { defaultLimits, type WgslLimits } from "./wgsl_memory.ts";
import { row } from "./wgsl_row.ts";
import { scatter } from "./wgsl_scatter.ts";
import { solve } from "./wgsl_solve.ts";
import { stages } from "./wgsl_stages.ts";
import { stagesGrad } from "./wgsl_stages_grad.ts";

export { DAWN_SUBGROUP, defaultLimits, type WgslLimits } from "./wgsl_memory.ts";
export { type MatrixTile, matrixTiles, SIDE, SUBGROUP } from "./wgsl_tile.ts";

/** How a form is spread over the device; its printer has written the body of the entry point into a scope. */
export interface Grid {
  /** Workgroups; the body finds its own number in `unit` and its invocation in `lane`. */
  readonly units: number;
  /** Invocations of a workgroup. */
  readonly lanes: number;
}

/** A shader and how many workgroups to dispatch; the entry point is `main`. */
export interface Wgsl {
  readonly code: string;
  readonly workgroups: readonly [number, number, number];
}

/** WebGPU's limit of workgroups along one dimension. */
const MAX_GROUPS = 65535;

/** A kernel's text in parts, and its grid. */
export interface Printed extends Grid {
  readonly module: Module;
  /** Statements of the entry point, which find `unit` and `lane`. */
  readonly lines: readonly string[];
}

/** Print the parts. Throws where a form does not fit into workgroup memory. */
export function printed(kernel: Kernel, limits: WgslLimits): Printed {
  const module = new Module(kernel, limits);
  const scope = new Scope(module);
  const { units, lanes } = print(module, scope);
  return { module, units, lanes, lines: scope.lines };
}

/** Print a kernel; slot i is binding i of group 0. Throws where a form does not fit into workgroup memory. */
export function wgsl(kernel: Kernel, limits: WgslLimits = defaultLimits): Wgsl {
  return wgslOf(printed(kernel, limits));
}

/** The shader of a kernel that was printed. */
export function wgslOf({ module, lines, units, lanes }: Printed): Wgsl {
  return entryPoint(module.kernel.name, module.preamble(), units, lanes, "unit", lines);
}

/** A shader whose `lines` find the number of their workgroup, below `units`, in the local called `unit`. */
export function entryPoint(
  name: string,
  preamble: readonly string[],
  units: number,
  lanes: number,
  unit: string,
  lines: readonly string[],
): Wgsl {
  const y = Math.max(1, Math.ceil(units / MAX_GROUPS)), x = Math.ceil(units / y);
  const number = y === 1 ? [`let ${unit} = group.x;`] : [
    `let ${unit} = group.x + group.y * ${x}u;`,
    ...(x * y > units ? [`if (${unit} >= ${units}u) { return; }`] : []),
  ];
  const shared = preamble.filter((line) => line.startsWith("var<workgroup>"));
  // Beside other variables, NVIDIA's driver lets matrix units and invocations disagree on where a buffer begins.
  if (shared.length > 1 && shared.some((line) => /: buffer</.test(line))) {
    throw new Error(`Kernel ${name} has a buffer beside other workgroup variables: ${shared.join(" ")}`);
  }
  const code = [
    `// ${name}`,
    // `enable` must come before everything but comments, which the preamble ensures.
    ...preamble,
    `@compute @workgroup_size(${lanes})`,
    "fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {",
    ...[...number, ...lines].map((l) => `  ${l}`),
    "}",
    "",
  ].join("\n");
  return { code, workgroups: [x, y, 1] };
}

function print(module: Module, scope: Scope): Grid {
  const { body } = module.kernel;
  switch (body.form) {
    case "row":
      return row(scope, body);
    case "contract":
      return contract(scope, body);
    case "stages":
      return stages(scope, body);
    case "stagesGrad":
      return stagesGrad(scope, body);
    case "solve":
      return solve(scope, body);
    case "scatter":
      return scatter(scope, body);
    case "attention":
      return attention(scope, body);
  }
}
