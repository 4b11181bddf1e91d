/**
 * Compare fine-tuning methods on GLUE with an encoder, beside transformers + PEFT on the same rows:
 * `deno run -A examples/glue.ts --model DIR --data GLUE --python PATH`. Finished runs are left alone when it is called
 * again. `--help` lists the flags. Exit codes as those of `train.ts`. @module
 */
import { helpOf, runProgram, standardError, UserError } from "../train/mod.ts";
import { writeTextAtomically } from "../train/atomic_file.ts";
import { type TaskFiles, writeTaskFiles } from "./glue/files.ts";
import { GLUE_FLAGS, type GlueStudy, parseGlueStudy } from "./glue/options.ts";
import { canMake, makeRun, readRecord, type RunChoice, type RunRecord } from "./glue/runs.ts";
import { glueTable } from "./glue/table.ts";
import { replaceSection } from "./study/report.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

const say = (line: string): void => standardError.write(`${line}\n`);

/** All runs, a seed for everything first, so that an early end leaves a comparison. */
function choices({ seeds, tasks, methods }: GlueStudy): RunChoice[] {
  const makers = ["Gyre", "PEFT"] as const;
  return seeds.flatMap((seed) =>
    tasks.flatMap((task) =>
      methods.flatMap((method) =>
        makers.filter((maker) => canMake(maker, method)).map((maker) => ({ maker, task, method, seed }))
      )
    )
  );
}

async function main(argv: readonly string[]): Promise<number> {
  const study = parseGlueStudy(argv);
  if (study.help) {
    console.log(helpOf("Compare methods on GLUE: deno run -A examples/glue.ts [flags]", GLUE_FLAGS));
    return 0;
  }
  try {
    await runStudy(study);
    return 0;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    say(error.message);
    return 2;
  }
}

async function runStudy(study: GlueStudy): Promise<void> {
  const { model, data, out, page, minutes } = study;
  if (model === "" || data === "") {
    throw new UserError("Give --model, an encoder's directory, and --data, GLUE's directory.");
  }
  const start = performance.now();
  const files = new Map(study.tasks.map((task) => [task, writeTaskFiles(study, task)] as const));
  const records: RunRecord[] = [];
  let left = 0;
  for (const choice of choices(study)) {
    const late = performance.now() - start > minutes * 60_000, wanted = study.makers.includes(choice.maker);
    const record = readRecord(study, choice) ??
      (wanted && !late ? await newRun(study, files.get(choice.task)!, choice) : null);
    if (record) records.push(record);
    else if (wanted) left++;
  }
  const table = glueTable(study, records);
  writeTextAtomically(`${out}/glue.md`, `${table}\n`);
  if (page !== null) {
    const [file = "", section = ""] = page.split("#");
    writeTextAtomically(file, replaceSection(Deno.readTextFileSync(file), section, table));
  }
  console.log(table);
  if (left > 0) say(`${left} runs are left; the same command goes on with them`);
}

async function newRun(study: GlueStudy, files: TaskFiles, choice: RunChoice): Promise<RunRecord> {
  const { maker, task, method, seed } = choice;
  const record = await makeRun(study, ROOT, files, choice);
  say(
    `${maker} ${task} ${method} seed ${seed}: score ${record.score.toFixed(4)}, ` +
      `${(1000 * record.secondsPerStep).toFixed(0)} ms a step`,
  );
  return record;
}

if (import.meta.main) await runProgram(main);
