/** Runs of a study: each is made once, recorded in a file of its own, and read from there afterwards. @module */
import * as Effect from "effect/Effect";
import {
  drawLambdaHeatmap,
  fineTune,
  type RunResult,
  type TrainOptions,
  UserError,
} from "../../train/mod.ts";
import { writeTextAtomically } from "../../train/atomic_file.ts";

/** A finished run. */
export interface RunRecord {
  /** Everything that decides the outcome. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Null when the gradients were not finite again and again. */
  readonly result: RunResult | null;
  /** Training loss of each step; NaN where it was no number. */
  readonly losses: readonly number[];
  /** When each step's numbers were back, in seconds since the end of the first step. */
  readonly seconds: readonly number[];
  /** Seconds of the whole run: loading, compiling, measuring before and after. */
  readonly wall: number;
}

/** Where a run is recorded, and what is kept of it besides. */
export interface RunPlaces {
  /** The record. */
  readonly file: string;
  /** A picture of λ, for mixed adapters; null: none. */
  readonly lambda: string | null;
}

/**
 * The record in `file`, or else make the run in `options.out`, which is removed before and after. Null when `stopped`
 * says so before the run is done. Fails with UserError for what the user can mend, such as a record of other settings.
 */
export async function recorded(
  options: TrainOptions,
  { file, lambda }: RunPlaces,
  hooks: { readonly say: (line: string) => void; readonly stopped: () => boolean },
): Promise<RunRecord | null> {
  const settings = settingsOf(options);
  const known = read(file);
  if (known) {
    refuseOther(file, known.settings, settings);
    return known;
  }
  remove(options.out);
  const start = performance.now();
  const outcome = await Effect.runPromise(
    Effect.match(
      fineTune(options, {
        say: (line) => line.startsWith("warning") && hooks.say(line),
        stopped: hooks.stopped,
      }),
      {
        onFailure: (error) => error,
        onSuccess: (result) => result,
      },
    ),
  );
  const failed = outcome instanceof UserError;
  const lines = failed && !exists(`${options.out}/metrics.jsonl`) ? [] : readMetrics(options.out);
  if (failed && lines.every((l) => Number.isFinite(l.grad_norm))) throw outcome;
  if (hooks.stopped()) return null;
  if (lambda !== null) await drawLambdaHeatmap(`${options.out}/metrics.jsonl`, lambda);
  const record: RunRecord = {
    settings,
    result: failed ? null : outcome,
    losses: lines.map((l) => l.loss),
    seconds: lines.map((l) => l.seconds),
    wall: (performance.now() - start) / 1000,
  };
  Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true });
  writeTextAtomically(file, `${JSON.stringify(record, brief)}\n`);
  remove(options.out);
  return record;
}

/**
 * Whether `name` in a study's directory may be of a study: anything where one has left records, else what an interrupted
 * one leaves before its first.
 */
export function isOfStudy(out: string, name: string): boolean {
  const hasRecords = ["runs", "tune"].some((part) =>
    exists(`${out}/${part}`) && [...Deno.readDirSync(`${out}/${part}`)].some((f) => f.name.endsWith(".json"))
  );
  if (hasRecords) return true;
  const kept = { data: ["train.jsonl"], tune: ["train.jsonl"], work: ["metrics.jsonl", ".run.lock"] };
  return (kept[name as keyof typeof kept] ?? []).some((file) => exists(`${out}/${name}/${file}`));
}

/** Numbers of a step, with the digits that matter. */
function brief(key: string, value: unknown): unknown {
  if (key !== "losses" && key !== "seconds") return value;
  // JSON has no NaN: null stands for it.
  return (value as number[]).map((n) => Number.isFinite(n) ? Number(n.toPrecision(6)) : null);
}

function read(file: string): RunRecord | null {
  if (!exists(file)) return null;
  const found = JSON.parse(Deno.readTextFileSync(file)) as RunRecord & { losses: (number | null)[] };
  return { ...found, losses: found.losses.map((n) => n ?? NaN) };
}

/** Options that change nothing about the outcome. */
const APART: ReadonlySet<string> = new Set(["out", "json", "help", "resume", "saveEvery", "keep"]);

function settingsOf(options: TrainOptions): RunRecord["settings"] {
  return Object.fromEntries(Object.entries(options).filter(([key]) => !APART.has(key)));
}

function refuseOther(file: string, theirs: RunRecord["settings"], ours: RunRecord["settings"]): void {
  const show = (x: unknown): string => JSON.stringify(x) ?? "absent";
  const differing = [...new Set([...Object.keys(theirs), ...Object.keys(ours)])]
    .filter((key) => show(theirs[key]) !== show(ours[key]));
  if (differing.length === 0) return;
  const what = differing.map((key) => `${key} ${show(theirs[key])}, not ${show(ours[key])}`).join("; ");
  throw new UserError(`${file} is of a study with ${what}: give another --out, or remove the file.`);
}

interface Metrics {
  readonly loss: number;
  readonly grad_norm: number;
  readonly seconds: number;
}

function readMetrics(out: string): Metrics[] {
  return Deno.readTextFileSync(`${out}/metrics.jsonl`).trimEnd().split("\n")
    // Lines of evaluations are no steps.
    .filter((line) => line.includes('"grad_norm"')).map((line) => {
      const { loss, grad_norm, seconds } = JSON.parse(line) as Record<keyof Metrics, unknown>;
      // Numbers that are not finite are written as texts.
      return { loss: Number(loss), grad_norm: Number(grad_norm), seconds: Number(seconds) };
    });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function remove(dir: string): void {
  if (exists(dir)) Deno.removeSync(dir, { recursive: true });
}
