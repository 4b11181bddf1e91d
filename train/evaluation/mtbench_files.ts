/** The files of MT-Bench: questions in two turns, answers of models, answers known to be right. @module */
import { jsonLines } from "../data/json_records.ts";
import { DataError } from "../errors.ts";

/** A question and the one that follows its answer. */
export interface TwoTurns {
  readonly id: number;
  readonly category: string;
  readonly turns: readonly string[];
}

type Fields = Readonly<Record<string, unknown>>;

function textsOf(value: unknown): readonly string[] | null {
  return Array.isArray(value) && value.length > 0 && value.every((x) => typeof x === "string") ? value : null;
}

function idOf({ question_id: id }: Fields, where: string): number {
  if (typeof id === "number" && Number.isSafeInteger(id)) return id;
  throw new DataError(
    `${where}: question_id is ${JSON.stringify(id) ?? "absent"}; expected a whole number.`,
    { where },
  );
}

/** Questions, as `question.jsonl` has them. Throws DataError naming `file:line`. */
export function parseQuestions(text: string, file: string): TwoTurns[] {
  const questions = jsonLines(text, file).map(({ json, where }) => {
    const fields = Object(json) as Fields, turns = textsOf(fields["turns"]), category = fields["category"];
    if (turns && typeof category === "string") return { id: idOf(fields, where), category, turns };
    throw new DataError(`${where}: expected {"question_id", "category", "turns"}, as MT-Bench has them.`, {
      where,
    });
  });
  if (questions.length > 0) return questions;
  throw new DataError(`${file}: has no questions; expected JSON lines, as MT-Bench has them.`, { file });
}

/**
 * Answers by question, as MT-Bench's files of answers have them: `{"question_id", "choices": [{"turns"}]}`, of which the
 * first choice is taken. Throws DataError naming `file:line`.
 */
export function parseAnswers(text: string, file: string): ReadonlyMap<number, readonly string[]> {
  return new Map(
    jsonLines(text, file).map(({ json, where }) => {
      const fields = Object(json) as Fields, choices = fields["choices"];
      const turns = Array.isArray(choices) ? textsOf((Object(choices[0]) as Fields)["turns"]) : null;
      if (turns) return [idOf(fields, where), turns] as const;
      throw new DataError(
        `${where}: expected {"question_id", "choices": [{"turns"}]}, as MT-Bench has answers.`,
        {
          where,
        },
      );
    }),
  );
}

/** Answers to all questions, a turn each. Throws DataError for a question without them. */
export function requireAnswers(
  answers: ReadonlyMap<number, readonly string[]>,
  questions: readonly TwoTurns[],
  file: string,
): ReadonlyMap<number, readonly string[]> {
  const short = questions.find(({ id, turns }) => answers.get(id)?.length !== turns.length);
  if (!short) return answers;
  throw new DataError(
    `${file}: has ${
      answers.get(short.id)?.length ?? 0
    } answers to question ${short.id}, which has ${short.turns.length} turns; each turn needs one.`,
    { file, question: short.id },
  );
}
