/**
 * The CPU target next to other WebAssembly libraries, in one process: `deno task bench [matmul] [step] [methods] [large]`,
 * all but the last unless named. Prints tables to the standard error and one JSON line a measurement to the standard
 * output. @module
 */
import { cpus } from "node:os";
import { timeRuns } from "./contender.ts";
import { gyre } from "./gyre.ts";
import { benchLarge } from "./large.ts";
import { jaxJs, tensorflow } from "./peers.ts";
import { benchMethods, benchStep, type Record } from "./steps.ts";

const SIZES = [256, 512, 1024];

const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: navigator.hardwareConcurrency };
const record: Record = (measurement) => console.log(JSON.stringify({ ...measurement, ...machine }));

/** Square f32 products: Gyre on all threads and on one, and the peers. */
async function benchMatmul(): Promise<void> {
  console.error("f32 matrix product, GFLOP/s (median; best)");
  console.error(["".padEnd(28), "threads", ...SIZES.map((n) => String(n).padStart(16))].join(" "));
  const makers = [...new Set([machine.cores, 1])].map((threads) => () => gyre(threads));
  for (const make of [...makers, tensorflow, jaxJs]) {
    const { name, threads, prepare, close } = await make();
    const cells: string[] = [];
    for (const n of SIZES) {
      const { run, free } = await prepare(n);
      const timing = await timeRuns(run);
      free();
      const rate = (ms: number): number => Number((2 * n ** 3 / ms / 1e6).toFixed(1));
      const gflops = rate(timing.medianMs), bestGflops = rate(timing.bestMs);
      cells.push(`${gflops.toFixed(1)}; ${bestGflops.toFixed(1)}`.padStart(16));
      record({ bench: "matmul f32", name, threads, n, gflops, bestGflops, ...timing });
    }
    console.error([name.padEnd(28), String(threads).padStart(7), ...cells].join(" "));
    await close();
  }
}

const SECTIONS: { readonly [name: string]: () => Promise<void> } = {
  matmul: benchMatmul,
  step: () => benchStep(record),
  methods: () => benchMethods(record),
  large: () => benchLarge(record),
};

async function main(asked: readonly string[]): Promise<number> {
  const unknown = asked.find((name) => !(name in SECTIONS));
  if (unknown !== undefined) {
    console.error(
      `"${unknown}" is no part of the benchmark: give any of ${Object.keys(SECTIONS).join(", ")}.`,
    );
    return 2;
  }
  console.error(`${machine.cpu}, ${machine.cores} cores, Deno ${Deno.version.deno}`);
  const names = asked.length > 0 ? asked : Object.keys(SECTIONS).filter((name) => name !== "large");
  for (const name of names) await SECTIONS[name]!();
  return 0;
}

// jax-js leaves its workers running.
if (import.meta.main) Deno.exit(await main(Deno.args));
