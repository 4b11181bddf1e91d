/**
 * Compare fine-tuning methods on one task with equal budgets: `deno run -A examples/study.ts --out runs/study`.
 * Runs every method with every seed, leaves finished runs alone when called again, and writes `study.md`, `study.json`
 * and pictures. `--help` lists the flags. Exit codes as those of `train.ts`. @module
 */
import { sizeOf } from "../core/mod.ts";
import {
  loadConfig,
  methodClasses,
  runProgram,
  showTable,
  standardError,
  type TrainOptions,
  weightShapes,
} from "../train/mod.ts";
import { writeTextAtomically } from "../train/atomic_file.ts";
import { refuseStrangers } from "../train/output_directory.ts";
import {
  parseStudy,
  type Rates,
  type RunChoice,
  runOptions,
  STUDY_HELP,
  type StudyOptions,
} from "./study/options.ts";
import { replaceSection, tableOf, type Terms, writeReport } from "./study/report.ts";
import { isOfStudy, recorded, type RunRecord } from "./study/runs.ts";
import { type SeedRun, summarise } from "./study/summary.ts";
import {
  choose,
  countRows,
  nextRates,
  type Trial,
  type Tuned,
  writeTaskRows,
  writeTuneRows,
} from "./study/tune.ts";

const ROOT = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

const say = (line: string): void => standardError.write(`${line}\n`);

/** Makes one run of the study, or reads its record; null when there is no time left or the study was interrupted. */
type Make = (name: string, choice: Omit<RunChoice, "out">, lambda?: string) => Promise<RunRecord | null>;

function maker(study: StudyOptions, stopped: () => boolean): Make {
  const start = performance.now();
  return async (name, choice, lambda) => {
    const late = performance.now() - start > study.minutes * 60_000;
    const file = `${study.out}/${name}.json`;
    if (stopped() || (late && !isFile(file))) return null;
    const options = runOptions(study, ROOT, { ...choice, out: `${study.out}/work` });
    if (!isFile(file)) say(`\n${name}: ${choice.method}, seed ${choice.seed}, learning rate ${options.lr}`);
    return await recorded(options, { file, lambda: lambda ?? null }, { say, stopped });
  };
}

/** Try the rates for each method that has none given by hand; null when not all could be tried. */
async function tuneRates(study: StudyOptions, make: Make): Promise<Tuned[] | null> {
  if (study.tune.length === 0) return [];
  const rows = writeTuneRows(study), seed = study.seeds[0]!;
  const tuned: Tuned[] = [];
  for (const method of study.methods.filter((m) => !study.rates.has(m))) {
    const search = async (usual: number, multiples: readonly number[], ratesOf: (lr: number) => Rates) => {
      const trials: Trial[] = [];
      for (let next = nextRates(usual, multiples, trials); next.length > 0;) {
        const lr = next[0]!, rates = ratesOf(lr);
        const name = `tune/${method}-${Object.values(rates).join("-")}`;
        const record = await make(name, { method, seed, rates, ...rows });
        if (!record) return null;
        trials.push({ lr, loss: record.result?.eval_after ?? null });
        next = next.length > 1 ? next.slice(1) : nextRates(usual, multiples, trials);
      }
      return choose(method, trials);
    };
    const usual = runOptions(study, ROOT, { method, seed, out: study.out });
    const found = await search(usual.lr, study.tune, (lr) => ({ lr }));
    if (!found) return null;
    const both = study.tuneOrthogonal.length > 0 && hasBothRates(usual);
    const orthogonal = both
      ? await search(
        found.chosen,
        study.tuneOrthogonal,
        (orthogonalLr) => ({ lr: found.chosen, orthogonalLr }),
      )
      : null;
    if (both && !orthogonal) return null;
    tuned.push({ ...found, orthogonal });
  }
  return tuned;
}

/** Whether a method trains orthogonal parameters and others. */
function hasBothRates(options: TrainOptions): boolean {
  const classes = methodClasses(options, loadConfig(options.model));
  const rates = new Set(classes.flatMap((c) => c.leaves.map((leaf) => leaf.rate)));
  return rates.has("plain") && rates.has("orthogonal");
}

