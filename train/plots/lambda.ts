/** The picture of λ: how the branches of mixed adapters shared the steps, layer by layer, over a run. @module */
import { writeTextAtomically } from "../atomic_file.ts";
import { type Cell, heatMap } from "./heat_map.ts";

/** Weights of the branches at one step, by the path of the adapted map. */
export interface LambdaStep {
  readonly step: number;
  readonly lambda: Readonly<Record<string, readonly number[]>>;
}

/** More adapted maps than this are shown as the mean of each layer. */
const MOST_ROWS = 64;
/** More steps than this are shown as means of several. */
const MOST_COLUMNS = 64;

/** The lines of `metrics.jsonl` that tell λ; none for runs without mixed adapters. */
export function readLambdas(metricsFile: string): LambdaStep[] {
  return Deno.readTextFileSync(metricsFile).split("\n").filter((line) => line.includes('"lambda"'))
    .map((line) => JSON.parse(line) as LambdaStep);
}

/**
 * Draw `metrics.jsonl` of a run with mixed adapters as a heat map, layers × steps, into `outFile`. Resolves to false, and
 * writes nothing, where the file tells no λ. With two branches the first one's weight is shown, the other has the rest.
 * `names` are those of the branches. Costs 0.2 to 0.3 s, most of it for loading the library.
 */
export async function drawLambdaHeatmap(
  metricsFile: string,
  outFile: string,
  names: readonly string[] = [],
): Promise<boolean> {
  const cells = lambdaCells(readLambdas(metricsFile), names);
  if (cells.length === 0) return false;
  const two = new Set(cells.map((c) => c.panel)).size === 1;
  const svg = await heatMap(cells, {
    title: "How the branches shared the steps",
    subtitle: two
      ? `λ of ${names[0] ?? "the first branch"}; ${names[1] ?? "the second"} has 1 − λ`
      : "weight of each branch; the weights of a map sum to 1",
    x: "step",
    value: "λ",
  });
  writeTextAtomically(outFile, svg);
  return true;
}

/** Cells of the picture: rows sorted by layer, then by the way of the data; steps put together evenly. */
export function lambdaCells(steps: readonly LambdaStep[], names: readonly string[] = []): Cell[] {
  const [first] = steps;
  if (!first) return [];
  const paths = Object.keys(first.lambda);
  const rows = Map.groupBy(
    paths.toSorted(byPlace),
    paths.length > MOST_ROWS ? (path) => `layer ${layerOf(path)}` : label,
  );
  const branches = Math.max(...Object.values(first.lambda).map((weights) => weights.length));
  const shown = branches === 2 ? [0] : Array.from({ length: branches }, (_, b) => b);
  const has = (path: string, branch: number): boolean => branch < first.lambda[path]!.length;
  const width = Math.ceil(steps.length / MOST_COLUMNS);
  const columns = Array.from(
    { length: Math.ceil(steps.length / width) },
    (_, c) => steps.slice(c * width, (c + 1) * width),
  );
  return shown.flatMap((branch) =>
    [...rows].flatMap(([row, all]) => {
      const members = all.filter((path) => has(path, branch));
      return members.length === 0 ? [] : columns.map((column): Cell => ({
        panel: shown.length === 1 ? "" : names[branch] ?? `branch ${branch + 1}`,
        row,
        from: column[0]!.step - 0.5,
        to: column.at(-1)!.step + 0.5,
        value: mean(column.flatMap(({ lambda }) => members.map((path) => lambda[path]![branch]!))),
      }));
    })
  );
}

/** `model.layers.3.mlp.up_proj` → 3; maps outside of layers come last. */
function layerOf(path: string): number {
  const found = /\.layers?\.(\d+)\./.exec(path) ?? /\.(\d+)\./.exec(path);
  return found ? Number(found[1]) : Infinity;
}

/** The maps of a layer in the order in which data flows through them; others after them, as they come. */
const ORDER: readonly string[] = [
  "c_attn",
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "attn.c_proj",
  "c_fc",
  "gate_proj",
  "up_proj",
  "down_proj",
  "mlp.c_proj",
];

function placeOf(path: string): number {
  // Inside another adapter, the mix's own path follows after a space.
  const place = ORDER.findIndex((name) => path.split(" ")[0]!.endsWith(`.${name}`));
  return place < 0 ? ORDER.length : place;
}

/** Order of adapted maps for people: by layer, then by the way of the data. */
export function byPlace(a: string, b: string): number {
  return layerOf(a) - layerOf(b) || placeOf(a) - placeOf(b);
}

/** A map's path in short: its layer and its name. */
export function label(path: string): string {
  const short = path.replace(/^(model\.layers|transformer\.h)\./, "");
  // GPT-2 has a c_proj in each of both blocks.
  return /\.c_proj\b/.test(short) ? short : short.replace(/(self_)?attn\.|mlp\./, "");
}

function mean(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0) / values.length;
}
