/**
 * The fine-tuning task: word problems of two steps, answered by two equations and `#### result`.
 *
 * Train and eval never share a problem: a hash of the kind of problem, its signs and its numbers decides which of the
 * two a problem belongs to, whoever it is told about and in whatever words.
 * @module
 */
import { type Draw, draw, hash } from "./draw.ts";
import { drawChange, type Equation, equation, LARGEST, written } from "./equations.ts";
import { capital, CONTAINERS, drawScene, GAINS, LOSSES, OPENINGS, type Scene } from "./words.ts";

/** A row of the task, as the trainer reads it: the prompt is `question` and a line break. */
export interface TaskRow {
  readonly question: string;
  readonly answer: string;
}

/** The two parts of the task that never share a problem. */
export type Split = "train" | "eval";

/** A question and the equations that lead to its answer, the last one giving it. */
export interface Problem {
  readonly question: string;
  readonly steps: readonly Equation[];
}

/** A way to make problems about a scene. */
export type Kind = (d: Draw, scene: Scene) => Problem;

/** How a second or third event begins. */
export const LINKS: readonly string[] = ["Then", "Later", "After that", "The next day"];

/** Things come (+) or go (−): a sentence about the hero, in lower case or with a name first. */
export function happening(d: Draw, scene: Scene, { sign, right }: Equation): string {
  return d.pick(sign === "+" ? GAINS : LOSSES)(scene, right);
}

/** Asks how many things the hero has at the end. */
export function askTotal(d: Draw, { hero, things }: Scene): string {
  return d.pick([
    `How many ${things} does ${hero.name} have now?`,
    `How many ${things} does ${hero.he} have in the end?`,
    `How many ${things} are there now?`,
  ]);
}

/** Things come and go twice. */
function changes(d: Draw, scene: Scene): Problem {
  const first = drawChange(d, d.between(4, 60));
  const second = drawChange(d, first.result);
  const question = [
    d.pick(OPENINGS)(scene, first.left),
    capital(happening(d, scene, first)),
    `${d.pick(LINKS)} ${happening(d, scene, second)}`,
    askTotal(d, scene),
  ].join(" ");
  return { question, steps: [first, second] };
}

/** Equal groups, then some come or go. */
function groups(d: Draw, scene: Scene): Problem {
  const [one, many] = d.pick(CONTAINERS);
  const first = equation(d.between(2, 9), "*", d.between(2, 9));
  const second = drawChange(d, first.result);
  const question = [
    `${scene.hero.name} has ${first.left} ${many} with ${first.right} ${scene.things} in each ${one}.`,
    `${d.pick(LINKS)} ${happening(d, scene, second)}`,
    askTotal(d, scene),
  ].join(" ");
  return { question, steps: [first, second] };
}

/** One has more or fewer than the other; how many together. */
function together(d: Draw, { hero, friend, things }: Scene): Problem {
  const first = drawChange(d, d.between(4, 39));
  const second = equation(first.left, "+", first.result);
  const question = [
    `${hero.name} has ${first.left} ${things}.`,
    `${friend.name} has ${first.right} ${first.sign === "+" ? "more" : "fewer"} ${things} than ${hero.name}.`,
    d.pick([`How many ${things} do they have together?`, `How many ${things} do they have in all?`]),
  ].join(" ");
  return { question, steps: [first, second] };
}

/** Things at a price each, paid from a purse. */
function shopping(d: Draw, { hero, things }: Scene): Problem {
  const first = equation(d.between(2, 9), "*", d.between(2, 9));
  const second = equation(Math.min(LARGEST, first.result + d.between(2, 40)), "-", first.result);
  const question = [
    `${hero.name} has ${second.left} coins.`,
    `${capital(hero.he)} buys ${first.left} ${things} for ${first.right} coins each.`,
    d.pick([`How many coins are left?`, `How many coins does ${hero.name} have now?`]),
  ].join(" ");
  return { question, steps: [first, second] };
}

const KINDS: readonly Kind[] = [changes, changes, groups, together, shopping];
const HELD_OUT_OF = 8;

function splitOf(kind: number, steps: readonly Equation[]): Split {
  const parts = steps.flatMap(({ left, sign, right }) => [left, sign.charCodeAt(0), right]);
  return hash(kind, ...parts) % HELD_OUT_OF === 0 ? "eval" : "train";
}

/**
 * `count` different rows of `split`, fixed by `seed`: one problem in eight, by its kind and numbers, belongs to `eval`.
 * No question occurs twice. Throws a RangeError when `count` is not a whole number of at least 0.
 */
export function taskRows(split: Split, seed: number, count: number): readonly TaskRow[] {
  return rowsOf(KINDS, split, seed, count);
}

/** {@linkcode taskRows} of other kinds of problems. */
export function rowsOf(
  kinds: readonly Kind[],
  split: Split,
  seed: number,
  count: number,
): readonly TaskRow[] {
  if (!Number.isInteger(count) || count < 0) {
    throw new RangeError(`Cannot make ${count} rows: give a whole number`);
  }
  const rows = new Map<string, TaskRow>();
  for (let index = 0; rows.size < count; index++) {
    const d = draw(seed, index);
    const kind = d.pick(kinds);
    const { question, steps } = kind(d, drawScene(d));
    if (splitOf(kinds.indexOf(kind), steps) !== split) continue;
    rows.set(question, {
      question,
      answer: `${steps.map(written).join("\n")}\n#### ${steps.at(-1)!.result}`,
    });
  }
  return [...rows.values()];
}
