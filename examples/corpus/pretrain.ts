/**
 * The pretraining text: short sentences, arithmetic of one step, and one-step word problems worked inside a sentence.
 *
 * It never tells two steps in a row and never gives a result after `####`, which opens the title of a story here: those
 * are the shift that fine-tuning has to learn. The sign itself has to occur, because a token that pretraining never saw
 * has an embedding no adapter can tell from those of the other unseen tokens.
 * @module
 */
import { type Draw, draw } from "./draw.ts";
import { drawChange, drawEquation, type Equation, equation, spoken, written } from "./equations.ts";
import {
  ANIMALS,
  capital,
  CONTAINERS,
  drawScene,
  GAINS,
  LOOKS,
  LOSSES,
  MOODS,
  OPENINGS,
  PLACES,
  type Scene,
  THINGS,
} from "./words.ts";

interface Worked {
  readonly told: string;
  readonly asked: string;
  /** What the result says, around the number: `Now Tom has` … `apples.` */
  readonly says: readonly [before: string, after: string];
  readonly sum: Equation;
}

function change(d: Draw, scene: Scene): Worked {
  const { hero, things } = scene;
  const sum = drawChange(d, d.between(4, 80));
  const event = d.pick(sum.sign === "+" ? GAINS : LOSSES)(scene, sum.right);
  const link = d.pick(["", "", "Then ", "Later ", "After that ", "The next day "]);
  return {
    told: `${d.pick(OPENINGS)(scene, sum.left)} ${link === "" ? capital(event) : link + event}`,
    asked: d.pick([
      `How many ${things} does ${hero.name} have now?`,
      `How many ${things} does ${hero.he} have in the end?`,
      `How many ${things} are there now?`,
    ]),
    says: d.pick([[`Now ${hero.name} has`, `${things}.`], [`In the end there are`, `${things}.`]] as const),
    sum,
  };
}

function groups(d: Draw, { hero, things }: Scene): Worked {
  const [one, many] = d.pick(CONTAINERS);
  const sum = equation(d.between(2, 9), "*", d.between(2, 9));
  return {
    told: `${hero.name} has ${sum.left} ${many} with ${sum.right} ${things} in each ${one}.`,
    asked: `How many ${things} does ${hero.name} have in all?`,
    says: [`In all there are`, `${things}.`],
    sum,
  };
}

function difference(d: Draw, { hero, friend, things }: Scene): Worked {
  const sum = drawChange(d, d.between(4, 60));
  const more = sum.sign === "+" ? "more" : "fewer";
  return {
    told:
      `${hero.name} has ${sum.left} ${things}. ${friend.name} has ${sum.right} ${more} ${things} than ${hero.name}.`,
    asked: `How many ${things} does ${friend.name} have?`,
    says: [`So ${friend.name} has`, `${things}.`],
    sum,
  };
}

function together(d: Draw, { hero, friend, things }: Scene): Worked {
  const sum = equation(d.between(2, 49), "+", d.between(2, 50));
  return {
    told: `${hero.name} has ${sum.left} ${things}. ${friend.name} has ${sum.right} ${things}.`,
    asked: d.pick([`How many ${things} do they have together?`, `How many ${things} do they have in all?`]),
    says: [`Together they have`, `${things}.`],
    sum,
  };
}

function price(d: Draw, { hero, things }: Scene): Worked {
  const sum = equation(d.between(2, 9), "*", d.between(2, 9));
  return {
    told: `${hero.name} buys ${sum.left} ${things} for ${sum.right} coins each.`,
    asked: `How many coins does ${hero.he} pay?`,
    says: [`${capital(hero.he)} pays`, `coins.`],
    sum,
  };
}

function purse(d: Draw, { hero }: Scene): Worked {
  const paid = d.between(2, 81);
  const sum = equation(Math.min(99, paid + d.between(2, 40)), "-", paid);
  return {
    told: `${hero.name} has ${sum.left} coins. ${capital(hero.he)} pays ${paid} coins.`,
    asked: d.pick([`How many coins are left?`, `How many coins does ${hero.name} have now?`]),
    says: [`Now ${hero.he} has`, `coins.`],
    sum,
  };
}

function problem(d: Draw): string {
  const kind = d.pick([change, change, change, groups, difference, together, price, purse]);
  const { told, asked, says: [before, after], sum } = kind(d, drawScene(d));
  return d.pick([
    `${told} ${before} ${written(sum)} ${after}`,
    `${told} ${asked} Answer: ${written(sum)}. ${before} ${sum.result} ${after}`,
    `Question: ${told} ${asked} Solution: ${written(sum)}, so it is ${sum.result}.`,
  ]);
}

function sums(d: Draw): string {
  const say = d.chance(80) ? written : spoken;
  const between = d.pick(["\n", ". ", ", "]);
  return Array.from({ length: d.between(2, 8) }, () => say(drawEquation(d))).join(between) + ".";
}

function fact(d: Draw): string {
  const first = d.between(0, 98);
  const second = d.between(0, 99);
  const order = first < second ? "less than" : first > second ? "more than" : "the same as";
  return d.pick([
    `After ${first} comes ${first + 1}.`,
    `Before ${first + 1} comes ${first}.`,
    `${first} is ${order} ${second}.`,
    `What is ${spoken(drawEquation(d)).replace(" is ", "? It is ")}.`,
  ]);
}

function sentence(d: Draw): string {
  const { hero, friend, things } = drawScene(d);
  const place = d.pick(PLACES);
  const animal = `${d.pick(LOOKS)} ${d.pick(ANIMALS)}`;
  return d.pick([
    `${hero.name} and ${friend.name} went to the ${place}.`,
    `${hero.name} saw a ${animal} at the ${place}.`,
    `The ${animal} was ${d.pick(MOODS)}.`,
    `${hero.name} likes ${d.pick(LOOKS)} ${things}.`,
    `${capital(hero.he)} was ${d.pick(MOODS)} all day.`,
    `${hero.name} is the friend of ${friend.name}.`,
    `There is a ${animal} in the ${place}.`,
    `${capital(things)} and ${d.pick(THINGS)} are in the ${d.pick(CONTAINERS)[0]}.`,
    `${friend.name} reads a book to ${hero.name}.`,
    `The next day they went home.`,
  ]);
}

function title(d: Draw): string {
  const { hero, friend } = drawScene(d);
  return d.pick([
    `${hero.name} and ${friend.name}`,
    `${hero.name} at the ${d.pick(PLACES)}`,
    `The ${d.pick(ANIMALS)}`,
  ]);
}

function story(d: Draw): string {
  const head = d.chance(60) ? `#### ${title(d)}\n` : "";
  const say = d.chance(40) ? fact : sentence;
  return head + Array.from({ length: d.between(2, 5) }, () => say(d)).join(" ");
}

/** Endless pretraining documents, the `n`-th fixed by `seed` and `n` alone. */
export function* pretrainDocuments(seed: number): Generator<string, never> {
  for (let index = 0;; index++) {
    const d = draw(seed, index);
    yield d.pick([sums, sums, sums, problem, problem, problem, problem, problem, story, story])(d);
  }
}
