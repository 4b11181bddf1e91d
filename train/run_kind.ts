/** What runs of one kind of model have of their own: decoders learn text, encoders a task. @module */
import type { Capabilities, Compiled } from "../core/mod.ts";
import type { ShapeClass } from "./arena.ts";
import type { TokenBatch } from "./batches.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Example } from "./data.ts";
import type { Examples } from "./data/examples.ts";
import type { RowHooks } from "./data/open_rows.ts";
import type { Evaluated } from "./evaluated.ts";
import type { RunHooks } from "./guarded.ts";
import type { LoadedRows } from "./load_rows.ts";
import type { PlanShape } from "./memory.ts";
import type { ModelLayout } from "./methods.ts";
import type { TrainOptions } from "./options.ts";
import type { Measured } from "./state_files.ts";
import type { StoredTensor } from "./safetensors.ts";
import type { StepBytes } from "./step_bytes.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { StartOptions, Training } from "./training.ts";

/** What a run reads; disposing of it closes its files. */
export interface LoadedRun<E extends Examples = Examples> extends LoadedRows<E> {
  /** Where the model is: the directory that was given, or that of the hub's cache. */
  readonly dir: string;
  readonly tokenizer: Pick<Tokenizer, "decode">;
  readonly layout: ModelLayout;
  readonly weights: ReadonlyMap<string, StoredTensor>;
  readonly lost: Checkpoint["lost"];
}

/** What a run trains, of what it read. */
export interface RunSubject<L> {
  readonly options: TrainOptions;
  readonly loaded: L;
  readonly classes: readonly ShapeClass[];
  /** The frozen weights: those that were read, or what an adapter made of them. */
  readonly weights: ReadonlyMap<string, StoredTensor>;
}

/** How a session is opened. */
export interface RunStart extends StartOptions {
  /** The first batches, whose gradients start the adapters that ask for them. */
  readonly startBatches: readonly TokenBatch[];
}

/** What came of the held-out rows; more than goes into a checkpoint. */
export interface HeldOut {
  readonly measured: Measured;
}

/** What runs of all kinds report; the keys are those of `--json`. Null where something was not measured. */
export interface RunNumbers {
  readonly method: string;
  readonly device: "cpu" | "gpu";
  readonly adapter_name: string;
  readonly steps: number;
  /** Training loss of the first step and mean of the last tenth (at least one step). */
  readonly loss_before: number | null;
  readonly loss_after: number | null;
  /** Held-out loss: mean per trained token, or per row of a task. */
  readonly eval_before: number | null;
  readonly eval_after: number | null;
  /** Metrics of the tasks that `--eval` names, as `evaluate.ts` names them; absent without any. */
  readonly tasks_before?: Evaluated["tasks"] | null;
  readonly tasks_after?: Evaluated["tasks"] | null;
  /** Step whose state was left, with `--keep-best`. */
  readonly best_step?: number;
  /** Tokens by time, padding left out, of the steps after the first. */
  readonly tokens_per_s: number | null;
  /** Most bytes on the device at one time, evaluation and generation included. */
  readonly peak_bytes: number;
  /** What a training step alone needs on the device. */
  readonly step_bytes: StepBytes | null;
  readonly trainable: number;
  readonly out: string;
}

/** A kind of run: `L` is what it reads, `S` the session, `M` what is measured, `R` what it reports. */
export interface RunKind<L extends LoadedRun, S extends Training<TokenBatch>, M extends HeldOut, R> {
  /** Rows, model and tokenizer, checked against each other; a dry run needs no place to write to. Throws UserError. */
  readonly load: (options: TrainOptions, hooks: RowHooks) => Promise<L>;
  /** Name of the task that is learnt; null: text. */
  readonly task: (loaded: L) => string | null;
  /** Compile the step of a batch; nothing is uploaded. Throws ShapeError. */
  readonly planStep: (of: RunSubject<L>, capabilities: Capabilities, shape: PlanShape) => Compiled;
  readonly open: (of: RunSubject<L>, start: RunStart) => Promise<S>;
  /** What `--eval` names, for people; empty: nothing. */
  readonly measuredBy: (loaded: L, options: TrainOptions) => string;
  /** Measure on that, but without answers to be shown; null where the user stops it. */
  readonly evaluate: (
    session: S,
    loaded: L,
    options: TrainOptions,
    stopped: RunHooks["stopped"],
  ) => Promise<M | null>;
  /** What the tasks of `--eval` ask of a session on a device that only counts. */
  readonly rehearse: (session: S, loaded: L) => Promise<void>;
  /** Add answers to be shown. */
  readonly complete: (session: S, loaded: L, found: M, options: TrainOptions) => Promise<M>;
  /** Fields of `config.json` that a merged model has besides the model's own. */
  readonly mergedFields: (loaded: L) => Readonly<Record<string, unknown>>;
  /** Write what is kept of the held-out rows, and tell of it. */
  readonly tellHeld: (
    found: { readonly loaded: L; readonly before: Measured | null; readonly after: M | null },
    options: TrainOptions,
    say: RunHooks["say"],
  ) => void;
  readonly result: (
    numbers: RunNumbers,
    found: { readonly loaded: L; readonly before: Measured | null; readonly after: M | null },
  ) => R;
  /** An example besides its tokens, and all of them together, for people; the latter may be empty. */
  readonly describeRow: (example: Example, loaded: L) => string;
  readonly describeRows: (loaded: L) => string;
}
