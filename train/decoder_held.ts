/** What a decoder does on held-out rows: their loss, and answers in full. @module */
import { writeTextAtomically } from "./atomic_file.ts";
import { batches } from "./batches.ts";
import type { Example } from "./data.ts";
import { answeredAt, type Examples, firstExamples, longestAsked } from "./data/examples.ts";
import { UserError } from "./errors.ts";
import { showTasks } from "./evaluated.ts";
import type { NamedTask } from "./evaluation/during.ts";
import type { Numbers } from "./evaluation/task.ts";
import { answerAll, exactMatch, hasRoom, noRoomNote } from "./exact_match.ts";
import type { RunHooks } from "./guarded.ts";
import type { TrainOptions } from "./options.ts";
import type { Measured } from "./state_files.ts";
import type { HeldOut } from "./run_kind.ts";
import type { Session } from "./session.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Held-out rows that are answered in full. */
const ANSWERED = 128;
/** Samples shown before and after. */
const SHOWN = 3;

/** Longest sequence that training or answering may reach. */
export function longestOf({ seq }: Pick<TrainOptions, "seq">, held: Examples | null): number {
  const asked = held ? longestAsked(held) : null;
  return Math.max(seq, Math.min(2 * seq, asked === null ? seq : asked + seq));
}

/** The held-out examples that are answered in full: those with an answer, else the first few. */
export function askedOf(held: Examples): readonly Example[] {
  const asked = firstExamples(held, ANSWERED, (i) => answeredAt(held, i));
  return asked.length > 0 ? asked : firstExamples(held, SHOWN);
}

/** How many rows are held out, and how many of the asked ones leave no room for an answer. */
export function describeHeld(held: Examples, seq: number): string {
  const asked = askedOf(held), without = asked.filter((e) => !hasRoom(e, seq)).length;
  const rows = `${held.length} held-out rows`;
  return without === 0 ? rows : `${rows} (${noRoomNote(without, asked.length, seq)})`;
}

/** What a decoder is measured by. */
export interface Held {
  readonly held: Examples | null;
  readonly tasks: readonly NamedTask[];
  /** Longest sequence of a task, in tokens. */
  readonly taskSeq: number;
  readonly tokenizer: Tokenizer;
}

/** The loss on the held-out rows, and what tasks come to; null where the user stops it. */
export async function evaluateDecoder(
  session: Session,
  { held, tasks, taskSeq, tokenizer }: Held,
  { batch, seq }: TrainOptions,
  stopped: RunHooks["stopped"],
): Promise<HeldOut | null> {
  const rows = batches(held ?? [], { batch, seq, seed: 0, epochs: 1, shuffle: false });
  const loss = held ? (await session.evaluate(rows, stopped)).loss : null;
  const numbers: Record<string, Numbers> = {};
  for (const { name, prepared } of tasks) {
    if (stopped()) return null;
    const examinee = { session, tokenizer, seq: taskSeq };
    const { metrics, failure } = await prepared.run(examinee, () => {});
    if (failure !== undefined) throw new UserError(`--eval ${name}: ${failure}`);
    numbers[name] = metrics;
  }
  if (stopped()) return null;
  const asked = tasks.length === 0 ? {} : { tasks: numbers };
  return { measured: { loss, exact: null, samples: [], ...asked } };
}

/** Add answers in full to what {@linkcode evaluateDecoder} found. */
export async function answerHeld(
  session: Session,
  { held, tokenizer }: Held,
  { measured }: HeldOut,
  { seq }: TrainOptions,
): Promise<HeldOut> {
  if (!held) return { measured };
  const samples = await answerAll(session, tokenizer, askedOf(held), { maxLength: seq });
  return { measured: { ...measured, exact: exactMatch(samples), samples } };
}

/** Write answers before and after to `samples.json` and show some. */
export function tellAnswers(
  before: Measured | null,
  after: Measured | null,
  { out }: Pick<TrainOptions, "out">,
  say: RunHooks["say"],
): void {
  if (!before || !after) return;
  for (const line of showTasks(before, after)) say(line);
  if (before.loss === null || after.loss === null) return;
  writeTextAtomically(
    `${out}/samples.json`,
    `${JSON.stringify({ before: before.samples, after: after.samples }, null, 1)}\n`,
  );
  before.samples.slice(0, SHOWN).forEach(({ prompt, generated }, i) => {
    const now = after.samples[i]!, expected = now.expected === null ? "" : `   (expected ${now.expected})`;
    say(
      `\n> ${prompt.trim()}\n  before: ${oneLine(generated)}\n  after:  ${oneLine(now.generated)}${expected}`,
    );
  });
  const percent = (x: number | null): string => x === null ? "–" : `${(100 * x).toFixed(1)} %`;
  say(
    `\nheld-out loss ${before.loss.toFixed(4)} → ${after.loss.toFixed(4)}, exact match ${
      percent(before.exact)
    } → ${percent(after.exact)}`,
  );
}

function oneLine(text: string): string {
  const line = text.trim().replace(/\s*\n\s*/g, " ⏎ ");
  return line.length > 160 ? `${line.slice(0, 157)}...` : line;
}
