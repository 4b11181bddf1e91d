/**
 * Look at a model, an adapter or a checkpoint: `deno run -A inspect.ts PATH`; `--help` lists the flags. Exit codes: 0 done,
 * 2 something given to it is wrong. @module
 */
import { inspect, inspectHelp, parseInspectFlags, runProgram, showInspection } from "./train/mod.ts";

async function main(args: readonly string[]): Promise<number> {
  const options = parseInspectFlags(args);
  if (options === null) {
    console.log(inspectHelp());
    return 0;
  }
  const found = await inspect(options.path);
  console.log(options.json ? JSON.stringify(found) : showInspection(found, options.tensors));
  return 0;
}

if (import.meta.main) await runProgram(main);
