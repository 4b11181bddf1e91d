/**
 * Memory and time of a run before it is started: `deno run -A plan.ts --shape Llama-3.1-8B --method lora`; `--help` lists
 * the flags. Exit codes: 0 it fits, 1 it does not, 2 something given to it is wrong. @module
 */
import { ShapeError } from "./core/mod.ts";
import {
  parsePlanCommandLine,
  planHelp,
  planRun,
  runProgram,
  showRunPlan,
  standardError,
  UserError,
} from "./train/mod.ts";

async function main(args: readonly string[]): Promise<number> {
  const root = decodeURIComponent(new URL(".", import.meta.url).pathname).replace(/\/$/, "");
  const options = await parsePlanCommandLine(args, { root, now: new Date() });
  if (options === null) {
    console.log(planHelp());
    return 0;
  }
  try {
    const plan = await planRun(options, (line) => standardError.write(`${line}\n`));
    console.log(options.json ? JSON.stringify(plan) : showRunPlan(plan));
    return plan.fits ? 0 : 1;
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new UserError(error.message.replace(/\.?\n\s*/g, "; "));
  }
}

if (import.meta.main) await runProgram(main);
