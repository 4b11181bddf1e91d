/** Regular expressions out of files: those that can take time without end are known by their form. @module */

/** Most times that a counted repetition may ask for. */
const MOST_TIMES = 10_000;

interface Group {
  /** Whether something in it is repeated without end, or it has alternatives: then two ways may lead through a text. */
  branching: boolean;
}

/**
 * Why an expression could take time that grows exponentially with the text, for people; null where it cannot. What is
 * refused is repetition without end of a group that itself repeats without end, or has alternatives, as in `(a+)+` and
 * `(a|a)*`: a matcher that tries one way after the other then has exponentially many to try.
 */
export function wildness(source: string): string | null {
  const groups: Group[] = [{ branching: false }];
  /** The group that has just been closed; null after any other atom. */
  let closed: Group | null = null;
  for (let at = 0; at < source.length; at++) {
    const c = source[at]!, top = groups.at(-1)!;
    const count = c === "{" ? /^\{(\d+)(,?)(\d*)\}/.exec(source.slice(at, at + 40)) : null;
    if (c === "*" || c === "+" || count) {
      const endless = count === null || (count[2] === "," && count[3] === "");
      const times = count === null ? 0 : Math.max(Number(count[1]), Number(count[3] ?? 0));
      if (times > MOST_TIMES) return `it repeats ${count![0]} times`;
      // A few repetitions of many ways are many ways too.
      if ((endless || times > 4) && closed?.branching) {
        return `it repeats a group that repeats or has alternatives itself, at character ${at + 1}`;
      }
      if (endless || times > 4) top.branching = true;
      if (count) at += count[0].length - 1;
      closed = null;
      continue;
    }
    if (c === "?") continue;
    closed = null;
    if (c === "\\") at++;
    else if (c === "[") {
      for (at++; at < source.length && source[at] !== "]"; at++) if (source[at] === "\\") at++;
    } else if (c === "(") {
      groups.push({ branching: false });
      // The kind of a group is written with a question mark, which repeats nothing.
      const kind = /^\(\?(?:[:=!]|<[=!]|P?<[^>]*>|[a-z-]*:)/.exec(source.slice(at, at + 100));
      if (kind) at += kind[0].length - 1;
    } else if (c === "|") top.branching = true;
    else if (c === ")" && groups.length > 1) {
      closed = groups.pop()!;
      if (closed.branching) groups.at(-1)!.branching = true;
    }
  }
  return null;
}
