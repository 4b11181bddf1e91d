/**
 * Let a language model write: `deno run -A generate.ts --prompt TEXT`; `--help` lists the flags. Exit codes: 0 done, 2
 * something given to it is wrong, 130 interrupted: at once, since there is nothing to save, so Ctrl-C needs no handler.
 * @module
 */
import * as Effect from "effect/Effect";
import {
  type Generated,
  generateHelp,
  generateTexts,
  parseGenerateFlags,
  runProgram,
  standardError,
} from "./train/mod.ts";

const say = (line: string): void => standardError.write(`${line}\n`);

/** Write all of a text to standard output. */
function write(text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(Deno.stdout.writeSync(bytes));
}

async function main(args: readonly string[]): Promise<number> {
  const root = decodeURIComponent(new URL(".", import.meta.url).pathname).replace(/\/$/, "");
  const options = parseGenerateFlags(args, { root });
  if (options.help) {
    write(`${generateHelp()}\n`);
    return 0;
  }
  let streamed = false;
  const stream = (text: string): void => {
    streamed = true;
    write(text);
  };
  const result = (answer: Generated): void => {
    if (options.json) write(`${JSON.stringify(answer)}\n`);
    else write(streamed ? "\n" : `> ${answer.prompt.trim()}\n${answer.text}\n\n`);
  };
  const done = await Effect.runPromise(
    Effect.match(generateTexts(options, { say, result, ...(options.json ? {} : { stream }) }), {
      onFailure: (error) => error,
      onSuccess: () => null,
    }),
  );
  if (done === null) return 0;
  say(done.message);
  return 2;
}

if (import.meta.main) await runProgram(main);
