/** MT-Bench: answers in two turns, scored or compared by a judge. arXiv:2306.05685; the prompts of the judge are our own. @module */
import { readText } from "../data/text_file.ts";
import type { Message } from "../tokenizer.ts";
import { askAll, type AskSettings, chatPrompt, roomNotes, type TaskAnswer } from "./ask.ts";
import { inTurn } from "./in_turn.ts";
import type { Judge } from "./judge.ts";
import {
  compareJudgements,
  type Judged,
  judgedNumbers,
  type Judgement,
  scoreJudgements,
} from "./judgements.ts";
import { parseAnswers, parseQuestions, requireAnswers, type TwoTurns } from "./mtbench_files.ts";
import type { Examinee, Follow, Outcome, PreparedTask } from "./task.ts";

/** What {@linkcode prepareMtBench} reads. */
export interface MtBenchOptions {
  readonly files: readonly string[];
  readonly limit: number;
  /** Answers of an earlier run; null: the model answers. */
  readonly answers: string | null;
  /** Answers known to be right; null: none. */
  readonly references: string | null;
  /** Answers of another model to compare with; null: answers are scored. */
  readonly against: string | null;
  /** Null: answers are written and not judged. */
  readonly judge: Judge | null;
  readonly settings: AskSettings;
}

/** Requests to a judge that are under way at once. */
const REQUESTS = 4;

/** Read questions, and answers where they are given. Throws DataError. */
export function prepareMtBench(options: MtBenchOptions): PreparedTask {
  const questions = options.files.flatMap((file) =>
    parseQuestions(readText(file), file).slice(0, options.limit)
  );
  const answersIn = (file: string | null): ReadonlyMap<number, readonly string[]> | null =>
    file === null ? null : requireAnswers(parseAnswers(readText(file), file), questions, file);
  const given = answersIn(options.answers), other = answersIn(options.against);
  const references = options.references === null
    ? new Map<number, readonly string[]>()
    : parseAnswers(readText(options.references), options.references);
  const run = async (examinee: Examinee | null, follow: Follow): Promise<Outcome> => {
    const { answers, notes } = given
      ? { answers: given, notes: [] }
      : await answerTurns(examinee!, questions, options.settings, follow);
    const asked = questions.map((question) => ({
      question,
      answers: answers.get(question.id)!,
      other: other?.get(question.id) ?? null,
      references: references.get(question.id) ?? [],
    }));
    const judgements = asked.flatMap(other === null ? scoreJudgements : compareJudgements);
    const judged = options.judge === null ? [] : await judgeAll(options.judge, judgements, follow);
    return outcomeOf(questions, answers, judged, other !== null, notes);
  };
  const ask = async (examinee: Examinee) =>
    given ?? await answerTurns(examinee, questions, options.settings, () => {});
  return { asks: given === null, run, ask };
}

/** Answers by question: the second turn sees the first and its answer. */
async function answerTurns(
  examinee: Examinee,
  questions: readonly TwoTurns[],
  settings: AskSettings,
  follow: Follow,
) {
  const dialogues = questions.map((): Message[] => []), answers = new Map<number, string[]>();
  const all: TaskAnswer[] = [];
  const longest = Math.max(...questions.map((q) => q.turns.length));
  for (let turn = 0; turn < longest; turn++) {
    const rows = questions.flatMap(({ turns }, i) => turn < turns.length ? [i] : []);
    rows.forEach((i) => dialogues[i]!.push({ role: "user", content: questions[i]!.turns[turn]! }));
    const prompts = rows.map((i) => chatPrompt(dialogues[i]!, examinee.tokenizer));
    const found = await askAll(examinee, prompts, settings, follow);
    all.push(...found);
    rows.forEach((i, at) => {
      const content = found[at]!.text.trim(), { id } = questions[i]!;
      dialogues[i]!.push({ role: "assistant", content });
      answers.set(id, [...answers.get(id) ?? [], content]);
    });
  }
  return { answers, notes: roomNotes(all, examinee.seq) };
}

function judgeAll(judge: Judge, judgements: readonly Judgement[], follow: Follow): Promise<Judged[]> {
  let done = 0;
  return inTurn(judgements, REQUESTS, async (judgement) => {
    const judged = await judgement.judge(judge);
    follow(++done, judgements.length);
    return { ...judged, id: judgement.id, turn: judgement.turn, category: judgement.category };
  });
}

function outcomeOf(
  questions: readonly TwoTurns[],
  answers: ReadonlyMap<number, readonly string[]>,
  judged: readonly Judged[],
  compared: boolean,
  notes: readonly string[],
): Outcome {
  const items = questions.map(({ id, category }) => ({
    question_id: id,
    category,
    choices: [{ index: 0, turns: answers.get(id)! }],
    judgements: judged.filter((j) => j.id === id).map(({ turn, result, why, replies }) => ({
      turn,
      result,
      why,
      replies,
    })),
  }));
  if (judged.length === 0) {
    return {
      metrics: {
        questions: questions.length,
        answers: items.reduce((n, i) => n + i.choices[0]!.turns.length, 0),
      },
      parts: [],
      items,
      notes: ["nothing was judged: give --judge-url and --judge-model", ...notes],
    };
  }
  const failed = judged.filter((j) => j.result === null);
  const reasons = Map.groupBy(failed, (j) => j.why!);
  const categories = [...Map.groupBy(judged, (j) => j.category)];
  const turns = [...Map.groupBy(judged, (j) => j.turn)].sort(([a], [b]) => a - b);
  return {
    metrics: { questions: questions.length, ...judgedNumbers(judged, compared) },
    parts: [
      ...turns.map(([turn, own]) => ({ name: `turn ${turn}`, metrics: judgedNumbers(own, compared) })),
      ...categories.map(([name, own]) => ({ name, metrics: judgedNumbers(own, compared) })),
    ],
    items,
    notes: [
      ...[...reasons].slice(0, 5).map(([why, own]) => `${own.length} judgements failed: ${why}`),
      ...notes,
    ],
    ...(failed.length === judged.length
      ? { failure: `no judgement succeeded: ${failed[0]!.why}; --answers with what --out wrote judges again` }
      : {}),
  };
}
