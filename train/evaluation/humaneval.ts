/** HumanEval: programs that a model writes, run against their tests. arXiv:2107.03374. @module */
import { readText } from "../data/text_file.ts";
import { askAll, askedPrompt, type AskSettings, roomNotes } from "./ask.ts";
import { chatRequest, completionIn } from "./humaneval_chat.ts";
import { parseCompletions, parseProblems, type Problem } from "./humaneval_files.ts";
import { inTurn } from "./in_turn.ts";
import { type ProgramEnd, requirePython, requireSandbox } from "./sandbox.ts";
import type { Limits } from "./sandbox_commands.ts";
import { type Examinee, type Follow, mean, type PreparedTask } from "./task.ts";

/** What {@linkcode prepareHumanEval} reads. */
export interface HumanEvalOptions {
  readonly files: readonly string[];
  readonly limit: number;
  /** Programs of an earlier run, as JSON lines of `task_id` and `completion`; null: the model writes them. */
  readonly answers: string | null;
  /** Programs that the model writes for each problem. */
  readonly samples: number;
  /** Ask through the model's chat template, and take the code out of the answers. */
  readonly chat: boolean;
  readonly limits: Limits;
  readonly python: string;
  /** Run programs without a sandbox. */
  readonly unsafe: boolean;
  /** Programs that run at once. */
  readonly workers: number;
  readonly settings: AskSettings;
}

/** What begins something new after a function: a program ends before it, as in the paper. */
const STOPS = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"];

/** The numbers of programs for which pass@k is told, where there are as many. */
const COUNTS = [1, 10, 100];

/**
 * pass@k, 0 to 1: the probability that one of k programs drawn from n, of which c pass, passes:
 * 1 − C(n−c, k) / C(n, k), without bias (section 2.1). Throws RangeError unless 0 ≤ c ≤ n and 1 ≤ k ≤ n.
 */
export function passAtK(n: number, c: number, k: number): number {
  if (!(c >= 0 && c <= n && k >= 1 && k <= n)) {
    throw new RangeError(`pass@${k} of ${n} programs of which ${c} pass: expected 0 ≤ c ≤ n and 1 ≤ k ≤ n.`);
  }
  let none = 1;
  for (let i = n - c + 1; i <= n; i++) none *= 1 - k / i;
  return n - c < k ? 1 : 1 - none;
}

/** A whole program: it ends in `token` when the tests have gone through, and not when it ends early. */
export function testProgram({ prompt, test, entry }: Problem, completion: string, token: string): string {
  return `${prompt}${completion}\n${test}\ncheck(${entry})\n__import__("sys").stdout.write("\\n${token}\\n")\n`;
}

/** Whether a program passed, or else why not, in a line. */
export function judge({ code, timedOut, output, error }: ProgramEnd, token: string): string {
  if (timedOut) return "timed out";
  const said = error.trim().split("\n").at(-1)!.slice(0, 200);
  if (code !== 0) return said || `exit status ${code}`;
  return output.endsWith(`\n${token}\n`) ? "passed" : "ended before its tests were through";
}

/** Read problems and find a sandbox. Throws DataError, and OptionError where there is no sandbox. */
export async function prepareHumanEval(options: HumanEvalOptions): Promise<PreparedTask> {
  const { files, limit, answers, limits, workers } = options;
  const problems = files.flatMap((file) => parseProblems(readText(file), file).slice(0, limit));
  const given = answers === null ? null : parseCompletions(readText(answers), answers, problems);
  const sandbox = await requireSandbox(await requirePython(options.python), options.unsafe);
  const run = async (examinee: Examinee | null, follow: Follow) => {
    const { completions, notes } = given
      ? { completions: given, notes: [] }
      : await write(examinee!, problems, options, follow);
    const jobs = problems.flatMap((problem) =>
      completions.get(problem.id)!.map((completion) => ({ problem, completion }))
    );
    let done = 0;
    const results = await inTurn(jobs, workers, async ({ problem, completion }) => {
      const token = crypto.randomUUID();
      const end = await sandbox.run(testProgram(problem, completion, token), limits);
      follow(++done, jobs.length);
      return judge(end, token);
    });
    const items = jobs.map(({ problem, completion }, i) => ({
      task_id: problem.id,
      completion,
      passed: results[i] === "passed",
      result: results[i],
    }));
    const byProblem = [...Map.groupBy(items, (item) => item.task_id).values()];
    const fewest = Math.min(...byProblem.map((list) => list.length));
    const rates = COUNTS.filter((k) => k <= fewest).map((k) => [
      `pass@${k}`,
      mean(byProblem.map((list) => passAtK(list.length, list.filter((i) => i.passed).length, k))),
    ]);
    return {
      metrics: {
        ...Object.fromEntries(rates),
        problems: problems.length,
        programs: items.length,
        passed: items.filter((i) => i.passed).length,
        timed_out: items.filter((i) => i.result === "timed out").length,
      },
      parts: [],
      items,
      notes: [`sandbox: ${sandbox.name}`, ...notes],
    };
  };
  const ask = async (examinee: Examinee) => given ?? await write(examinee, problems, options, () => {});
  return { asks: given === null, run, ask };
}

/** Let the model write programs. */
async function write(
  examinee: Examinee,
  problems: readonly Problem[],
  { samples, chat, settings }: HumanEvalOptions,
  follow: Follow,
) {
  const asked = problems.flatMap((problem) =>
    Array.from({ length: samples }, () => ({
      problem,
      prompt: askedPrompt(chat ? chatRequest(problem) : problem.prompt, chat, examinee.tokenizer),
    }))
  );
  const answers = await askAll(
    examinee,
    asked.map((a) => a.prompt),
    { ...settings, stop: chat ? [] : STOPS },
    follow,
  );
  const completions = new Map<string, string[]>(problems.map(({ id }) => [id, []]));
  asked.forEach(({ problem }, i) => {
    const { text } = answers[i]!;
    completions.get(problem.id)!.push(chat ? completionIn(text, problem) : text);
  });
  return { completions, notes: roomNotes(answers, examinee.seq) };
}
