/** Trained parameters in a file, and back. @module */
import type { HostTensor, Lambdas } from "./training.ts";
import type { ShapeClass } from "./arena.ts";
import { byPlace, label } from "./plots/lambda.ts";

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

/** Marks of branches in a bar, first to last; further ones begin again. */
const MARKS = ["█", "░", "▓", "▒"];

/** A line for each adapted map: how its branches shared, as a bar, first branch left, and the first one's share. */
export function drawLambdas(lambdas: Lambdas, names: readonly string[], width = 24): string {
  const rows = Object.entries(lambdas).sort(([a], [b]) => byPlace(a, b));
  if (rows.length === 0) return "";
  const mark = (branch: number): string => MARKS[branch % MARKS.length]!;
  const pad = Math.max(...rows.map(([path]) => label(path).length));
  const lines = rows.map(([path, weights]) => {
    const total = weights.reduce((a, b) => a + b, 0);
    let from = 0, sum = 0;
    const bar = weights.map((weight, branch) => {
      sum += weight;
      const to = Math.round(sum / total * width);
      const part = mark(branch).repeat(to - from);
      from = to;
      return part;
    }).join("");
    return `  ${label(path).padEnd(pad)}  ${bar}  ${(weights[0] ?? 0).toFixed(2)}`;
  });
  return [`  ${"".padEnd(pad)}  ${names.map((name, b) => `${mark(b)} ${name}`).join("  ")}`, ...lines].join(
    "\n",
  );
}
