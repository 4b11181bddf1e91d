/** The tokens of mteval-v13a, over which BLEU is usually reported. @module */
import { words } from "./ngrams.ts";

/**
 * Words and marks: entities of XML are resolved, ASCII marks stand alone, except a full stop or comma between digits and
 * a hyphen that no digit comes before. NIST's mteval-v13a, international parts left out.
 */
export function tokenize13a(text: string): string[] {
  const plain = text.replaceAll("<skipped>", "").replaceAll("-\n", "").replaceAll("\n", " ")
    .replaceAll("&quot;", '"').replaceAll("&amp;", "&").replaceAll("&lt;", "<").replaceAll("&gt;", ">");
  return words(
    ` ${plain} `
      .replace(/[{-~[-` -&(-+:-@/]/g, " $& ")
      .replace(/([^0-9])([.,])/g, "$1 $2 ")
      .replace(/([.,])([^0-9])/g, " $1 $2")
      .replace(/([0-9])(-)/g, "$1 $2 "),
  );
}
