/** Tells people how a comparison goes: what has happened and, where nothing does for a while, what is under way. @module */
import { showDuration } from "../../train/report.ts";

/** Somebody who tells; disposing of it ends that. */
export interface Narrator extends Disposable {
  /** A line, with the time since the beginning before it. */
  readonly say: (line: string) => void;
  /** Do work that is named, with what was last heard of it, where nothing else is told for a while. */
  readonly during: <T>(name: string, lastHeard: () => string, work: () => Promise<T>) => Promise<T>;
}

/** Milliseconds without a line after which is told what is under way. */
const QUIET = 20_000;

/** Begin to tell. */
export function narrate(write: (line: string) => void, quiet = QUIET): Narrator {
  const begun = performance.now(), underWay = new Map<object, () => string>();
  let told = begun;
  const say = (line: string): void => {
    told = performance.now();
    write(`${showDuration((told - begun) / 1000).padStart(6)}  ${line}`);
  };
  const timer = setInterval(() => {
    if (underWay.size === 0 || performance.now() - told < quiet) return;
    say(`under way: ${[...underWay.values()].map((describe) => describe()).join("; ")}`);
  }, quiet / 4);
  // It must not keep a program going that is done.
  Deno.unrefTimer(timer);
  return {
    say,
    during: async (name, lastHeard, work) => {
      const place = {}, since = performance.now();
      underWay.set(place, () => {
        const heard = lastHeard(), seconds = ((performance.now() - since) / 1000).toFixed(0);
        return `${name}, for ${seconds} s${heard === "" ? "" : `, last: ${heard}`}`;
      });
      try {
        return await work();
      } finally {
        underWay.delete(place);
      }
    },
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
