/**
 * The CPU target next to other WebAssembly libraries, in one process: `deno task bench`. Prints a table to the standard
 * error and one JSON line a measurement to the standard output. @module
 */
import { cpus } from "node:os";
import { timeRuns } from "./contender.ts";
import { gyre } from "./gyre.ts";
import { jaxJs, tensorflow } from "./peers.ts";

const SIZES = [256, 512, 1024];

async function main(): Promise<void> {
  const cpu = cpus()[0]?.model ?? "unknown";
  const cores = navigator.hardwareConcurrency;
  console.error(
    `f32 matrix product, GFLOP/s (median; best)   ${cpu}, ${cores} cores, Deno ${Deno.version.deno}`,
  );
  console.error(["".padEnd(28), "threads", ...SIZES.map((n) => String(n).padStart(16))].join(" "));
  const makers = [...new Set([cores, 1])].map((threads) => () => gyre(threads));
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
      console.log(
        JSON.stringify({ bench: "matmul f32", name, threads, n, gflops, bestGflops, ...timing, cpu, cores }),
      );
    }
    console.error([name.padEnd(28), String(threads).padStart(7), ...cells].join(" "));
    await close();
  }
}

if (import.meta.main) {
  await main();
  Deno.exit(0);
}
