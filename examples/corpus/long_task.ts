/**
 * A harder task: word problems of three and four steps, of kinds that neither the pretraining text nor the bundled task
 * has, answered in the same form. For larger bases, which the two-step task no longer tells apart.
 * @module
 */
import type { Draw } from "./draw.ts";
import { drawChange, type Equation, equation, LARGEST } from "./equations.ts";
import { askTotal, happening, type Kind, LINKS, rowsOf, type Split, type TaskRow } from "./task.ts";
import { capital, CONTAINERS, OPENINGS, THINGS } from "./words.ts";

/** A product that leaves room for as much as `room` beside it. */
function drawProduct(d: Draw, room: number): Equation {
  const left = d.between(2, 9);
  return equation(left, "*", d.between(2, Math.min(9, Math.floor((LARGEST - room) / left))));
}

/** Things come and go three times. */
const threeChanges: Kind = (d, scene) => {
  const first = drawChange(d, d.between(4, 60));
  const second = drawChange(d, first.result), third = drawChange(d, second.result);
  const question = [
    d.pick(OPENINGS)(scene, first.left),
    capital(happening(d, scene, first)),
    `${d.pick(LINKS)} ${happening(d, scene, second)}`,
    `${d.pick(LINKS)} ${happening(d, scene, third)}`,
    askTotal(d, scene),
  ].join(" ");
  return { question, steps: [first, second, third] };
};

/** Two sizes of equal groups, together. */
const twoGroups: Kind = (d, { hero, things }) => {
  const [[, many], [, others]] = [d.pick(CONTAINERS), d.pick(CONTAINERS)];
  const first = drawProduct(d, 18), second = drawProduct(d, first.result);
  const question = [
    `${hero.name} has ${first.left} ${many} of ${first.right} ${things} and ${second.left} ${others} of ${second.right} ${things}.`,
    d.pick([`How many ${things} does ${hero.name} have?`, `How many ${things} are there in all?`]),
  ].join(" ");
  return { question, steps: [first, second, equation(first.result, "+", second.result)] };
};

/** One has more or fewer than the other; together they lose or gain some. */
const togetherThen: Kind = (d, scene) => {
  const { hero, friend, things } = scene;
  const first = drawChange(d, d.between(4, 39));
  const second = equation(first.left, "+", first.result), third = drawChange(d, second.result);
  const question = [
    `${hero.name} has ${first.left} ${things}.`,
    `${friend.name} has ${first.right} ${first.sign === "+" ? "more" : "fewer"} ${things} than ${hero.name}.`,
    `Together they ${third.sign === "+" ? "find" : "lose"} ${third.right}.`,
    `How many ${things} do they have now?`,
  ].join(" ");
  return { question, steps: [first, second, third] };
};

/** Two things at two prices, paid from a purse. */
const twoPurchases: Kind = (d, { hero, things }) => {
  const other = d.pick(THINGS.filter((t) => t !== things));
  const first = drawProduct(d, 20), second = drawProduct(d, first.result + 2);
  const spent = first.result + second.result;
  const third = equation(Math.min(LARGEST, spent + d.between(2, 30)), "-", first.result);
  const question = [
    `${hero.name} has ${third.left} coins.`,
    `${
      capital(hero.he)
    } buys ${first.left} ${things} for ${first.right} coins each and ${second.left} ${other} for ${second.right} coins each.`,
    d.pick([`How many coins are left?`, `How many coins does ${hero.name} have now?`]),
  ].join(" ");
  return { question, steps: [first, second, third, equation(third.result, "-", second.result)] };
};

const KINDS: readonly Kind[] = [threeChanges, twoGroups, togetherThen, twoPurchases];

/** `count` different rows of `split`, fixed by `seed`, with the promises of `taskRows`. */
export function longTaskRows(split: Split, seed: number, count: number): readonly TaskRow[] {
  return rowsOf(KINDS, split, seed, count);
}
