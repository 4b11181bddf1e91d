/** Models, adapters and checkpoints by their numbers. @module */
import { showBytes } from "../../core/mod.ts";
import { byPlace, label } from "../plots/lambda.ts";
import { showTable } from "../report.ts";
import { type Inspected, openInspected } from "./directory.ts";
import { type OrthogonalityError, orthogonalityErrors } from "./orthogonality.ts";
import { type TensorFacts, tensorFacts } from "./tensor_facts.ts";

/** Tensors of one layer together; `layer` is null for those outside of layers. */
export interface LayerFacts {
  readonly layer: number | null;
  readonly parameters: number;
  /** Frobenius norm of all of them; null without floats. */
  readonly norm: number | null;
}

/** What was found; the keys are those of `--json`. */
export interface Inspection {
  readonly kind: Inspected["kind"];
  readonly dir: string;
  readonly method: string | null;
  readonly parameters: number;
  readonly bytes: number;
  /** Parameters by element type. */
  readonly dtypes: Readonly<Record<string, number>>;
  /** Values that are NaN or infinite. */
  readonly nonfinite: number;
  readonly layers: readonly LayerFacts[];
  readonly rotations: readonly OrthogonalityError[];
  readonly lambdas: Readonly<Record<string, readonly number[]>>;
  readonly tensors: readonly TensorFacts[];
  readonly notes: readonly string[];
}

/** Look at a directory or file. Throws UserError, also for damaged files. */
export async function inspect(path: string): Promise<Inspection> {
  const { kind, dir, method, files, rotations, lambdas, notes } = openInspected(path);
  const tensors = files.flatMap(tensorFacts);
  const sum = (of: (t: TensorFacts) => number): number => tensors.reduce((n, t) => n + of(t), 0);
  const types = Map.groupBy(tensors, (t) => t.dtype);
  return {
    ...{ kind, dir, method },
    parameters: sum((t) => t.parameters),
    bytes: sum((t) => t.bytes),
    dtypes: Object.fromEntries(
      [...types].map(([type, all]) => [type, all.reduce((n, t) => n + t.parameters, 0)]),
    ),
    nonfinite: sum((t) => t.nonfinite ?? 0),
    layers: layersOf(tensors),
    rotations: await orthogonalityErrors(rotations),
    ...{ lambdas, tensors, notes },
  };
}

function layersOf(tensors: readonly TensorFacts[]): LayerFacts[] {
  const layerOf = ({ name }: TensorFacts): number | null => {
    const found = /\.(?:layers?|h)\.(\d+)\./.exec(`.${name}`);
    return found ? Number(found[1]) : null;
  };
  return [...Map.groupBy(tensors, layerOf)].map(([layer, all]) => {
    const norms = all.flatMap((t) => t.norm ?? []);
    return {
      layer,
      parameters: all.reduce((n, t) => n + t.parameters, 0),
      norm: norms.length === 0 ? null : Math.hypot(...norms),
    };
  }).sort((a, b) => (a.layer ?? Infinity) - (b.layer ?? Infinity));
}

const count = (n: number): string => n.toLocaleString("en");
const number = (x: number | null): string => x === null ? "–" : x === 0 ? "0" : x.toPrecision(4);

/** An inspection for people; `all` lists every tensor. */
export function showInspection(found: Inspection, all: boolean): string {
  const { kind, dir, method, parameters, bytes, dtypes, nonfinite, layers, tensors, notes } = found;
  const types = Object.entries(dtypes).map(([type, n]) => `${count(n)} ${type}`).join(", ");
  const head = [
    `${dir}: ${kind}${method === null ? "" : ` (${method})`}`,
    `${count(tensors.length)} tensors, ${count(parameters)} parameters (${types}), ${showBytes(bytes)}`,
    ...(nonfinite > 0 ? [`warning: ${count(nonfinite)} values are NaN or infinite`] : []),
    ...notes,
  ].join("\n");
  const layerRows = layers.map((l) => [
    l.layer === null ? "outside" : String(l.layer),
    count(l.parameters),
    number(l.norm),
  ]);
  const tensorRows = tensors.map((t) => [
    t.name,
    t.dtype,
    t.shape.join("×") || "scalar",
    count(t.parameters),
    number(t.norm),
    number(t.largest),
    ...(nonfinite > 0 ? [count(t.nonfinite ?? 0)] : []),
  ]);
  const tables = [
    layers.length > 1 ? [["layer", "parameters", "norm"], ...layerRows] : [],
    mapRows(found),
    all
      ? [[
        "tensor",
        "type",
        "shape",
        "parameters",
        "norm",
        "largest",
        ...(nonfinite > 0 ? ["not finite"] : []),
      ], ...tensorRows]
      : [],
  ];
  return [head, ...tables.filter((t) => t.length > 0).map(showTable)].join("\n\n");
}

/** A row for each rotation and each λ. */
function mapRows({ rotations, lambdas }: Inspection): string[][] {
  // A branch's rotation stands in the row of its map.
  const ownerOf = (name: string): string =>
    Object.keys(lambdas).find((path) => name.startsWith(`${path}.`)) ?? name;
  const errors = new Map<string, OrthogonalityError[]>();
  for (const r of rotations) errors.set(ownerOf(r.name), [...errors.get(ownerOf(r.name)) ?? [], r]);
  const paths = [...new Set([...Object.keys(lambdas), ...errors.keys()])].sort(byPlace);
  if (paths.length === 0) return [];
  const hasErrors = rotations.length > 0, hasLambdas = Object.keys(lambdas).length > 0;
  const shownError = (list: readonly OrthogonalityError[] | undefined): string =>
    list ? list.map((r) => `${r.error.toExponential(1)}${r.sampled ? " (sampled)" : ""}`).join(", ") : "–";
  return [
    ["map", ...(hasErrors ? ["|R·Rᵀ − I|"] : []), ...(hasLambdas ? ["λ"] : [])],
    ...paths.map((path) => [
      label(path),
      ...(hasErrors ? [shownError(errors.get(path))] : []),
      ...(hasLambdas ? [(lambdas[path] ?? []).map((x) => x.toFixed(3)).join(" ")] : []),
    ]),
  ];
}
