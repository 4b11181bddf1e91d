/** HumanEval for models that chat: what they are asked, and the program in their answer. @module */
import type { Problem } from "./humaneval_files.ts";

/** What a user asks of a chat. */
export function chatRequest({ prompt, entry }: Pick<Problem, "prompt" | "entry">): string {
  return `Complete this Python function. Answer with one code block that holds all of ${entry} and what it needs.\n\n` +
    `\`\`\`python\n${prompt.trim()}\n\`\`\``;
}

/**
 * The completion that an answer stands for. Of several blocks of code the first that defines the function counts, of none
 * the whole answer; a block that defines it is put behind the problem's text, whose function it replaces, any other goes
 * on from that text.
 */
export function completionIn(answer: string, { entry }: Pick<Problem, "entry">): string {
  const blocks = [...answer.matchAll(/```[^\n`]*\n(.*?)(?:```|$)/gs)].map((found) => found[1]!);
  const defines = (code: string): boolean =>
    code.split("\n").some((line) => line.startsWith(`def ${entry}(`));
  const code = blocks.find(defines) ?? blocks[0] ?? answer;
  return defines(code) ? `\n\n${code.trimEnd()}\n` : code;
}
