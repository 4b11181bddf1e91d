/** Trained parameters in a file, and back. @module */
import { type HostTensor, type Lambdas } from "./session.ts";
import type { ShapeClass } from "./arena.ts";

/** Names in the file: `<path of the map>.<leaf>`; a fully trained weight keeps its own name. */
export function namedParams(
  classes: readonly ShapeClass[],
  trained: ReadonlyMap<string, ReadonlyMap<string, HostTensor>>,
): Map<string, HostTensor> {
  const named = new Map<string, HostTensor>();
  for (const c of classes) {
    for (const member of c.members) {
      for (const [path, tensor] of trained.get(member) ?? []) {
        named.set(c.fitted ? `${member}.${path}` : member, tensor);
      }
    }
  }
  return named;
}

/** A line for each adapted map: how its branches shared the step, as a bar; first branch left. */
export function drawLambdas(lambdas: Lambdas, names: readonly [string, string], width = 24): string {
  const rows = Object.entries(lambdas);
  if (rows.length === 0) return "";
  const label = (path: string): string =>
    path.replace(/^model\.layers\./, "").replace(/self_attn\.|mlp\./, "");
  const pad = Math.max(...rows.map(([path]) => label(path).length));
  const lines = rows.map(([path, weights]) => {
    const share = weights[0] ?? 0, filled = Math.round(share * width);
    return `  ${label(path).padEnd(pad)}  ${"█".repeat(filled)}${"░".repeat(width - filled)}  ${
      share.toFixed(2)
    }`;
  });
  return [`  ${"".padEnd(pad)}  █ ${names[0]}  ░ ${names[1]}`, ...lines].join("\n");
}
