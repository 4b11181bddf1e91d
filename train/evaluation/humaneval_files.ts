/** The files of HumanEval: problems, and programs that were written for them. @module */
import { jsonLines } from "../data/json_records.ts";
import { DataError } from "../errors.ts";

/** A problem of the file. */
export interface Problem {
  readonly id: string;
  readonly prompt: string;
  /** Defines `check`, which takes the function. */
  readonly test: string;
  /** The function's name. */
  readonly entry: string;
}

/** Read problems. Throws DataError naming `file:line`. */
export function parseProblems(text: string, file: string): Problem[] {
  const problems = jsonLines(text, file).map(({ json, where }) => {
    const fields = Object(json) as Readonly<Record<string, unknown>>;
    const read = (key: string): string => {
      const value = fields[key];
      if (typeof value === "string" && value !== "") return value;
      throw new DataError(
        `${where}: ${key} is ${JSON.stringify(value) ?? "absent"}; expected a text, as in HumanEval.`,
        {
          where,
          key,
        },
      );
    };
    const entry = read("entry_point");
    if (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(entry)) {
      throw new DataError(`${where}: entry_point is ${JSON.stringify(entry)}; expected a name of Python.`, {
        where,
      });
    }
    return { id: read("task_id"), prompt: read("prompt"), test: read("test"), entry };
  });
  if (problems.length > 0) return problems;
  throw new DataError(`${file}: has no problems; expected JSON lines, as HumanEval has them.`, { file });
}

/** Completions by problem. Throws DataError for a problem without one. */
export function parseCompletions(
  text: string,
  file: string,
  problems: readonly Problem[],
): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>(problems.map(({ id }) => [id, []]));
  for (const { json, where } of jsonLines(text, file)) {
    const { task_id: id, completion } = Object(json) as Readonly<Record<string, unknown>>;
    if (typeof id !== "string" || typeof completion !== "string") {
      throw new DataError(`${where}: expected {"task_id", "completion"} of texts.`, { where });
    }
    found.get(id)?.push(completion);
  }
  const missing = [...found].find(([, list]) => list.length === 0);
  if (missing) {
    throw new DataError(`${file}: has no completion for ${missing[0]}; each problem needs one.`, { file });
  }
  return found;
}
