/**
 * Tiles of products by measurement: the best ones by the model are timed on the device, and the fastest is taken. Numbers
 * change in their last digits only, since sums are added up in another order. @module
 */
import type { Kernel } from "../kernel/kernel.ts";
import { printed, wgsl, type WgslLimits } from "../kernel/wgsl.ts";
import {
  type MatrixTile,
  productOf,
  rankTiles,
  type Tile,
  tileName,
  tuningKey,
} from "../kernel/wgsl_tile.ts";
import type { TileMemory, Tuned } from "../plan/device.ts";
import type { Plan, Step } from "../plan/plan.ts";
import { GpuExecutable } from "./executable.ts";
import { boundKernel } from "./launches.ts";
import type { Memory } from "./memory.ts";
import type { Pipelines } from "./pipelines.ts";
import { profile } from "./profile.ts";

/** Tiles of a product that are timed. */
const CANDIDATES = 3;
/** Times that each is run for one reading of timestamps, and readings; the fastest run counts. */
const RUNS = 8, ROUNDS = 2;
/** Share of the model's time below which another tile is taken: less is chance. */
const CLEARLY = 0.97;

/** A product of a plan and the tiles that it may have, the model's first. */
interface Candidates {
  readonly key: string;
  readonly kernel: Kernel;
  readonly step: Step;
  readonly tiles: readonly (Tile | MatrixTile)[];
  /** Text with the model's tile: what is remembered is forgotten when printing changes. */
  readonly text: string;
}

/**
 * Choose the tiles of a plan's products: what `known` remembers of them, else what is measured, which it is told. The
 * pipelines print with them from then on. Throws where the device has no timestamps and there is something to measure.
 */
export async function tune(
  plan: Plan,
  memory: Memory,
  pipelines: Pipelines,
  known: TileMemory,
): Promise<Tuned> {
  const all = candidatesOf(plan, pipelines);
  const chosen = new Map<string, string>(), start = performance.now();
  let measured = 0, other = 0;
  const remembered = ({ tiles, text }: Candidates): string | undefined =>
    tiles.map(tileName).find((n) => n === known.get(text));
  // Begun all at once, since threads share what is many; what goes wrong is told when it is timed.
  const unknown = all.filter((c) => remembered(c) === undefined);
  pipelines.readyAll(
    unknown.flatMap((c) =>
      c.tiles.map((tile) => [printed(boundKernel(plan, c.step), withTile(pipelines, c.key, tile))])
    ),
  ).forEach((ready) => ready.catch(() => {}));
  for (const candidate of all) {
    const { key, kernel, step, tiles, text } = candidate, names = tiles.map(tileName);
    let name = remembered(candidate);
    if (name === undefined) {
      const times = await timesOf(plan, step, kernel, tiles, memory, pipelines);
      const best = times.indexOf(Math.min(...times));
      name = names[times[best]! < CLEARLY * times[0]! ? best : 0]!;
      known.set(text, name);
      measured++;
    }
    if (name !== names[0]) other++;
    chosen.set(key, name);
  }
  pipelines.useTiles(chosen);
  return { products: all.length, measured, other, seconds: (performance.now() - start) / 1000 };
}

/** Limits with which the product of this key has one tile. */
function withTile({ limits }: Pipelines, key: string, tile: Tile | MatrixTile): WgslLimits {
  return { ...limits, tuned: new Map([[key, tileName(tile)]]) };
}

function candidatesOf(plan: Plan, { limits }: Pipelines): Candidates[] {
  const found = new Map<string, Candidates>();
  for (const step of plan.steps) {
    const kernel = plan.kernels[step.kernel]!, { body } = kernel;
    if (body.form !== "contract") continue;
    const key = tuningKey(kernel);
    if (found.has(key)) continue;
    const tiles = rankTiles(productOf(body), limits).slice(0, CANDIDATES);
    const { code } = wgsl(kernel, { ...limits, tuned: new Map() });
    if (tiles.length > 1) found.set(key, { key, kernel, step, tiles, text: code.slice(code.indexOf("\n")) });
  }
  return [...found.values()];
}

/** Seconds of a step with each of the tiles: the fastest of some runs, on memory of its own that holds zeros. */
async function timesOf(
  plan: Plan,
  step: Step,
  kernel: Kernel,
  tiles: readonly (Tile | MatrixTile)[],
  memory: Memory,
  pipelines: Pipelines,
): Promise<number[]> {
  const bound = boundKernel(plan, step), key = tuningKey(kernel);
  const buffers = [...new Set(step.slots.map((p) => p.buffer))];
  const own: Step = {
    kernel: 0,
    slots: step.slots.map(({ buffer, offset }) => ({ buffer: buffers.indexOf(buffer), offset })),
  };
  const alone: Plan = {
    ...{ inputs: [], outputs: [], kernels: [kernel], steps: new Array<Step>(RUNS).fill(own) },
    buffers: buffers.map((b) => ({ bytes: plan.buffers[b]!.bytes, role: "temporary" })),
  };
  const launches = alone.steps.map((_, i) => ({ steps: [i], kernels: [bound] }));
  const times: number[] = [];
  const executables: GpuExecutable[] = [];
  try {
    const ready = await Promise.all(
      tiles.map((tile) => pipelines.ready([bound], withTile(pipelines, key, tile))),
    );
    for (const each of ready) {
      executables.push(new GpuExecutable(alone, memory, launches, launches.map(() => each), 0));
    }
    // One after the other in each round, so that a clock that rises favours none.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [i, executable] of executables.entries()) {
        const seconds = (await profile(executable, [])).map((t) => t.seconds);
        // The first round warms up.
        if (round > 0) times[i] = Math.min(times[i] ?? Infinity, ...seconds);
      }
    }
  } finally {
    executables.forEach((executable) => executable.dispose());
  }
  return times;
}
