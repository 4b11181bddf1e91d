/**
 * Repeat the paper's comparison: methods × tasks × seeds on a given model, beside transformers + PEFT on the same rows
 * where a Python with them is given: `deno task paper --suite NAME --model DIR --data DIR`. What is done is not done again
 * by the same command. `--help` lists the flags, docs/PAPER.md tells more. Exit codes: 0 done, or the time was over, 1 some
 * runs failed, 2 something given to it is wrong, 130 interrupted. @module
 */
import { helpOf, runProgram, standardError, UserError } from "../train/mod.ts";
import { exists, writeTextAtomically } from "../train/atomic_file.ts";
import { refuseStrangers } from "../train/output_directory.ts";
import { isEncoderDirectory } from "../train/encoder_checkpoint.ts";
import { modelDirectory } from "../train/hub.ts";
import { estimate, showEstimates } from "./paper/estimate.ts";
import { drawOverview } from "./paper/overview.ts";
import { PAPER_FLAGS, type PaperOptions, parsePaperFlags, tasksOf } from "./paper/options.ts";
import { pack } from "./paper/pack.ts";
import { requirePython } from "./paper/peft.ts";
import { requireFiles } from "./paper/published.ts";
import { isOfPaper, readRecords } from "./paper/records.ts";
import type { Done } from "./paper/pool.ts";
import { prepare } from "./paper/prepared.ts";
import { runMissing } from "./paper/run.ts";
import { paperTable } from "./paper/table.ts";
import type { PaperTask } from "./paper/suites.ts";
import { replaceSection } from "./study/report.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

/** Ctrl-C, and what schedulers and `kill` send; Windows has only the first. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];

const say = (line: string): void => standardError.write(`${line}\n`);

async function main(argv: readonly string[]): Promise<number> {
  const options = parsePaperFlags(argv), page = options.page === null ? null : openPage(options.page);
  if (options.help) {
    console.log(helpOf("Repeat the paper's comparison: deno task paper [flags]", PAPER_FLAGS));
    return 0;
  }
  if (options.report) return await leaveTables(options, page);
  const { model, data, out } = options, tasks = tasksOf(options);
  requireFiles(data, tasks);
  if (options.pack === null) refuseStrangers(out, "a comparison", (name) => isOfPaper(options, name));
  const dir = await modelDirectory(model, { say });
  if (!exists(`${dir}/config.json`)) {
    throw new UserError(
      `--model ${model}: has no config.json; give a model's directory in the Hugging Face layout, or an id of its hub.`,
    );
  }
  requireKind(isEncoderDirectory(dir), tasks);
  if (options.pack !== null) {
    await pack(dir, data, options.pack, tasks);
    return 0;
  }
  if (options.makers.includes("PEFT")) requirePython(options.python!);
  say(`suite ${options.suite}: ${tasks.map(({ title }) => title).join(", ")}; results in ${options.out}`);
  const prepared = await prepare(options, dir, ROOT);
  if (options.dryRun) {
    console.log(showEstimates(await estimate(prepared), options.jobs));
    return 0;
  }
  using narrator = prepared.narrator;
  const interrupt = (): never => {
    narrator.say(
      `interrupted: the same command goes on, and --report makes tables of what is in ${options.out}`,
    );
    Deno.exit(130);
  };
  SIGNALS.forEach((signal) => Deno.addSignalListener(signal, interrupt));
  let done: Done | null = null;
  try {
    done = await runMissing(prepared);
  } finally {
    await leaveTables(options, page);
  }
  if (done.left > 0) narrator.say(`${done.left} runs are left; the same command goes on with them`);
  if (done.failed === 0) return 0;
  narrator.say(`${done.failed} runs failed: what was said of them is above, and in the results`);
  return 1;
}

/** Refuse tasks that a model of this kind cannot be asked for. Throws UserError. */
function requireKind(isEncoder: boolean, tasks: readonly PaperTask[]): void {
  const other = tasks.filter(({ kind }) => (kind === "sentences") !== isEncoder).map(({ name }) => name);
  if (other.length === 0) return;
  throw new UserError(
    `--model is ${isEncoder ? "an encoder" : "a language model"}, and ${other.join(", ")} ${
      isEncoder ? "need a language model" : "need an encoder (BERT, RoBERTa)"
    }: give another --suite, or other --tasks.`,
  );
}

/** A page that tables go into. */
interface Page {
  readonly file: string;
  readonly section: string;
}

/** The page of `--page`, which must be there with its section before anything is run for it. Throws UserError. */
function openPage(named: string): Page {
  const at = named.lastIndexOf("#"), file = named.slice(0, at), section = named.slice(at + 1);
  if (!exists(file)) throw new UserError(`--page ${named}: ${file} is not there; give a markdown page.`);
  replaceSection(Deno.readTextFileSync(file), section, "");
  return { file, section };
}

/** Write the tables of the results that are there. */
async function leaveTables({ out }: Pick<PaperOptions, "out">, page: Page | null): Promise<number> {
  const records = readRecords(out);
  if (records.length === 0) {
    say(`there are no results in ${out}`);
    return 0;
  }
  const table = paperTable(records);
  writeTextAtomically(`${out}/tables.md`, `${table}\n`);
  writeTextAtomically(`${out}/overview.svg`, await drawOverview(records));
  if (page !== null) {
    const { file, section } = page;
    writeTextAtomically(file, replaceSection(Deno.readTextFileSync(file), section, table));
  }
  console.log(table);
  return 0;
}

if (import.meta.main) await runProgram(main);
