/**
 * Fine-tune a language model: `deno run -A train.ts`. Without flags it trains a small bundled model on a bundled task;
 * `--help` lists what it can do. Exit codes: 0 done, 2 something given to it is wrong, 130 interrupted. @module
 */
import * as Effect from "effect/Effect";
import {
  classifyDryRun,
  type ClassifyResult,
  type DryRun,
  dryRun,
  fineTune,
  fineTuneClassifier,
  helpText,
  openPlanStore,
  parseCommandLine,
  runProgram,
  type RunResult,
  standardError,
  unusedFlags,
  usePlans,
  UserError,
} from "./train/mod.ts";

const say = (line: string): void => standardError.write(`${line}\n`);

/** Ctrl-C, and what schedulers and `kill` send; Windows has only the first. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];

async function main(args: readonly string[]): Promise<number> {
  const root = decodeURIComponent(new URL(".", import.meta.url).pathname).replace(/\/$/, "");
  const options = await parseCommandLine(args, { root, now: new Date() });
  if (options.help) {
    console.log(helpText());
    return 0;
  }
  const unused = unusedFlags(options, args);
  if (unused !== null) say(unused);
  if (!options.noCache) usePlans(openPlanStore(say));
  let stopped = false;
  const stop = (): void => {
    if (stopped) {
      say("interrupted twice: ending at once, without saving");
      Deno.exit(130);
    }
    say("\ninterrupted: finishing this step, then saving what was trained; once more ends at once");
    stopped = true;
  };
  SIGNALS.forEach((signal) => Deno.addSignalListener(signal, stop));
  try {
    const [train, tell] = options.task === null ? [fineTune, dryRun] : [fineTuneClassifier, classifyDryRun];
    const run: Effect.Effect<DryRun | RunResult | ClassifyResult, UserError> = options.dryRun
      ? tell(options, { say, colour: Deno.stderr.isTerminal() && !Deno.noColor })
      : train(options, { say, stopped: () => stopped });
    const result = await Effect.runPromise(
      Effect.match(run, { onFailure: (error) => error, onSuccess: (value) => value }),
    );
    if (result instanceof UserError) {
      say(result.message);
      return stopped ? 130 : 2;
    }
    if (options.json) console.log(JSON.stringify(result));
    return stopped ? 130 : 0;
  } finally {
    SIGNALS.forEach((signal) => Deno.removeSignalListener(signal, stop));
  }
}

if (import.meta.main) await runProgram(main);
