/** Answers by likelihood: of a few texts, which one a model holds to follow a prompt. @module */
import { continuationOf, logLikelihoods } from "./score.ts";
import type { Examinee, Follow } from "./task.ts";

/** A prompt and the texts that may follow it. */
export interface Question {
  readonly prompt: string;
  readonly labels: readonly string[];
  readonly where: string;
}

/** How likely the labels of each question are, as log-likelihoods of their texts, and how many prompts were cut. */
export async function labelLikelihoods(
  examinee: Examinee,
  questions: readonly Question[],
  batch: number,
  follow: Follow,
): Promise<{ readonly likelihoods: readonly (readonly number[])[]; readonly cut: number }> {
  const { tokenizer, seq } = examinee;
  const asked = questions.map(({ prompt, labels, where }) =>
    labels.map((completion) => continuationOf(tokenizer, { prompt, completion, where }, seq))
  );
  const found = await logLikelihoods(examinee, asked.flat().map((a) => a.example), batch, follow);
  let at = 0;
  return {
    likelihoods: asked.map((labels) => labels.map(() => found[at++]!)),
    cut: asked.filter((labels) => labels.some((a) => a.cut)).length,
  };
}

/** The place of the largest number; the first of equal ones. */
export function largest(values: readonly number[]): number {
  return values.reduce((best, x, i) => x > values[best]! ? i : best, 0);
}

/** The mean of `values` weighted by the probabilities that log-likelihoods give, made to add up to 1. */
export function expectation(values: readonly number[], likelihoods: readonly number[]): number {
  const most = Math.max(...likelihoods), weights = likelihoods.map((l) => Math.exp(l - most));
  const total = weights.reduce((a, b) => a + b);
  return values.reduce((sum, value, i) => sum + value * weights[i]!, 0) / total;
}

/** Says how many prompts were cut; nothing where none was. */
export function cutNotes(cut: number, of: number, seq: number): string[] {
  return cut === 0 ? [] : [`${cut} of ${of} prompts were cut at their beginning to fit --seq ${seq}`];
}
