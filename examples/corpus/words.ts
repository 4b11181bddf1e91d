/**
 * The small vocabulary of the example's world: people, things, places, and what happens to things.
 * @module
 */
import type { Draw } from "./draw.ts";

/** A person of the stories and the words that refer to them. */
export interface Person {
  readonly name: string;
  readonly he: "he" | "she";
  readonly him: "him" | "her";
}

/** Who and what one problem or story is about; `friend` is never `hero`. */
export interface Scene {
  readonly hero: Person;
  readonly friend: Person;
  readonly things: string;
}

const HE: readonly string[] = ["Tom", "Ben", "Sam", "Max", "Leo", "Jack", "Dan", "Finn"];
const SHE: readonly string[] = ["Ann", "Mia", "Eva", "Lily", "Zoe", "Kate", "Rose", "Sue"];

/** Everyone in the stories. */
export const PEOPLE: readonly Person[] = [
  ...HE.map((name) => ({ name, he: "he", him: "him" } as const)),
  ...SHE.map((name) => ({ name, he: "she", him: "her" } as const)),
];

/** What people own and count. */
export const THINGS: readonly string[] = [
  "apples",
  "pears",
  "plums",
  "nuts",
  "eggs",
  "cakes",
  "books",
  "pens",
  "cups",
  "shells",
  "stones",
  "cards",
  "stamps",
  "toys",
  "balls",
  "seeds",
];

/** What things are kept in, one and many. */
export const CONTAINERS: readonly (readonly [one: string, many: string])[] = [
  ["bag", "bags"],
  ["box", "boxes"],
  ["jar", "jars"],
  ["bowl", "bowls"],
];

/** Where people go. */
export const PLACES: readonly string[] = [
  "river",
  "garden",
  "market",
  "school",
  "park",
  "farm",
  "lake",
  "hill",
];

/** Animals of the stories. */
export const ANIMALS: readonly string[] = ["cat", "dog", "bird", "horse", "cow", "fox", "duck", "mouse"];

/** How things and animals look. */
export const LOOKS: readonly string[] = ["red", "blue", "green", "white", "big", "small", "old", "new"];

/** How people feel. */
export const MOODS: readonly string[] = ["happy", "sad", "tired", "glad", "kind", "brave"];

/** With a capital first letter. */
export function capital(words: string): string {
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}

/** Two different people and a kind of thing. */
export function drawScene(d: Draw): Scene {
  const hero = d.pick(PEOPLE);
  return { hero, friend: d.pick(PEOPLE.filter((other) => other !== hero)), things: d.pick(THINGS) };
}

/** A way to say one thing about a scene and a number, as a sentence with its full stop. */
export type Phrase = (scene: Scene, count: number) => string;

/** How the hero comes to have `count` things at the start. */
export const OPENINGS: readonly Phrase[] = [
  ({ hero, things }, n) => `${hero.name} has ${n} ${things}.`,
  ({ hero, things }, n) => `${hero.name} had ${n} ${things} at home.`,
  ({ hero, things }, n) => `${hero.name} finds ${n} ${things}.`,
  ({ hero, things }, n) => `There are ${n} ${things}. They all belong to ${hero.name}.`,
  ({ hero, things }, n) => `${hero.name} starts with ${n} ${things}.`,
];

/** How `count` things are added to the hero's; each starts in lower case or with a name, so that it can follow "Then". */
export const GAINS: readonly Phrase[] = [
  ({ hero }, n) => `${hero.he} buys ${n} more.`,
  ({ hero }, n) => `${hero.he} finds ${n} more.`,
  ({ hero }, n) => `${hero.he} makes ${n} more.`,
  ({ hero, friend }, n) => `${hero.he} gets ${n} from ${friend.name}.`,
  ({ hero, friend }, n) => `${friend.name} gives ${hero.him} ${n}.`,
];

/** How `count` of the hero's things go away; each starts in lower case or with a name. */
export const LOSSES: readonly Phrase[] = [
  ({ hero }, n) => `${hero.he} sells ${n}.`,
  ({ hero }, n) => `${hero.he} loses ${n}.`,
  ({ hero }, n) => `${hero.he} breaks ${n}.`,
  ({ hero, friend }, n) => `${hero.he} gives ${n} to ${friend.name}.`,
  ({ friend }, n) => `${friend.name} takes ${n}.`,
];
