/** A memory of words and their ids that makes no string to look one up. @module */

/** Slots, and words at which all are forgotten. */
const SLOTS = 2 ** 17, MOST = SLOTS / 2;

/** Words and their ids. */
export class WordTable {
  /** Of each slot: a word's number, from 1; 0 where it is free. */
  readonly #slots = new Int32Array(SLOTS);
  #words: string[] = [];
  #ids: (readonly number[] | null)[] = [];

  /** `find` tells the ids of a word; null where there are none. */
  constructor(readonly find: (word: string) => readonly number[] | null) {}

  /** Append the ids of a part of a text; false where there are none. */
  append(text: string, from: number, to: number, ids: number[]): boolean {
    const found = this.#lookUp(text, from, to);
    if (!found) return false;
    for (let i = 0; i < found.length; i++) ids.push(found[i]!);
    return true;
  }

  #lookUp(text: string, from: number, to: number): readonly number[] | null {
    // FNV-1a over UTF-16 units.
    let hash = 0x811c9dc5;
    for (let i = from; i < to; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    let slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
    for (let word = this.#slots[slot]!; word !== 0; word = this.#slots[slot]!) {
      if (isAt(text, from, to, this.#words[word - 1]!)) return this.#ids[word - 1]!;
      slot = (slot + 1) & (SLOTS - 1);
    }
    const word = text.slice(from, to), found = this.find(word);
    if (this.#words.length >= MOST) this.#forget();
    else {
      this.#words.push(word);
      this.#ids.push(found);
      this.#slots[slot] = this.#words.length;
    }
    return found;
  }

  #forget(): void {
    this.#slots.fill(0);
    this.#words = [];
    this.#ids = [];
  }
}

/** Whether a part of a text is a word. */
function isAt(text: string, from: number, to: number, word: string): boolean {
  if (word.length !== to - from) return false;
  for (let i = 0; i < word.length; i++) if (text.charCodeAt(from + i) !== word.charCodeAt(i)) return false;
  return true;
}
