/**
 * Measure a language model: `deno run -A evaluate.ts --task NAME --data FILE`; `--help` lists tasks and flags. Exit codes:
 * 0 done, 2 something given to it is wrong, 130 interrupted: at once, since nothing is written before the end. @module
 */
import * as Effect from "effect/Effect";
import {
  evaluateHelp,
  evaluateModel,
  openCount,
  parseEvaluateFlags,
  runProgram,
  showEvaluation,
  standardError,
  UserError,
} from "./train/mod.ts";

const say = (line: string): void => standardError.write(`${line}\n`);

async function main(args: readonly string[]): Promise<number> {
  const root = decodeURIComponent(new URL(".", import.meta.url).pathname).replace(/\/$/, "");
  const options = parseEvaluateFlags(args, { root });
  if (options.help) {
    console.log(evaluateHelp());
    return 0;
  }
  const count = openCount(standardError);
  const result = await Effect.runPromise(
    Effect.match(evaluateModel(options, { say, follow: count.follow }), {
      onFailure: (error) => error,
      onSuccess: (value) => value,
    }),
  );
  count.done();
  if (result instanceof UserError) {
    say(result.message);
    return 2;
  }
  console.log(options.json ? JSON.stringify(result) : showEvaluation(result));
  return 0;
}

if (import.meta.main) await runProgram(main);
