/** What rows mean for training, as one number. @module */
import { createHash } from "node:crypto";
import type { Example } from "../data.ts";
import type { Examples } from "./examples.ts";

/** SHA-256, in hexadecimal, of what rows mean for training: their ids, and which of them are learnt, or their kinds and the target. */
export function digestRows(examples: Examples): string {
  const digest = rowDigest();
  for (let i = 0; i < examples.length; i++) digest.add(examples.at(i)!);
  return digest.value();
}

/** {@linkcode digestRows} of rows that come one after the other. */
export function rowDigest(): { readonly add: (example: Example) => void; readonly value: () => string } {
  const hash = createHash("sha256");
  // Written over by each short row.
  const shared = new Int32Array(2 ** 12);
  return {
    add: ({ ids, trained, classified }) => {
      const size = (classified ? 2 : 1) + ids.length;
      const words = size <= shared.length ? shared.subarray(0, size) : new Int32Array(size);
      words[0] = ids.length;
      ids.forEach((id, t) =>
        words[t + 1] = 2 * id + (classified ? classified.types[t]! : trained[t] ? 1 : 0)
      );
      if (classified) new Float32Array(words.buffer)[ids.length + 1] = classified.target;
      hash.update(new Uint8Array(words.buffer, 0, words.byteLength));
    },
    value: () => hash.digest("hex"),
  };
}
