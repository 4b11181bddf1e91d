/** Prompts answered in groups: generate, cut at stops, say why each answer ended. @module */
import type { Sampling } from "./generate.ts";
import type { Prompt } from "./prompts.ts";
import type { Session } from "./session.ts";
import { cutAtStop, settledLength } from "./stop_texts.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What a model wrote after a prompt. */
export interface Answer {
  readonly text: string;
  /** Tokens generated, the end token left out; with a stop, up to where it was seen. */
  readonly tokens: number;
  /** Why it ended: the model's end token, a stop, or the limit. */
  readonly finish: "end" | "stop" | "length";
}

/** How prompts are answered. */
export interface AnswerSettings {
  /** Most tokens of an answer. */
  readonly maxNew: number;
  /** Longest sequence of the model, prompt and answer together. */
  readonly maxPositions: number;
  /** An answer ends before any of these texts. */
  readonly stop: readonly string[];
  /** Answers computed at once. */
  readonly batch: number;
  /** Null: the likeliest token, always. */
  readonly sampling: Omit<Sampling, "rows"> | null;
  /** Told of the only answer's text as it comes; absent: nobody follows. */
  readonly follow?: (text: string) => void;
}

/** Answers in the order of the prompts; the answer to prompt i draws the random numbers of row i. */
export async function* answerPrompts(
  session: Session,
  tokenizer: Tokenizer,
  prompts: readonly Prompt[],
  { maxNew, maxPositions, stop, batch, sampling, follow }: AnswerSettings,
): AsyncGenerator<Answer> {
  const rows = Math.min(batch, prompts.length);
  for (let at = 0; at < prompts.length; at += rows) {
    const group = prompts.slice(at, at + rows);
    // Groups of one size share a plan: the last one is filled up with its own first prompt.
    const filled = Array.from({ length: rows }, (_, i) => group[i] ?? group[0]!);
    let shown = 0;
    const show = (text: string, upTo: number): void => {
      if (upTo <= shown) return;
      follow?.(text.slice(shown, upTo));
      shown = upTo;
    };
    const watch = (row: number, ids: readonly number[]): boolean => {
      const prompt = group[row];
      if (!prompt) return true;
      if (stop.length === 0 && !follow) return false;
      const { text, stopped } = cutAtStop(continuation(tokenizer, prompt, ids), stop);
      show(text, stopped ? text.length : settledLength(text, stop));
      return stopped;
    };
    const found = await session.generate(filled.map((p) => p.ids), maxNew, tokenizer.eosId, {
      watch,
      live: follow !== undefined,
      ...(sampling ? { sampling: { ...sampling, rows: filled.map((_, i) => at + i) } } : {}),
    });
    for (const [i, prompt] of group.entries()) {
      const ids = found[i]!;
      const { text, stopped } = cutAtStop(continuation(tokenizer, prompt, ids), stop);
      show(text, text.length);
      const most = Math.min(maxNew, maxPositions - prompt.ids.length);
      yield { text, tokens: ids.length, finish: stopped ? "stop" : ids.length < most ? "end" : "length" };
    }
  }
}

/** Text that ids add to a prompt. Tokenizers drop a space where a text begins, so both are decoded together. */
function continuation({ decode }: Tokenizer, { ids: before }: Prompt, ids: readonly number[]): string {
  const start = decode(before), whole = decode([...before, ...ids]);
  return whole.startsWith(start) ? whole.slice(start.length) : decode(ids);
}