/** The rates of a method: by hand, else as tuned, else none, which leaves the defaults. */
function ratesOf({ rates }: StudyOptions, tuned: readonly Tuned[], method: string): Rates | undefined {
  const found = tuned.find((t) => t.method === method);
  if (rates.has(method) || !found) return rates.get(method);
  return { lr: found.chosen, ...(found.orthogonal ? { orthogonalLr: found.orthogonal.chosen } : {}) };
}

/** Every method with every seed: a seed for all methods first, so that an early end leaves a comparison. */
async function runAll(
  study: StudyOptions,
  make: Make,
  tuned: readonly Tuned[],
): Promise<{ readonly runs: SeedRun[]; readonly missing: string[] }> {
  const runs: SeedRun[] = [], missing: string[] = [];
  for (const seed of study.seeds) {
    for (const method of study.methods) {
      const rates = ratesOf(study, tuned, method);
      const lambda = seed === study.seeds[0] ? `${study.out}/lambda-${method}.svg` : undefined;
      const record = await make(`runs/${method}-${seed}`, { method, seed, rates }, lambda);
      if (record) runs.push({ method, seed, record });
      else missing.push(`${method} (seed ${seed})`);
    }
  }
  return { runs, missing };
}

function termsOf(
  study: StudyOptions,
  runs: readonly SeedRun[],
  tuned: readonly Tuned[],
  missing: readonly string[],
): Terms {
  const config = loadConfig(study.model);
  const { steps, batch, seq } = runOptions(study, ROOT, {
    ...{ method: study.methods[0]!, seed: 0, out: study.out },
  });
  const devices = new Set(runs.flatMap(({ record: { result } }) => result ? [result.adapter_name] : []));
  return {
    model: study.model.replace(`${ROOT}/`, ""),
    parameters: [...weightShapes(config).values()].reduce((n, { shape }) => n + sizeOf(shape), 0),
    layers: config.layers,
    hidden: config.hiddenSize,
    task: study.task === "files" ? study.data : study.task,
    rows: `${countRows(study.data)} rows to learn, ${countRows(study.eval)} held out`,
    device: [...devices].join(", "),
    ...{ steps: steps!, batch, seq, seeds: study.seeds, tuned, missing },
    givenRates: [...study.rates].map(([method, rates]) => `${method} ${Object.values(rates).join(" / ")}`),
  };
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(STUDY_HELP);
    return 0;
  }
  const study = parseStudy(args, ROOT);
  // What is wrong is said before anything is written.
  for (const method of study.methods) runOptions(study, ROOT, { method, seed: 0, out: study.out });
  if (study.page) replaceSection(Deno.readTextFileSync(study.page.file), study.page.section, "");
  refuseStrangers(study.out, "a study", (name) => isOfStudy(study.out, name));
  let interrupted = false;
  const stop = (): void => {
    if (!interrupted) say("\ninterrupted: this run is left out; the same command goes on from here");
    interrupted = true;
  };
  Deno.addSignalListener("SIGINT", stop);
  try {
    writeTaskRows(study);
    const make = maker(study, () => interrupted);
    const tuned = await tuneRates(study, make);
    if (tuned === null) {
      say("the learning rates are not all tried yet: the same command goes on from here");
      return interrupted ? 130 : 0;
    }
    const { runs, missing } = await runAll(study, make, tuned);
    if (runs.length > 0) {
      const methods = summarise(runs), terms = termsOf(study, runs, tuned, missing);
      const text = await writeReport(study.out, methods, terms);
      if (study.page) {
        const { file, section } = study.page;
        writeTextAtomically(file, replaceSection(Deno.readTextFileSync(file), section, text));
      }
      console.log(showTable(tableOf(methods)));
    }
    if (missing.length > 0) say(`not run yet: ${missing.join("; ")}; the same command goes on from here`);
    say(`results in ${study.out}`);
    return interrupted ? 130 : 0;
  } finally {
    Deno.removeSignalListener("SIGINT", stop);
  }
}

if (import.meta.main) await runProgram(main);
