/** What a run left in its directory, read for people: every part may be missing, none may be damaged. @module */
import { isFile } from "../atomic_file.ts";
import { UserError } from "../errors.ts";
import { readJson } from "../json_file.ts";
import type { Spectrum } from "./spectra.ts";
import { didYouMean } from "../nearby_path.ts";

/** A JSON object. */
export type Fields = Readonly<Record<string, unknown>>;

/** A line of `metrics.jsonl`; null where a number is not finite or missing. */
export interface MetricsRow {
  readonly step: number;
  readonly loss: number | null;
  readonly lr: number | null;
  readonly gradNorm: number | null;
  readonly tokensPerSecond: number | null;
  readonly lambda: Readonly<Record<string, readonly number[]>> | null;
}

/** What was measured after a step (0: before the first): numbers of the held-out rows, and of tasks, by name. */
export interface EvaluationRow {
  readonly step: number;
  readonly heldOut: Readonly<Record<string, number | null>>;
  readonly tasks: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
}

/** A question with the answers of the base and of the tuned model. */
export interface AnswerPair {
  readonly prompt: string;
  readonly expected: string | null;
  readonly before: { readonly text: string; readonly correct: boolean };
  readonly after: { readonly text: string; readonly correct: boolean };
}

/** A run, as its files tell it. */
export interface RunRecord {
  readonly dir: string;
  /** The directory's own name. */
  readonly name: string;
  readonly config: Fields;
  readonly rows: readonly MetricsRow[];
  /** Rising by steps. */
  readonly evaluations: readonly EvaluationRow[];
  /** What the run said at its end (`result.json`); empty before it. */
  readonly result: Fields;
  readonly answers: readonly AnswerPair[];
  readonly spectra: readonly Spectrum[];
}

/** Read `<dir>`. Throws UserError where there is no run, or a file is damaged. */
export function readRun(dir: string): RunRecord {
  const at = dir.replace(/(?<=.)\/+$/, "");
  if (isFile(at)) throw new UserError(`${at}: is a file; give the directory of a run.`, { dir });
  const read = (name: string, missing: Fields | null): Fields => {
    const file = `${at}/${name}`;
    if (missing !== null && !isFile(file)) return missing;
    return fieldsOf(readJson(file, UserError, "a run's directory has it"), file);
  };
  const result = read("result.json", {});
  return {
    dir: at,
    name: at.split("/").at(-1)!,
    config: read("config.json", null),
    ...readMetricsLines(`${at}/metrics.jsonl`),
    result,
    answers: readAnswers(read("samples.json", {}), `${at}/samples.json`),
    spectra: readSpectra(read("spectra.json", {}), `${at}/spectra.json`),
  };
}

/** A number that is finite, else null; numbers that are not finite are written as texts. */
export function finite(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** A JSON object, else an empty one. */
export function asFields(value: unknown): Fields {
  return isFields(value) ? value : {};
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fieldsOf(value: unknown, where: string): Fields {
  if (isFields(value)) return value;
  throw damaged(where, "expected a JSON object");
}

function damaged(where: string, what: string): UserError {
  return new UserError(`${where}: ${what}; put back what the run wrote.`, { where });
}

/** All whole lines: the last one may be half-written while a run goes on. */
function readMetricsLines(file: string): Pick<RunRecord, "rows" | "evaluations"> {
  if (!isFile(file)) {
    throw new UserError(`${file}: not found${didYouMean(file)}; a run's directory has it.`, { file });
  }
  const rows: MetricsRow[] = [], evaluations = new Map<number, EvaluationRow>();
  Deno.readTextFileSync(file).split("\n").slice(0, -1).forEach((line, i) => {
    if (line.trim() === "") return;
    const { fields, step } = lineOf(line, `${file}:${i + 1}`);
    if (!Object.hasOwn(fields, "held_out") && !Object.hasOwn(fields, "tasks")) {
      rows.push(rowOf(fields, step, `${file}:${i + 1}`));
      return;
    }
    // What was measured later of the same state adds to it.
    const { heldOut, tasks } = evaluationOf(fields, step), earlier = evaluations.get(step);
    evaluations.set(step, {
      step,
      heldOut: { ...earlier?.heldOut, ...heldOut },
      tasks: { ...earlier?.tasks, ...tasks },
    });
  });
  return { rows, evaluations: [...evaluations.values()].sort((a, b) => a.step - b.step) };
}

function evaluationOf(fields: Fields, step: number): EvaluationRow {
  const numbers = (value: unknown): Record<string, number | null> =>
    Object.fromEntries(Object.entries(asFields(value)).map(([name, n]) => [name, finite(n)]));
  const tasks = Object.entries(asFields(fields["tasks"])).map(([name, n]) => [name, numbers(n)] as const);
  return { step, heldOut: numbers(fields["held_out"]), tasks: Object.fromEntries(tasks) };
}

function lineOf(line: string, where: string): { readonly fields: Fields; readonly step: number } {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw damaged(where, `not JSON (${(error as Error).message})`);
  }
  const fields = fieldsOf(json, where);
  const step = finite(fields["step"]);
  if (step === null) throw damaged(where, "has no step");
  return { fields, step };
}

function rowOf(fields: Fields, step: number, where: string): MetricsRow {
  const { lambda } = fields;
  return {
    step,
    loss: finite(fields["loss"]),
    lr: finite(fields["lr"]),
    gradNorm: finite(fields["grad_norm"]),
    tokensPerSecond: finite(fields["tokens_per_s"]),
    lambda: lambda === undefined ? null : numbersByName(lambda, where),
  };
}

function numbersByName(value: unknown, where: string): Record<string, number[]> {
  const bad = (): UserError => damaged(where, "expected lists of numbers by name");
  return Object.fromEntries(
    Object.entries(fieldsOf(value, where)).map(([name, list]) => {
      if (!Array.isArray(list)) throw bad();
      const all: readonly unknown[] = list;
      if (!all.every((n) => typeof n === "number")) throw bad();
      return [name, [...all]];
    }),
  );
}

function readAnswers({ before, after }: Fields, file: string): AnswerPair[] {
  const list = (value: unknown): readonly Fields[] => {
    const all: readonly unknown[] = Array.isArray(value) ? value : [];
    return all.map((x) => fieldsOf(x, file));
  };
  const text = (value: unknown): string => typeof value === "string" ? value : "";
  const later = list(after);
  return list(before).flatMap((old, i): AnswerPair[] => {
    const now = later[i];
    if (!now) return [];
    const answer = (of: Fields) => ({ text: text(of["generated"]), correct: of["correct"] === true });
    const { expected } = old;
    return [{
      prompt: text(old["prompt"]),
      expected: typeof expected === "string" ? expected : null,
      before: answer(old),
      after: answer(now),
    }];
  });
}

function readSpectra(fields: Fields, file: string): Spectrum[] {
  return Object.entries(fields).map(([name, value]) => {
    const { base, tuned, change } = numbersByName(value, file);
    if (base && tuned && change) return { name, base, tuned, change };
    throw damaged(file, `"${name}" needs base, tuned and change`);
  });
}
