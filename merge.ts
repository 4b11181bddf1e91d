/**
 * Merge an adapter into its model, as a directory in the Hugging Face layout: `deno run -A merge.ts --adapter DIR --out
 * DIR`; `--help` lists the flags. Exit codes: 0 done, 2 something given to it is wrong. @module
 */
import * as Effect from "effect/Effect";
import {
  mergeAdapter,
  mergeHelp,
  parseMergeFlags,
  runProgram,
  standardError,
  UserError,
} from "./train/mod.ts";

const say = (line: string): void => standardError.write(`${line}\n`);

async function main(args: readonly string[]): Promise<number> {
  const options = parseMergeFlags(args);
  if (options === null) {
    console.log(mergeHelp());
    return 0;
  }
  const merged = await Effect.runPromise(
    Effect.match(mergeAdapter(options, say), { onFailure: (error) => error, onSuccess: (value) => value }),
  );
  if (merged instanceof UserError) {
    say(merged.message);
    return 2;
  }
  if (options.json) console.log(JSON.stringify(merged));
  return 0;
}

if (import.meta.main) await runProgram(main);
