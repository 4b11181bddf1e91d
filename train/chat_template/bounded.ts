/** Chat templates out of files: read, and rendered within limits. @module */
import { Environment, Template } from "@huggingface/jinja";
import { BoundedInterpreter, JinjaLimitError, type JinjaLimits } from "./interpreter.ts";
import { readingsOf } from "./readings.ts";

export { JinjaLimitError, type JinjaLimits };

/** What a template may take for messages of `size` characters: far more than any real one needs. */
export function limitsFor(size: number): JinjaLimits {
  return { steps: 2 ** 20 + 64 * size, characters: 2 ** 26 + 256 * size };
}

/** Longest template in UTF-16 units, and longest run of white space: reading takes their product. */
const LONGEST = 2 ** 18, LONGEST_SPACE = 1000;

/** A template that can be rendered. */
export type BoundedTemplate = (values: Readonly<Record<string, unknown>>, limits: JinjaLimits) => string;

/** Read a template. Throws Error where it is none, or too long; what it returns throws JinjaLimitError at a limit. */
export function boundedTemplate(text: string): BoundedTemplate {
  if (text.length > LONGEST) {
    throw new Error(`it has ${text.length} characters, expected at most ${LONGEST}`);
  }
  if (new RegExp(`\\s{${LONGEST_SPACE + 1}}`).test(text)) {
    throw new Error(`it has more than ${LONGEST_SPACE} spaces in a row`);
  }
  const { parsed } = new Template(text);
  const readings = readingsOf(parsed);
  return (values, limits) => {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...GLOBALS, strftime_now: clock(), ...values })) {
      environment.set(name, value);
    }
    try {
      return String(new BoundedInterpreter(environment, readings, limits).run(parsed).value);
    } catch (error) {
      // The engine's own limits: a stack, the longest string.
      if (error instanceof RangeError) throw new JinjaLimitError(error.message);
      throw error;
    }
  };
}

/** What every template finds. */
const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range: shortRange,
  raise_exception: (message: unknown) => {
    throw new Error(String(message));
  },
};

/** Times that a template may ask for the time: finding the names of months takes long. */
const MOST_TIMES = 100;

/** The library's `strftime_now`, which only its templates reach. */
function clock(): (format: unknown) => string {
  let times = 0;
  return (format) => {
    if (++times > MOST_TIMES) {
      throw new JinjaLimitError(`strftime_now() called more than ${MOST_TIMES} times`);
    }
    return new Template("{{ strftime_now(format) }}").render({ format });
  };
}

/** Numbers that a template may count through; chats have far fewer messages. */
const LONGEST_RANGE = 100_000;

/** Jinja's `range`, refusing what could only be meant to fill the memory. */
function shortRange(...given: readonly unknown[]): number[] {
  const [first, second, by = 1] = given.filter((x) => typeof x === "number");
  const [start, stop] = second === undefined ? [0, first ?? 0] : [first!, second];
  const count = Math.max(0, Math.ceil((stop - start) / by));
  if (!(count <= LONGEST_RANGE)) {
    throw new JinjaLimitError(`range() of ${count} numbers, at most ${LONGEST_RANGE}`);
  }
  return Array.from({ length: count }, (_, i) => start + by * i);
}
