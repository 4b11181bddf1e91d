/** Judgements of answers, a turn each: scores, or comparisons in both orders. @module */
import type { Judge, Reply } from "./judge.ts";
import {
  compareMessages,
  type Dialogue,
  parseScore,
  parseVerdict,
  scoreMessages,
  type Verdict,
} from "./judge_prompts.ts";
import type { TwoTurns } from "./mtbench_files.ts";
import { mean, type Numbers } from "./task.ts";

/** What came of a comparison: `unsure` where the two orders contradict each other, which counts as a tie. */
export type Comparison = "win" | "loss" | "tie" | "unsure";

/** What a judge found. */
export interface Found {
  /** A score from 1 to 10, or a comparison; null where the judge failed. */
  readonly result: number | Comparison | null;
  /** Why it failed; null where it did not. */
  readonly why: string | null;
  /** What it wrote. */
  readonly replies: readonly string[];
}

/** Something to be judged. */
export interface Judgement {
  readonly id: number;
  /** From 1. */
  readonly turn: number;
  readonly category: string;
  readonly judge: (judge: Judge) => Promise<Found>;
}

/** A judgement with what was found. */
export type Judged = Found & Pick<Judgement, "id" | "turn" | "category">;

/** A question with answers, and those of another model where they are compared. */
export interface Answered {
  readonly question: TwoTurns;
  readonly answers: readonly string[];
  readonly other: readonly string[] | null;
  readonly references: readonly string[];
}

function upTo({ question, references }: Answered, answers: readonly string[], turn: number): Dialogue {
  return {
    questions: question.turns.slice(0, turn),
    answers: answers.slice(0, turn),
    references: references.slice(0, turn),
  };
}

/** A judgement of each turn of a question. */
function perTurn(answered: Answered, judge: (turn: number) => Judgement["judge"]): Judgement[] {
  const { id, category, turns } = answered.question;
  return turns.map((_, i) => ({ id, category, turn: i + 1, judge: judge(i + 1) }));
}

/** A score of each turn. */
export function scoreJudgements(answered: Answered): Judgement[] {
  return perTurn(answered, (turn) => async (judge) => {
    const reply = await judge(scoreMessages(upTo(answered, answered.answers, turn)));
    return foundIn([reply], parseScore, "a score", ([score]) => score!);
  });
}

/** A comparison of each turn with the other model's, asked in both orders. */
export function compareJudgements(answered: Answered): Judgement[] {
  return perTurn(answered, (turn) => async (judge) => {
    const own = upTo(answered, answered.answers, turn), other = upTo(answered, answered.other!, turn);
    const replies = [await judge(compareMessages(own, other)), await judge(compareMessages(other, own))];
    return foundIn(replies, parseVerdict, "a verdict", ([first, second]) => comparisonOf(first!, second!));
  });
}

/** What two verdicts mean for the model that is A in the first and B in the second. */
export function comparisonOf(first: Verdict, second: Verdict): Comparison {
  if (first === "A" && second === "B") return "win";
  if (first === "B" && second === "A") return "loss";
  return first === "tie" && second === "tie" ? "tie" : "unsure";
}

function foundIn<T>(
  replies: readonly Reply[],
  parse: (reply: string) => T | null,
  expected: string,
  result: (parsed: readonly T[]) => Exclude<Found["result"], null>,
): Found {
  const texts = replies.flatMap((r) => r.kind === "said" ? [r.text] : []);
  const failed = replies.find((r) => r.kind === "failed");
  if (failed) return { result: null, why: failed.why, replies: texts };
  const parsed = texts.flatMap((text) => parse(text) ?? []) as T[];
  return parsed.length < texts.length
    ? { result: null, why: `a reply holds no line with ${expected}`, replies: texts }
    : { result: result(parsed), why: null, replies: texts };
}

/** The numbers of some judgements: the mean score, or wins, losses and ties; always how many failed. */
export function judgedNumbers(judged: readonly Judged[], compared: boolean): Numbers {
  const results = judged.flatMap((j) => j.result === null ? [] : [j.result]);
  const counted = { judged: results.length, failed: judged.length - results.length };
  if (!compared) {
    return { score: mean(results.filter((r): r is number => typeof r === "number")), ...counted };
  }
  const count = (kind: Comparison): number => results.filter((r) => r === kind).length;
  const [wins, losses, ties, unsure] = [count("win"), count("loss"), count("tie"), count("unsure")];
  const share = results.length === 0 ? null : (wins + (ties + unsure) / 2) / results.length;
  return { win_rate: share, wins, losses, ties, unsure, ...counted };
}
